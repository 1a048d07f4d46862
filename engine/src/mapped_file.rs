//! A whole file as bytes, mapped read-only.
#![allow(unsafe_code, reason = "memory maps")]
use std::{fs::File, io, ops::Deref, path::Path};

/// A file mapped into memory, read-only.
///
/// Blobs of the store are immutable; a file outside it that another program truncates while mapped would end this
/// process with SIGBUS, as for every program that maps files.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps the whole of `path`.
    ///
    /// # Errors
    /// When the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        // SAFETY: the map is read-only and the store never writes to a blob after it became visible; see the type.
        Ok(Self(unsafe { memmap2::Mmap::map(&file)? }))
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
