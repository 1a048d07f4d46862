//! Where the bytes of a blob are.
//!
//! New blobs go to the *hot* folder. *Shared* folders are stores of somebody else: they are read, and nothing is ever
//! written there, not even a lock. The *archive* is a folder on a larger, slower disk: it has blobs of this store alone,
//! whose manifests stay in the hot folder. Last, a blob may be a file of another program that was adopted *by reference*
//! (see [`super::references`]). They are asked in this order, and the first that has the blob serves it.
use super::{Shared, references};
use crate::{Digest, Error};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The file in an archive that says whose it is.
const OWNER_FILE: &str = "slm-archive";

/// The folders of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// What is new goes here; manifests are here.
    pub hot: PathBuf,
    /// Stores that are only read.
    pub shared: Vec<PathBuf>,
    /// Where `archive` moves blobs to.
    pub archive: Option<PathBuf>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Locations {
    /// One folder and no other.
    fn from(hot: &P) -> Self {
        Self {
            hot: hot.as_ref().to_owned(),
            shared: Vec::new(),
            archive: None,
        }
    }
}

impl Locations {
    /// Whether there is more than one.
    pub fn are_several(&self) -> bool {
        self.archive.is_some() || !self.shared.is_empty()
    }

    /// What is wrong with the archive, if anything: two stores in one archive would remove each other's blobs, and a move
    /// within one folder the only copy.
    pub(super) fn check_archive(&self) -> Result<(), Error> {
        let Some(archive) = &self.archive else {
            return Ok(());
        };
        if is_same_folder(&archive.join("blobs"), &self.hot.join("blobs")) {
            let path = archive.clone();
            return Err(Error::ArchiveIsStore { path });
        }
        match owner_of(archive)? {
            Some(owner) if !self.is_hot(&owner) => Err(Error::ForeignArchive {
                path: archive.clone(),
                owner: crate::error::one_line(&owner),
            }),
            _ => Ok(()),
        }
    }

    /// Whether this store may remove blobs of the archive: only while the archive says that it is this store's. Asked at
    /// each use, for disks come and go.
    fn has_own_archive(&self) -> bool {
        let archive = self.archive.as_ref();
        let owner = archive.and_then(|archive| owner_of(archive).ok().flatten());
        owner.is_some() && self.check_archive().is_ok()
    }

    /// Whether an owner file with that text names the hot folder, however spelled.
    fn is_hot(&self, owner: &str) -> bool {
        let owner = Path::new(owner.trim_end());
        owner == self.hot || is_same_folder(owner, &self.hot)
    }

    /// The folder of the archive's blobs, made and marked as this store's. The archive itself must be there: a disk that
    /// is not mounted must not be written beside.
    pub(super) fn claim_archive(&self) -> Result<PathBuf, Error> {
        let archive = self.archive.as_ref().ok_or(Error::NoArchive)?;
        if !archive.is_dir() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::read(archive)(missing));
        }
        self.check_archive()?;
        if owner_of(archive)?.is_none() {
            check_unused(archive)?;
            let owner = archive.join(OWNER_FILE);
            let text = format!("{}\n", self.hot.display());
            fs::write(&owner, text).map_err(Error::write(&owner))?;
        }
        let blobs = archive.join("blobs");
        fs::create_dir_all(&blobs).map_err(Error::write(&blobs))?;
        Ok(blobs)
    }
}

/// What an archive says of whose it is.
fn owner_of(archive: &Path) -> Result<Option<String>, Error> {
    let path = archive.join(OWNER_FILE);
    match fs::read_to_string(&path) {
        Ok(owner) => Ok(Some(owner)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::read(&path)(error)),
    }
}

/// That a folder which nobody has claimed has nothing of a store: what is in an archive may be removed.
fn check_unused(archive: &Path) -> Result<(), Error> {
    let blobs = archive.join("blobs");
    let has_blobs = match fs::read_dir(&blobs) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::read(&blobs)(error)),
    };
    if has_blobs || archive.join("manifests").exists() {
        let path = archive.to_owned();
        return Err(Error::ArchiveInUse { path });
    }
    Ok(())
}

