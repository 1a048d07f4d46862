//! What is uploaded as one blob: bytes in memory, files, or both one after the other, of which no copy is made.
use crate::{Digest, Error, digest::Hasher};
use bytes::Bytes;
use futures_util::{Stream, stream};
use std::{
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
    File { path: PathBuf, len: u64 },
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
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

    /// The file at `path`, which has that digest.
    pub(super) fn of_file(path: PathBuf, digest: Digest, size: u64) -> Self {
        Self {
            digest,
            size,
            segments: [Segment::File { path, len: size }].into(),
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
                Segment::File { path, len } => {
                    let file = std::fs::File::open(path).map_err(Error::read(path))?;
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
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
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

struct Reader {
    segments: Arc<[Segment]>,
    at: u64,
    end: u64,
    /// The file of the segment with that index, open at [`Self::at`].
    open: Option<(usize, tokio::fs::File)>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
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
                Segment::File { path, .. } => {
                    let mut file = match self.open.take() {
                        Some((open, file)) if open == idx => file,
                        _ => {
                            let mut file = tokio::fs::File::open(path).await?;
                            file.seek(SeekFrom::Start(inside)).await?;
                            file
                        }
                    };
                    let mut chunk = vec![0; n_bytes as usize];
                    file.read_exact(&mut chunk).await?;
                    self.open = Some((idx, file));
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
        let path = folder.path().join("f");
        let file: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &file).unwrap();
        let whole = [b"before".as_slice(), &file, b"after"].concat();
        let payload = Payload::of_segments(vec![
            Segment::Bytes(Bytes::from_static(b"before")),
            Segment::File {
                path: path.clone(),
                len: file.len() as u64,
            },
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
        let longer = Segment::File { path, len: 700_000 };
        assert!(Payload::of_segments(vec![longer]).is_err());
    }
}
