//! The file of an unfinished download: `sha256-<hex>-partial`, with holes, and its journal beside it.
//!
//! A file lock keeps two processes from writing the same download. While it runs, see [`super::writer`], bytes come in
//! any order. A file without a journal, as earlier versions left them, counts as a beginning without holes.
use super::{
    journal::{Journal, MAX_RECORD_SPAN, Record},
    spans::Spans,
};
use crate::{
    Digest, Error,
    store::{Shared, ingest},
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Ollama downloads a blob in at most so many parts, each with a state file of its own.
const MAX_FOREIGN_PARTS: usize = 1024;

/// Where the download of `digest` is.
pub(super) fn path(shared: &Shared, digest: &Digest) -> PathBuf {
    shared
        .blobs()
        .join(format!("{}-partial", digest.file_name()))
}

/// Where the journal of the download at `path` is. (Ollama takes whatever begins with `…-partial-` for its own.)
pub(crate) fn journal_path(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".journal");
    path.into()
}

/// Bytes of `digest` that an earlier attempt or another process has on the disk. Holes do not count.
pub(super) fn len(shared: &Shared, digest: &Digest) -> u64 {
    fs::metadata(path(shared, digest)).map_or(0, |metadata| allocated(&metadata))
}

/// Bytes that `file` takes on the disk, at most its length.
pub(crate) fn allocated(file: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    let n_bytes = std::os::unix::fs::MetadataExt::blocks(file).saturating_mul(512);
    #[cfg(not(unix))]
    let n_bytes = u64::MAX;
    file.len().min(n_bytes)
}

/// What an earlier attempt has left: spans with the CRC-32 that their bytes should have. By their start.
pub(super) type Claims = BTreeMap<u64, (u64, u32)>;

/// An open and locked download.
pub(super) struct Partial {
    path: PathBuf,
    /// What it is the download of, in all bytes.
    total: u64,
    tag: Vec<u8>,
    pub(super) file: Arc<File>,
    pub(super) journal: Arc<Mutex<Journal>>,
    claims: Claims,
}

impl Partial {
    /// Opens or creates the download of `digest`, which has `total` bytes when it is complete; `None` while another
    /// process downloads it. What is there counts only when it was begun with the same `tag`.
    pub(super) fn open(
        shared: &Shared,
        digest: &Digest,
        total: u64,
        tag: &[u8],
    ) -> Result<Option<Self>, Error> {
        let path = path(shared, digest);
        let file = open_or_create(&path).map_err(Error::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::write(&path)(error)),
        }
        if !is_still_at(&file, &path) {
            // Its owner has finished between our opening and locking: this is a blob now.
            return Ok(None);
        }
        let metadata = file.metadata().map_err(Error::read(&path))?;
        let len = metadata.len();
        let journal_path = journal_path(&path);
        let opened = Journal::open(&journal_path, total, tag);
        let (journal, records) = opened.map_err(Error::write(&journal_path))?;
        let mut partial = Self {
            path,
            total,
            tag: tag.to_owned(),
            file: Arc::new(file),
            journal: Arc::new(Mutex::new(journal)),
            claims: Claims::new(),
        };
        // A download of Ollama has holes that nothing tells us of.
        let is_foreign = remove_foreign_parts(&partial.path);
        match records {
            Some(records) if !is_foreign && len <= total => {
                partial.claims = claims(records, len);
            }
            // A beginning, if it is one: what has a tag may have been begun with another.
            None if !is_foreign
                && len <= total
                && allocated(&metadata) >= len
                && tag.is_empty() =>
            {
                partial.adopt(len)?;
            }
            _ => partial.restart()?,
        }
        Ok(Some(partial))
    }

    /// Bytes in all, when it is complete.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What an earlier attempt has left.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The bytes of [`Self::claims`].
    pub(super) fn claimed(&self) -> Spans {
        let mut spans = Spans::default();
        for (start, (len, _)) in &self.claims {
            spans.insert(*start..start + len);
        }
        spans
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Claims the first `len` bytes of the file as they are.
    fn adopt(&mut self, len: u64) -> Result<(), Error> {
        let mut buffer = vec![0; MAX_RECORD_SPAN as usize];
        let mut start = 0;
        while start < len {
            let n_bytes = (len - start).min(MAX_RECORD_SPAN);
            let piece = &mut buffer[..n_bytes as usize];
            read_exact_at(&self.file, piece, start).map_err(Error::read(&self.path))?;
            let crc = crc32fast::hash(piece);
            append(&self.journal, &Record::Written(start..start + n_bytes, crc))?;
            self.claims.insert(start, (n_bytes, crc));
            start += n_bytes;
        }
        Ok(())
    }

    /// Forgets all bytes. Nothing may be writing.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        let mut journal = lock(&self.journal);
        // The journal first: it must never claim what is not there.
        let reset = journal.reset(self.total, &self.tag);
        reset.map_err(Error::write(journal.path()))?;
        self.file.set_len(0).map_err(Error::write(&self.path))?;
        drop(journal);
        self.claims.clear();
        Ok(())
    }

    /// Makes the complete download visible as the blob `digest`, which it is.
    pub(super) fn reveal(self, shared: &Shared, digest: Digest) -> Result<(), Error> {
        // Without its journal the file is a beginning without holes, which it is.
        let journal = lock(&self.journal);
        journal.remove().map_err(Error::write(journal.path()))?;
        drop(journal);
        ingest::reveal(shared, &self.file, &self.path, ingest::BLOB_MODE, digest)
    }

    /// Removes the download.
    pub(super) fn discard(self) -> Result<(), Error> {
        let journal = lock(&self.journal);
        journal.remove().map_err(Error::write(journal.path()))?;
        fs::remove_file(&self.path).map_err(Error::write(&self.path))
    }
}

