//! What is uploaded as one blob: bytes in memory, blobs of the store, or both one after the other, of which no copy is made.
use super::super::joined;
use crate::{Digest, Error, Store, digest::Hasher};
use bytes::Bytes;
use futures_util::{Stream, stream};
use std::{
    fs::File,
    io::{self, Read, SeekFrom},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes read at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// A part of a payload.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Bytes(Bytes),
    /// A blob of the store, wherever it is when it is read: it may move to the archive during a push.
    Blob {
        store: Store,
        digest: Digest,
        len: u64,
    },
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }
}

/// One blob to upload.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) digest: Digest,
    pub(super) size: u64,
    segments: Arc<[Segment]>,
}

impl Payload {
    /// Bytes in memory.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            segments: [Segment::Bytes(bytes.into())].into(),
        }
    }

    /// The blob of `store` with that digest.
    pub(super) fn of_blob(store: &Store, digest: Digest, size: u64) -> Self {
        let (store, len) = (store.clone(), size);
        Self {
            digest,
            size,
            segments: [Segment::Blob { store, digest, len }].into(),
        }
    }

    /// What the segments make together; reads all of it for the digest.
    ///
    /// # Errors
    /// A file that cannot be read or is not as long as it should be.
    pub(super) fn of_segments(segments: Vec<Segment>) -> Result<Self, Error> {
        let mut hasher = Hasher::default();
        for segment in &segments {
            match segment {
                Segment::Bytes(bytes) => hasher.update(bytes),
                Segment::Blob { store, digest, len } => {
                    let (file, path) = open(store, digest)?;
                    let path = &path;
                    let mut file = file.take(*len);
                    let mut buffer = vec![0; 1 << 20];
                    let mut n_read = 0;
                    loop {
                        let n = file.read(&mut buffer).map_err(Error::read(path))?;
                        if n == 0 {
                            break;
                        }
                        hasher.update(&buffer[..n]);
                        n_read += n as u64;
                    }
                    if n_read != *len {
                        let short = io::Error::from(io::ErrorKind::UnexpectedEof);
                        return Err(Error::read(path)(short));
                    }
                }
            }
        }
        Ok(Self {
            digest: hasher.digest(),
            size: segments.iter().map(Segment::len).sum(),
            segments: segments.into(),
        })
    }

    /// The bytes of `span`, which the payload has.
    pub(super) fn read(
        &self,
        span: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let reader = Reader {
            segments: Arc::clone(&self.segments),
            at: span.start,
            end: span.end,
            open: None,
        };
        stream::try_unfold(reader, |mut reader| async {
            let chunk = reader.next().await?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        })
    }
}

/// The file of a blob, where it is now.
fn open(store: &Store, digest: &Digest) -> Result<(File, PathBuf), Error> {
    let open = || {
        let found = store.locate(digest)?;
        let path = found.map_or_else(|| store.blob_path(digest), |blob| blob.path);
        let file = File::open(&path).map_err(Error::read(&path))?;
        Ok((file, path))
    };
    match open() {
        // It moved between the look and the opening.
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => open(),
        opened => opened,
    }
}

struct Reader {
    segments: Arc<[Segment]>,
    at: u64,
    end: u64,
    /// The file of the segment with that index, open at [`Self::at`], and its path.
    open: Option<(usize, tokio::fs::File, PathBuf)>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut start = 0;
        let segments = Arc::clone(&self.segments);
        for (idx, segment) in segments.iter().enumerate() {
            let inside = self.at.saturating_sub(start);
            if inside >= segment.len() {
                start += segment.len();
                continue;
            }
            let n_bytes = (segment.len() - inside)
                .min(self.end - self.at)
                .min(CHUNK_BYTES);
            if n_bytes == 0 {
                break;
            }
            let chunk = match segment {
                Segment::Bytes(bytes) => {
                    let inside = inside as usize;
                    bytes.slice(inside..inside + n_bytes as usize)
                }
                Segment::Blob { store, digest, .. } => {
                    let (mut file, path) = match self.open.take() {
                        Some((open, file, path)) if open == idx => (file, path),
                        _ => {
                            let (store, digest) = (store.clone(), *digest);
                            let opened = tokio::task::spawn_blocking(move || open(&store, &digest));
                            let (file, path) = joined(opened).await?;
                            let mut file = tokio::fs::File::from_std(file);
                            let sought = file.seek(SeekFrom::Start(inside)).await;
                            sought.map_err(Error::read(&path))?;
                            (file, path)
                        }
                    };
                    let mut chunk = vec![0; n_bytes as usize];
                    let read = file.read_exact(&mut chunk).await;
                    read.map_err(Error::read(&path))?;
                    self.open = Some((idx, file, path));
                    chunk.into()
                }
            };
            self.at += chunk.len() as u64;
            return Ok(Some(chunk));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    #[tokio::test]
    async fn any_span_of_bytes_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_without_index(folder.path()).unwrap();
        let file: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
        let digest = store.ingest(&mut &file[..], None).unwrap();
        let of_store = |len| Segment::Blob {
            store: store.clone(),
            digest,
            len,
        };
        let whole = [b"before".as_slice(), &file, b"after"].concat();
        let payload = Payload::of_segments(vec![
            Segment::Bytes(Bytes::from_static(b"before")),
            of_store(file.len() as u64),
            Segment::Bytes(Bytes::from_static(b"after")),
        ])
        .unwrap();
        assert_eq!(
            (payload.digest, payload.size),
            (Digest::of(&whole), whole.len() as u64)
        );
        let len = whole.len();
        for span in [
            0..len,
            0..3,
            4..9,
            6..6,
            5..300_000,
            299_999..len,
            len - 2..len,
        ] {
            let chunks: Vec<Bytes> = payload
                .read(span.start as u64..span.end as u64)
                .try_collect()
                .await
                .unwrap();
            assert_eq!(chunks.concat(), whole[span.clone()], "{span:?}");
        }
        assert!(Payload::of_segments(vec![of_store(700_000)]).is_err());
    }

    #[tokio::test]
    async fn a_blob_that_went_to_the_archive_is_read_there() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("big");
        std::fs::create_dir(&archive).unwrap();
        let locations = crate::Locations {
            archive: Some(archive.clone()),
            ..crate::Locations::from(&folder.path().join("models"))
        };
        let store = Store::open_without_index(locations).unwrap();
        let digest = store.ingest(&mut &b"weights"[..], None).unwrap();
        let payload = Payload::of_blob(&store, digest, 7);
        let hot = store.blob_path(&digest);
        std::fs::create_dir(archive.join("blobs")).unwrap();
        std::fs::rename(hot, archive.join("blobs").join(digest.file_name())).unwrap();
        let chunks: Vec<Bytes> = payload.read(3..7).try_collect().await.unwrap();
        assert_eq!(chunks.concat(), b"ghts");
    }
}
