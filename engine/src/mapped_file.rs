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

    /// Says that `part` of the file is not needed soon, so that its pages do not count as this process' memory. Read
    /// again they come back. Bytes that are not the file's are left alone.
    pub(crate) fn release(&self, part: &[u8]) {
        let (map, part) = (self.0.as_ptr_range(), part.as_ptr_range());
        if part.start < map.start || part.end > map.end {
            return;
        }
        #[cfg(unix)]
        {
            let offset = part.start.addr() - map.start.addr();
            let len = part.end.addr() - part.start.addr();
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: pages of a shared read-only map hold what the file holds, whether dropped before or not. The
            // advice changes memory use alone, so that its failure may be ignored.
            let _ = unsafe { self.0.unchecked_advise_range(advice, offset, len) };
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
