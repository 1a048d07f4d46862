//! Blobs that are files of another program, used where they lie.
//!
//! An entry says path, length and time of the last change, beside the digest that it is named by. While both are what
//! they were, the file counts as the blob; a file that changed or vanished is refused by name. Nothing is ever done to
//! the file itself.
use super::{
    Shared,
    locations::{BlobFile, Place},
    steps, temporary,
};
use crate::{Digest, Error};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Changes when entries change their meaning.
const VERSION: u32 = 1;
/// No entry is longer: paths have 4 KiB at most.
const MAX_ENTRY_BYTES: u64 = 64 << 10;

/// An entry as it stands on the disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    version: u32,
    path: PathBuf,
    size: u64,
    modified_ns: u64,
}

impl Reference {
    /// The state of the file at `path`, which is absolute.
    pub(super) fn of(path: &Path, metadata: &fs::Metadata) -> Self {
        Self {
            version: VERSION,
            path: path.to_owned(),
            size: metadata.len(),
            modified_ns: modified_ns(metadata),
        }
    }
}

fn modified_ns(metadata: &fs::Metadata) -> u64 {
    let modified = metadata.modified().ok();
    let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |time| time.as_nanos() as u64)
}

/// Writes the entry of `digest`. The caller holds the store's lock.
pub(super) fn write(shared: &Shared, digest: &Digest, reference: &Reference) -> Result<(), Error> {
    let folder = shared.references();
    fs::create_dir_all(&folder).map_err(Error::write(&folder))?;
    let path = folder.join(digest.file_name());
    let json = serde_json::to_vec(reference).map_err(|error| Error::write(&path)(error.into()))?;
    let mut file = temporary::create(&folder)?;
    let written = file
        .write_all(&json)
        .and_then(|()| file.as_file().sync_all());
    written.map_err(Error::write(&path))?;
    file.persist(&path)
        .map_err(|error| Error::write(&path)(error.error))?;
    steps::between();
    temporary::sync_folder(&folder)
}

/// What the entry of `digest` in `folder` leads to; `None` where there is no entry.
pub(super) fn resolve(folder: &Path, digest: &Digest) -> Result<Option<BlobFile>, Error> {
    let entry = folder.join(digest.file_name());
    let Some(reference) = read(&entry)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(&reference.path).ok();
    let reason = match metadata {
        None => "is not there any more",
        Some(now) if !now.is_file() => "is no file any more",
        Some(now) if Reference::of(&reference.path, &now) != reference => "has changed",
        Some(_) => {
            return Ok(Some(BlobFile {
                digest: *digest,
                path: reference.path,
                size: reference.size,
                place: Place::Reference,
            }));
        }
    };
    Err(Error::ReferenceLost {
        digest: *digest,
        path: reference.path,
        reason,
    })
}

fn read(entry: &Path) -> Result<Option<Reference>, Error> {
    let file = match File::open(entry) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::read(entry)(error)),
    };
    let mut json = Vec::new();
    let mut limited = file.take(MAX_ENTRY_BYTES);
    limited.read_to_end(&mut json).map_err(Error::read(entry))?;
    let reference: Reference = serde_json::from_slice(&json)
        .map_err(|error| Error::read(entry)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    if reference.version != VERSION {
        let text = format!("its version is {}", reference.version);
        return Err(Error::read(entry)(io::Error::new(
            io::ErrorKind::InvalidData,
            text,
        )));
    }
    Ok(Some(reference))
}
