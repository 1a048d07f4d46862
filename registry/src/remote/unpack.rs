//! Layers that are unpacked whole: compressed ones, and archives that no range of bytes can be taken out of.
//!
//! Such a layer was fetched like any blob, verified by its digest. It is read as a stream, and each file in it that is part
//! of a model becomes a blob; what else there is is passed over. No name of the archive is ever one on the disk. What comes
//! out is bounded by what any honest layer makes of its bytes, and each file by the room on the disk.
use super::check_space;
use crate::{
    Descriptor, Digest, Error, MediaType, Pin, Store,
    tar::{Reader, TarError},
};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Deflate makes no more of a byte; weights are hardly smaller compressed than not.
const MAX_RATIO: u64 = 1100;
/// What a small layer may unpack to in any case.
const MIN_LIMIT: u64 = 64 << 20;
/// Bytes that a zstd frame may refer back to.
const MAX_WINDOW_BYTES: u64 = 128 << 20;
/// Parts of models in one layer.
const MAX_FILES: usize = 64;
const BUFFER_BYTES: usize = 256 << 10;

/// How the bytes of a layer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Of an archive, by its media type; `None` for what is no archive, or one of a kind that nobody knows.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        let (_, ending) = media_type.rsplit_once(".tar")?;
        match ending {
            "" => Some(Self::None),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A file that came out of a layer. Its blob stays while this lives.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Its path in the archive.
    pub(super) path: String,
    pub(super) blob: Descriptor,
    pub(super) _pin: Option<Pin>,
}

impl Unpacked {
    /// A layer that is the file itself.
    pub(super) fn raw(blob: Descriptor, name: Option<String>) -> Self {
        Self {
            path: name.unwrap_or_else(|| blob.digest.to_string()),
            blob,
            _pin: None,
        }
    }

    pub(super) fn is_model(&self) -> bool {
        self.blob.media_type == MediaType::Model
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Ends the work of a blocking thread when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Leave(Arc<AtomicBool>);

impl Leave {
    /// What turns true then.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stores the files of the layer `layer`, a blob of `store` with `size` bytes, to which `kind_of` gives a kind. Ends early
/// when `is_over` turns true.
///
/// # Errors
/// A layer that is none, one that makes too much of its bytes, and the disk.
pub(super) fn unpack(
    store: &Store,
    layer: &Digest,
    size: u64,
    compression: Compression,
    kind_of: impl Fn(&str) -> Option<MediaType>,
    is_over: Arc<AtomicBool>,
) -> Result<Vec<Unpacked>, Error> {
    let path = store.blob_path(layer);
    let file = File::open(&path).map_err(Error::read(&path))?;
    let limit = size.saturating_mul(MAX_RATIO).max(MIN_LIMIT);
    let mut bytes = Bounded {
        inner: decoder(BufReader::with_capacity(BUFFER_BYTES, file), compression),
        n_left: limit,
        is_over,
    };
    let wrong = |reason: String| Error::Manifest {
        reason: format!("its layer {layer} cannot be unpacked: {reason}"),
    };
    let explain = |error: TarError| match error {
        TarError::Wrong(reason) => wrong(reason),
        TarError::CutOff => wrong("it is cut off".to_owned()),
        TarError::Read(error) => wrong(error.to_string()),
    };
    let mut archive = Reader::of_layer(&mut bytes);
    let mut found = Vec::new();
    while let Some(entry) = archive.next().map_err(explain)? {
        let Some(media_type) = kind_of(&entry.path) else {
            continue;
        };
        if found.len() == MAX_FILES {
            return Err(wrong(format!(
                "it has more than {MAX_FILES} files of models"
            )));
        }
        check_space(store.shared(), &[(*layer, entry.size)])?;
        let digest = store.ingest(&mut archive, None);
        let digest = digest.map_err(|error| match error {
            Error::Source { source } => wrong(source.to_string()),
            other => other,
        })?;
        found.push(Unpacked {
            path: entry.path,
            blob: Descriptor {
                media_type,
                digest,
                size: entry.size,
            },
            _pin: Some(store.pin(&[digest])?),
        });
    }
    Ok(found)
}

/// What a compressed layer unpacks to, as far as `limit` goes.
pub(crate) fn unpacked<'a>(bytes: &'a [u8], gzip: bool, limit: u64) -> impl Read + 'a {
    let compression = if gzip {
        Compression::Gzip
    } else {
        Compression::Zstd
    };
    Bounded {
        inner: decoder(bytes, compression),
        n_left: limit,
        is_over: Arc::default(),
    }
}

fn decoder<'a>(bytes: impl BufRead + 'a, compression: Compression) -> Box<dyn Read + 'a> {
    match compression {
        Compression::None => Box::new(bytes),
        Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Compression::Zstd => Box::new(Frames::new(bytes)),
    }
}