/// Whether both are there and the same folder, through links and mounts.
fn is_same_folder(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
        matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
    }
    #[cfg(not(unix))]
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Which of the locations has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The models directory.
    Hot,
    /// A store that is only read.
    Shared,
    /// The archive.
    Archive,
    /// A file of another program.
    Reference,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::Shared => "shared",
            Self::Archive => "archive",
            Self::Reference => "reference",
        })
    }
}

/// The file of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// Which blob.
    pub digest: Digest,
    /// Its bytes.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Where that is.
    pub place: Place,
}

impl Shared {
    /// Where the blob would be in the hot folder: new ones go there.
    pub(crate) fn hot_blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    /// The file of the blob, from the first location that has it.
    ///
    /// # Errors
    /// When all that is left of it is a reference to a file that changed or vanished.
    pub(crate) fn locate(&self, digest: &Digest) -> Result<Option<BlobFile>, Error> {
        let name = digest.file_name();
        for (place, folder) in self.blob_folders() {
            let path = folder.join(&name);
            if let Some(size) = file_size(&path) {
                let digest = *digest;
                return Ok(Some(BlobFile {
                    digest,
                    path,
                    size,
                    place,
                }));
            }
        }
        references::resolve(&self.references(), digest)
    }

    /// The folders that have blobs as files of their own, in the order in which they are asked.
    fn blob_folders(&self) -> impl Iterator<Item = (Place, PathBuf)> {
        let shared = self
            .locations
            .shared
            .iter()
            .map(|root| (Place::Shared, root));
        let archive = self
            .locations
            .archive
            .iter()
            .map(|root| (Place::Archive, root));
        let roots = [(Place::Hot, &self.locations.hot)].into_iter();
        let roots = roots.chain(shared).chain(archive);
        roots.map(|(place, root)| (place, root.join("blobs")))
    }

    /// Those of [`Self::blob_folders`] whose files this store may remove.
    fn own_blob_folders(&self) -> impl Iterator<Item = PathBuf> {
        let has_own_archive = self.locations.has_own_archive();
        self.blob_folders()
            .filter(move |(place, _)| match place {
                Place::Hot => true,
                Place::Archive => has_own_archive,
                Place::Shared | Place::Reference => false,
            })
            .map(|(_, folder)| folder)
    }

    /// Everything of this store that is removed with the blob, where it exists: files of its own, and the entry of a
    /// reference, never what that refers to.
    pub(super) fn own_files(&self, digest: &Digest) -> Vec<PathBuf> {
        let name = digest.file_name();
        self.own_blob_folders()
            .chain([self.references()])
            .map(|folder| folder.join(&name))
            .collect()
    }

    /// The folders with files of blobs that this store may remove, and with entries of references.
    pub(super) fn own_folders(&self) -> Vec<PathBuf> {
        let own = self.own_blob_folders().chain([self.references()]);
        let mut folders: Vec<PathBuf> = own.collect();
        folders.retain(|folder| folder.is_dir());
        folders
    }

    /// Every blob in every location, each once, by digest. A reference that leads nowhere is left out.
    pub(super) fn all_blobs(&self) -> Result<Vec<BlobFile>, Error> {
        let mut digests = Vec::new();
        let folders = self.blob_folders().map(|(_, folder)| folder);
        for folder in folders.chain([self.references()]) {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::read(&folder)(error)),
            };
            for entry in entries {
                let name = entry.map_err(Error::read(&folder))?.file_name();
                // only this spelling is the name of a blob
                let digest = name.to_str().filter(|name| name.starts_with("sha256-"));
                digests.extend(digest.and_then(|name| name.parse::<Digest>().ok()));
            }
        }
        digests.sort_unstable();
        digests.dedup();
        Ok(digests
            .iter()
            .filter_map(|digest| self.locate(digest).ok().flatten())
            .collect())
    }
}

/// The length of a regular file.
pub(super) fn file_size(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}
