//! What takes how much of the disk.
use super::{Shared, Store, manifests, prune, versions};
use crate::{Digest, Error, Manifest, ModelName, remote::journal_path};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// One model's share of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUsage {
    /// Its name.
    pub name: ModelName,
    /// Of its manifest.
    pub digest: Digest,
    /// Bytes that no other model or version of one refers to; removing the model gives them back.
    pub own: u64,
    /// Bytes that other models or earlier versions of them refer to as well.
    pub shared: u64,
    /// Bytes that only earlier versions of models refer to, this one's among them.
    pub earlier: u64,
}

/// An unfinished download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialFile {
    /// What it is to become; for a file whose digest nobody says, what it is known by.
    pub digest: Digest,
    /// Bytes on the disk; holes do not count.
    pub size: u64,
    /// When it last grew.
    pub modified: SystemTime,
    pub(super) path: PathBuf,
    pub(super) journal: PathBuf,
}

/// What takes how much of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By name.
    pub models: Vec<ModelUsage>,
    /// Unfinished downloads.
    pub partials: Vec<PartialFile>,
    /// All blobs, each once.
    pub blobs: u64,
    /// Blobs that only earlier versions refer to.
    pub earlier: u64,
    /// Blobs that nothing refers to.
    pub unreferenced: u64,
    /// What is free on the disk, if it says so.
    pub free: Option<u64>,
}

/// A file of a blob that is this store's own, or the entry of one that is another program's.
pub(super) struct OwnFile {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

/// The store's own files of blobs, each blob once, and the unfinished downloads, in no order.
pub(super) fn files(shared: &Shared) -> Result<(Vec<OwnFile>, Vec<PartialFile>), Error> {
    let (mut blobs, mut partials) = (HashMap::new(), HashMap::new());
    for folder in shared.own_folders() {
        for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
            let entry = entry.map_err(Error::read(&folder))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Renamed or removed in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::read(entry.path())(error)),
            };
            if let Ok(digest) = name.parse() {
                let own = blobs.entry(digest).or_insert_with(|| OwnFile {
                    digest,
                    size: 0,
                    modified: SystemTime::UNIX_EPOCH,
                });
                own.size += metadata.len();
                own.modified = own.modified.max(prune::modified(&metadata));
            } else if let Some((blob, rest)) = name.split_once("-partial")
                && ["", ".journal"].contains(&rest)
                && let Ok(digest) = blob.parse::<Digest>()
            {
                let path = folder.join(format!("{blob}-partial"));
                let partial = partials.entry(path.clone()).or_insert_with(|| PartialFile {
                    digest,
                    size: 0,
                    modified: SystemTime::UNIX_EPOCH,
                    journal: journal_path(&path),
                    path,
                });
                partial.size += crate::remote::allocated(&metadata);
                partial.modified = partial.modified.max(prune::modified(&metadata));
            }
        }
    }
    let blobs = blobs.into_values().collect();
    let mut partials: Vec<PartialFile> = partials.into_values().collect();
    partials.sort_by_key(|partial| partial.digest);
    Ok((blobs, partials))
}

impl Store {
    /// What takes how much of the disk.
    ///
    /// # Errors
    /// The disk. A manifest that cannot be read refers to nothing.
    pub fn usage(&self) -> Result<Usage, Error> {
        let shared = &self.shared;
        let (blobs, partials) = files(shared)?;
        let sizes: HashMap<Digest, u64> =
            blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
        let mut models = Vec::new();
        let mut n_users: HashMap<Digest, usize> = HashMap::new();
        let mut n_keepers: HashMap<Digest, usize> = HashMap::new();
        // What a model of a shared store refers to stays here as well.
        for digest in shared.blobs_of_shared_models() {
            *n_users.entry(digest).or_default() += 1;
        }
        for found in manifests::walk(&shared.manifests())? {
            let Ok(json) = manifests::read(&found.path) else {
                continue;
            };
            let Ok(manifest) = Manifest::parse(&json) else {
                continue;
            };
            let of_model: HashSet<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
            for digest in &of_model {
                *n_users.entry(*digest).or_default() += 1;
            }
            let digest = Digest::of(&json);
            let mut earlier: HashSet<Digest> = HashSet::new();
            for version in versions::earlier(shared, &found.name, &digest)? {
                earlier.extend(version.blobs()?);
            }
            for digest in &earlier {
                *n_keepers.entry(*digest).or_default() += 1;
            }
            models.push((found.name, digest, of_model, earlier));
        }
        let sum = |digests: &mut dyn Iterator<Item = &Digest>| {
            digests.filter_map(|digest| sizes.get(digest)).sum::<u64>()
        };
        let n_users = |digest: &Digest| n_users.get(digest).copied().unwrap_or(0);
        // Of a model with those earlier blobs: another's earlier version keeps what it has, too.
        let is_own = |digest: &Digest, earlier: &HashSet<Digest>| {
            let n_keepers = n_keepers.get(digest).copied().unwrap_or(0);
            n_users(digest) == 1 && n_keepers == usize::from(earlier.contains(digest))
        };
        let mut models: Vec<ModelUsage> = models
            .into_iter()
            .map(|(name, digest, of_model, earlier)| ModelUsage {
                name,
                digest,
                own: sum(&mut of_model.iter().filter(|digest| is_own(digest, &earlier))),
                shared: sum(&mut of_model.iter().filter(|digest| !is_own(digest, &earlier))),
                earlier: sum(&mut earlier.iter().filter(|digest| n_users(digest) == 0)),
            })
            .collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        let is_unused = |digest: &&Digest| n_users(digest) == 0 && !n_keepers.contains_key(*digest);
        Ok(Usage {
            blobs: sizes.values().sum(),
            earlier: sum(&mut n_keepers.keys().filter(|digest| n_users(digest) == 0)),
            unreferenced: sum(&mut sizes.keys().filter(is_unused)),
            free: free_bytes(&shared.locations.hot),
            models,
            partials,
        })
    }
}

/// Bytes that this user may still write at `path`; `None` where that cannot be known.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