/// What is unpacked, as far as it is bounded and somebody waits for it.
struct Bounded<R> {
    inner: R,
    n_left: u64,
    is_over: Arc<AtomicBool>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let n_bytes = self.inner.read(out)?;
        let left = self.n_left.checked_sub(n_bytes as u64);
        self.n_left = left.ok_or_else(|| {
            io::Error::other("it unpacks to more than any honest layer of its size")
        })?;
        Ok(n_bytes)
    }
}

/// The frames of a zstd stream, one after the other; those that are to be skipped are.
struct Frames<R> {
    bytes: R,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(bytes: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            bytes,
            decoder,
            is_inside: false,
        }
    }

    /// Goes on to the next frame that has something in it; whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.bytes.fill_buf()?.is_empty() {
            let length = match self.decoder.reset(&mut self.bytes) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(error) => return Err(io::Error::other(error)),
            };
            let mut skipped = (&mut self.bytes).take(length);
            if io::copy(&mut skipped, &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() {
            if !self.is_inside {
                self.is_inside = self.begin()?;
                if !self.is_inside {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.bytes, one);
                decoded.map_err(io::Error::other)?;
            }
            let n_bytes = self.decoder.read(out)?;
            if n_bytes > 0 {
                return Ok(n_bytes);
            }
            self.is_inside = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_by_their_media_type() {
        for (media_type, compression) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.cncf.model.weight.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                None,
            ),
            ("application/vnd.cncf.model.weight.v1.raw", None),
        ] {
            assert_eq!(Compression::of(media_type), compression, "{media_type}");
        }
    }

    /// What the `zstd` program makes of `hello`, as raw blocks: a frame to be skipped, two frames, and what is cut off.
    #[test]
    fn frames_follow_each_other() {
        let skipped = [
            &0x184D_2A50_u32.to_le_bytes()[..],
            &3_u32.to_le_bytes(),
            b"abc",
        ]
        .concat();
        let frame = |text: &[u8]| {
            let n_bytes = u8::try_from(text.len()).unwrap();
            // a single segment of so many bytes; one raw block, which is the last
            let head = [
                0x28,
                0xB5,
                0x2F,
                0xFD,
                0x20,
                n_bytes,
                n_bytes << 3 | 1,
                0,
                0,
            ];
            [&head[..], text].concat()
        };
        let whole = [skipped.clone(), frame(b"hello "), skipped, frame(b"world")].concat();
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            Frames::new(bytes).read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read(&whole).unwrap(), "hello world");
        assert_eq!(read(b"").unwrap(), "");
        for len in [1, 4, 9, 12, 20, whole.len() - 1] {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn nothing_unpacks_without_end() {
        let mut bytes = Bounded {
            inner: io::repeat(0),
            n_left: 1000,
            is_over: Arc::default(),
        };
        let error = bytes.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("honest"), "{error}");
        let leave = Leave::default();
        let mut bytes = Bounded {
            inner: io::repeat(0),
            n_left: 1000,
            is_over: leave.flag(),
        };
        let mut byte = [0];
        bytes.read_exact(&mut byte).unwrap();
        drop(leave);
        assert!(bytes.read_exact(&mut byte).is_err());
    }
}
