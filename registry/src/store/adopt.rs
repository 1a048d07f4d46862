//! Files of other programs become blobs, and nothing is copied.
//!
//! A reflink shares the extents of the file and is a blob like any other. Where the filesystem has none, the blob is an
//! entry that refers to the file. On request it is a second name of the file, which lasts when the other program removes
//! its own. Neither the bytes nor the permissions of the file change.
use super::{
    Store, ingest,
    locations::file_size,
    references::{self, Reference},
    temporary,
};
use crate::{Digest, Error};
use std::{
    fmt,
    fs::{self, File},
    io,
    path::Path,
};

/// How a file is to become a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdoptBy {
    /// By reflink, else by reference.
    #[default]
    Sharing,
    /// By hard link.
    HardLink,
}

/// How a file became a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The blob was there.
    AlreadyThere,
    /// The blob shares the extents of the file.
    Reflink,
    /// The blob is the file.
    HardLink,
    /// The store refers to the file.
    Reference,
}

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyThere => "already there",
            Self::Reflink => "by reflink",
            Self::HardLink => "by hard link",
            Self::Reference => "by reference",
        })
    }
}

impl Store {
    /// Makes the file at `path`, which must begin with `magic`, a blob without a copy. Its bytes are read once, to know
    /// or to check (`expected`) the digest; `progress` hears how many bytes of how many are read.
    ///
    /// # Errors
    /// A file of another kind, one that changes meanwhile, [`Error::DigestMismatch`], or the disk.
    pub fn adopt_file(
        &self,
        path: &Path,
        magic: &[u8],
        expected: Option<&Digest>,
        by: AdoptBy,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Digest, Adopted), Error> {
        let shared = self.shared();
        let path = &fs::canonicalize(path).map_err(Error::read(path))?;
        let size = file_size(path).ok_or_else(|| {
            Error::read(path)(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ))
        })?;
        let source = File::open(path).map_err(Error::read(path))?;
        ingest::check_magic(&source, path, magic)?;
        // Who gave the file its name has checked it; what is here under that digest is the same.
        if let Some(digest) = expected
            && shared.blob_size(digest) == Some(size)
            && ingest::keep_existing(shared, *digest, size)?
        {
            return Ok((*digest, Adopted::AlreadyThere));
        }
        let mut counted = |n_bytes| progress(n_bytes, size);
        if by == AdoptBy::Sharing
            && let Some(digest) = ingest::by_reflink(shared, &source, expected, &mut counted)?
        {
            return Ok((digest, Adopted::Reflink));
        }
        let state = |file: &File| file.metadata().map_err(Error::read(path));
        let before = Reference::of(path, &state(&source)?);
        let digest = ingest::hash(&source, path, &mut counted)?;
        ingest::check_expected(digest, expected)?;
        if Reference::of(path, &state(&source)?) != before {
            let changing = io::Error::other("it changes while it is read");
            return Err(Error::read(path)(changing));
        }
        let guard = shared.lock()?;
        shared.pin_fresh(&guard, digest)?;
        if shared.blob_size(&digest) == Some(size) {
            return Ok((digest, Adopted::AlreadyThere));
        }
        if by == AdoptBy::HardLink {
            let linked = temporary::link(path, &shared.blobs());
            let Some((file, link)) = linked.filter(|(file, _)| is_same(file, &source)) else {
                let refused = io::Error::other("it cannot be linked into the models directory");
                return Err(Error::read(path)(refused));
            };
            drop(guard);
            let mode = temporary::mode(&file);
            ingest::reveal(shared, &file, &link, mode, digest)?;
            let _ = link.keep();
            return Ok((digest, Adopted::HardLink));
        }
        references::write(shared, &digest, &before)?;
        Ok((digest, Adopted::Reference))
    }
}

/// Whether both are the same file, not only of the same name.
fn is_same(a: &File, b: &File) -> bool {
    let stamp = |file: &File| {
        let metadata = file.metadata().ok()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        }
        #[cfg(not(unix))]
        Some((metadata.len(), metadata.modified().ok()?))
    };
    stamp(a).is_some() && stamp(a) == stamp(b)
}
