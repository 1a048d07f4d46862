//! Bytes become blobs: temporary file → hash while writing → sync → read-only → rename → sync the folder.
use super::{Shared, steps, temporary};
use crate::{Digest, Error, digest::Hasher};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::Path,
};
use tempfile::TempPath;

/// Bytes per read and write.
const CHUNK_BYTES: usize = 1 << 20;
/// Permissions of a blob.
pub(crate) const BLOB_MODE: u32 = 0o444;

/// See [`super::Store::ingest`].
pub(super) fn from_reader(
    shared: &Shared,
    reader: &mut dyn Read,
    expected: Option<&Digest>,
) -> Result<Digest, Error> {
    let mut file = {
        let _guard = shared.locks.lock()?;
        temporary::create(&shared.blobs())?
    };
    let mut hasher = Hasher::default();
    for_each_chunk(reader, |chunk| {
        hasher.update(chunk);
        let written = file.write_all(chunk);
        steps::between();
        written.map_err(Error::write(shared.blobs()))
    })?;
    let (file, path) = file.into_parts();
    commit(shared, &file, path, BLOB_MODE, hasher.digest(), expected)
}

/// See [`super::Store::ingest_file`]. `magic` is how the file must begin; it is read from the very file that is taken,
/// whatever its name means by then.
pub(super) fn from_file(
    shared: &Shared,
    path: &Path,
    magic: &[u8],
    expected: Option<&Digest>,
) -> Result<Digest, Error> {
    let path = &fs::canonicalize(path).map_err(Error::read(path))?;
    let metadata = fs::metadata(path).map_err(Error::read(path))?;
    if !metadata.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(Error::read(path)(error));
    }
    let mut source = File::open(path).map_err(Error::read(path))?;
    check_magic(&source, path, magic)?;
    if let Some(digest) = by_reflink(shared, &source, expected, &mut |_| {})? {
        return Ok(digest);
    }
    if let Some(digest) = by_hard_link(shared, path, magic, expected)? {
        return Ok(digest);
    }
    from_reader(shared, &mut source, expected).map_err(|error| match error {
        Error::Source { source } => Error::read(path)(source),
        other => other,
    })
}

/// A copy that shares the extents of `source` until one of both is written; `None` where the filesystem cannot.
pub(super) fn by_reflink(
    shared: &Shared,
    source: &File,
    expected: Option<&Digest>,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Digest>, Error> {
    #[cfg(target_os = "linux")]
    {
        let file = {
            let _guard = shared.locks.lock()?;
            temporary::create(&shared.blobs())?
        };
        if rustix::fs::ioctl_ficlone(file.as_file(), source).is_err() {
            return Ok(None);
        }
        let (file, path) = file.into_parts();
        let digest = hash(&file, &path, progress)?;
        commit(shared, &file, path, BLOB_MODE, digest, expected).map(Some)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (shared, source, expected, progress);
        Ok(None)
    }
}

/// A second name of the file at `path`; `None` where the filesystem or its owner forbids, or the file changes while it is
/// hashed.
fn by_hard_link(
    shared: &Shared,
    path: &Path,
    magic: &[u8],
    expected: Option<&Digest>,
) -> Result<Option<Digest>, Error> {
    let linked = {
        let _guard = shared.locks.lock()?;
        temporary::link(path, &shared.blobs())
    };
    let Some((file, link)) = linked else {
        return Ok(None);
    };
    let version = |file: &File| {
        let metadata = file.metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    check_magic(&file, path, magic)?;
    let before = version(&file);
    let digest = hash(&file, &link, &mut |_| {})?;
    check_expected(digest, expected)?;
    // Asked before anything is pinned: `commit` pins the blob, and twice would keep it for too long.
    if shared.blob_size(&digest).is_some() && keep_existing(shared, digest, len(&file, path)?)? {
        return Ok(Some(digest));
    }
    // Both names mean one file, and a blob is read-only: writing it through the other name would change it. Who may read
    // it stays as its owner chose.
    let mode = temporary::mode(&file);
    let read_only = mode & !0o222;
    if temporary::set_mode(&file, read_only).is_err() || version(&file) != before {
        let _as_it_was = temporary::set_mode(&file, mode);
        return Ok(None);
    }
    let committed = commit(shared, &file, link, read_only, digest, expected);
    if committed.is_err() {
        let _as_it_was = temporary::set_mode(&file, mode);
    }
    committed.map(Some)
}

/// The digest of the whole of `file`, read from where it stands; `progress` hears how many bytes that are so far.
pub(crate) fn hash(
    mut file: &File,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Digest, Error> {
    let mut hasher = Hasher::default();
    let mut n_bytes = 0;
    let read = for_each_chunk(&mut file, |chunk| {
        hasher.update(chunk);
        n_bytes += chunk.len() as u64;
        progress(n_bytes);
        Ok(())
    });
    read.map_err(|error| match error {
        Error::Source { source } => Error::read(path)(source),
        other => other,
    })?;
    Ok(hasher.digest())
}

/// Hands the bytes of `reader` on in pieces, to its end.
pub(crate) fn for_each_chunk(
    reader: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n_bytes) => take(&buffer[..n_bytes])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Source { source }),
        }
    }
}

/// Leaves `file` at its start.
pub(super) fn check_magic(mut file: &File, path: &Path, magic: &[u8]) -> Result<(), Error> {
    let mut start = vec![0; magic.len()];
    let read = file.read_exact(&mut start).and_then(|()| file.rewind());
    if read.is_ok() && start == magic {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::InvalidData, "it is not a file of that kind");
    Err(Error::read(path)(error))
}

pub(crate) fn check_expected(actual: Digest, expected: Option<&Digest>) -> Result<(), Error> {
    match expected {
        Some(&expected) if expected != actual => Err(Error::DigestMismatch { expected, actual }),
        _ => Ok(()),
    }
}

fn len(file: &File, path: &Path) -> Result<u64, Error> {
    Ok(file.metadata().map_err(Error::read(path))?.len())
}

/// Whether the blob `digest` of `n_bytes` is there already; from now on it stays, also if it comes later.
pub(crate) fn keep_existing(shared: &Shared, digest: Digest, n_bytes: u64) -> Result<bool, Error> {
    let guard = shared.locks.lock()?;
    shared.locks.pin_fresh(&guard, digest)?;
    Ok(shared.blob_size(&digest) == Some(n_bytes))
}

/// Makes the finished `file` at `path` visible as the blob `digest`, if that is what was expected.
fn commit(
    shared: &Shared,
    file: &File,
    path: TempPath,
    mode: u32,
    digest: Digest,
    expected: Option<&Digest>,
) -> Result<Digest, Error> {
    check_expected(digest, expected)?;
    if !keep_existing(shared, digest, len(file, &path)?)? {
        reveal(shared, file, &path, mode, digest)?;
        // Its name is another now: there is nothing left to remove.
        let _ = path.keep();
    }
    Ok(digest)
}

/// Syncs the verified `file` at `path` and gives it the permissions and the name of the blob `digest`.
pub(crate) fn reveal(
    shared: &Shared,
    file: &File,
    path: &Path,
    mode: u32,
    digest: Digest,
) -> Result<(), Error> {
    let blob = shared.hot_blob_path(&digest);
    let synced = temporary::set_mode(file, mode).and_then(|()| file.sync_all());
    synced.map_err(Error::write(&blob))?;
    let _guard = shared.locks.lock()?;
    fs::rename(path, &blob).map_err(Error::write(&blob))?;
    steps::between();
    temporary::sync_folder(&shared.blobs())
}