/// Adds a record; a journal that cannot be written stops the download.
pub(super) fn append(journal: &Mutex<Journal>, record: &Record) -> Result<(), Error> {
    let mut journal = lock(journal);
    let appended = journal.append(record);
    appended.map_err(Error::write(journal.path()))
}

fn lock(journal: &Mutex<Journal>) -> std::sync::MutexGuard<'_, Journal> {
    journal
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the records say in the end of a file of `len` bytes; of two that overlap, the later one holds.
fn claims(records: Vec<Record>, len: u64) -> Claims {
    let mut claims = Claims::new();
    for record in records {
        let (span, crc) = match record {
            Record::Written(span, crc) => (span, Some(crc)),
            Record::Lost(span) => (span, None),
        };
        let before = span.start.saturating_sub(MAX_RECORD_SPAN);
        let overlapping = claims.range(before..span.end);
        let overlapping: Vec<u64> = overlapping
            .filter(|(start, (len, _))| *start + len > span.start)
            .map(|(start, _)| *start)
            .collect();
        for start in overlapping {
            claims.remove(&start);
        }
        if let Some(crc) = crc
            && span.end <= len
        {
            claims.insert(span.start, (span.end - span.start, crc));
        }
    }
    claims
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    match options.open(path) {
        // Killed between becoming read-only and becoming a blob.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mut permissions = fs::metadata(path)?.permissions();
            #[cfg(unix)]
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
            #[cfg(not(unix))]
            permissions.set_readonly(false);
            fs::set_permissions(path, permissions)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Reads the whole of `buffer` from `offset` on.
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        let mut n_read = 0;
        while n_read < buffer.len() {
            let at = offset + n_read as u64;
            match std::os::windows::fs::FileExt::seek_read(file, &mut buffer[n_read..], at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n_read += n,
            }
        }
        Ok(())
    }
}

/// Writes all `bytes` at `offset`.
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
    #[cfg(windows)]
    {
        let mut n_written = 0;
        while n_written < bytes.len() {
            let at = offset + n_written as u64;
            n_written += std::os::windows::fs::FileExt::seek_write(file, &bytes[n_written..], at)?;
        }
        Ok(())
    }
}

/// Whether `file` has not been renamed or removed since it was opened.
fn is_still_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (ours, theirs) = (file.metadata().map(id), fs::metadata(path).map(id));
        matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes Ollama's state files `…-partial-<N>` beside `path`; whether there were any.
fn remove_foreign_parts(path: &Path) -> bool {
    let mut n_parts = 0;
    for n_part in 0..MAX_FOREIGN_PARTS {
        let mut part = path.as_os_str().to_owned();
        part.push(format!("-{n_part}"));
        if fs::remove_file(&part).is_err() {
            break;
        }
        n_parts += 1;
    }
    n_parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_byte_holds() {
        let written = |start: u64, end: u64, crc| Record::Written(start..end, crc);
        let list = |records: Vec<Record>, len| -> Vec<(u64, u64, u32)> {
            let claims = claims(records, len);
            let claims = claims.into_iter();
            claims
                .map(|(start, (len, crc))| (start, start + len, crc))
                .collect()
        };
        assert_eq!(
            list(vec![written(10, 20, 1), written(0, 10, 2)], 20),
            [(0, 10, 2), (10, 20, 1)]
        );
        let replaced = vec![written(0, 10, 1), Record::Lost(0..10), written(0, 10, 2)];
        assert_eq!(list(replaced, 20), [(0, 10, 2)]);
        let overlapping = vec![written(0, 10, 1), written(10, 20, 2), written(5, 12, 3)];
        assert_eq!(list(overlapping, 20), [(5, 12, 3)]);
        assert_eq!(list(vec![written(0, 10, 1), Record::Lost(3..4)], 20), []);
        assert_eq!(
            list(vec![written(0, 10, 1), written(10, 20, 2)], 19),
            [(0, 10, 1)],
            "what the file does not have"
        );
    }
}
