//! What reads strangers' archives, for those who try it on bytes that a fuzzer makes up. Nothing else is meant to use it.
use crate::{
    remote,
    tar::{Reader, TarError},
};
use std::io::{self, Read};

/// The path of a file, where its contents begin in the archive, and the contents.
pub type File = (String, u64, Vec<u8>);

/// Gives at most so many bytes at once.
struct InPieces<'a>(&'a [u8], usize);

impl Read for InPieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_bytes = out.len().min(self.1);
        self.0.read(&mut out[..n_bytes])
    }
}

/// The files of a bundle that comes in pieces of `piece_bytes`.
///
/// # Errors
/// Why it is none.
pub fn bundle(bytes: &[u8], piece_bytes: usize) -> Result<Vec<File>, String> {
    let mut pieces = InPieces(bytes, piece_bytes.max(1));
    files(Reader::new(&mut pieces))
}

/// The files of an image's layer that comes in pieces of `piece_bytes`.
///
/// # Errors
/// Why it is none.
pub fn layer(bytes: &[u8], piece_bytes: usize) -> Result<Vec<File>, String> {
    let mut pieces = InPieces(bytes, piece_bytes.max(1));
    files(Reader::of_layer(&mut pieces))
}

/// The files of a layer that is compressed, `gzip` or `zstd`, and unpacks to at most `limit` bytes.
///
/// # Errors
/// Why it is none.
pub fn packed_layer(bytes: &[u8], gzip: bool, limit: u64) -> Result<Vec<File>, String> {
    let mut unpacked = remote::unpacked(bytes, gzip, limit);
    files(Reader::of_layer(&mut unpacked))
}

fn files(mut reader: Reader<'_>) -> Result<Vec<File>, String> {
    let explain = |error| match error {
        TarError::Wrong(reason) => reason,
        TarError::CutOff => "it is cut off".to_owned(),
        TarError::Read(error) => error.to_string(),
    };
    let mut files = Vec::new();
    while let Some(entry) = reader.next().map_err(explain)? {
        let contents = reader.read_small(u64::MAX).map_err(explain)?;
        files.push((entry.path, entry.start, contents));
    }
    Ok(files)
}
