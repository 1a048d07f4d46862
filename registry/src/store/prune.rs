//! Removing what nothing refers to. Runs under the store's lock only, so no manifest and no pin can appear meanwhile.
use super::{Shared, lock::Guard, manifests, steps, usage, usage::PartialFile, versions};
use crate::{Digest, Error, Manifest, ModelName};
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, SystemTime},
};
use tracing::{debug, warn};

/// How old something must be to be garbage. What is in use is none, whatever its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcLimits {
    /// Since a blob was written. (Ollama, which may use the same store, writes blobs before their manifest too.)
    pub blob_age: Duration,
    /// Since an unfinished download grew.
    pub partial_age: Duration,
    /// Since a version of a model was replaced.
    pub version_age: Duration,
}

impl Default for GcLimits {
    /// An hour; two weeks; a month.
    fn default() -> Self {
        Self {
            blob_age: Duration::from_secs(3600),
            partial_age: Duration::from_secs(14 * 24 * 3600),
            version_age: versions::LIFETIME,
        }
    }
}

/// What nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Blobs with their sizes, those that only an earlier version below refers to included.
    pub blobs: Vec<(Digest, u64)>,
    /// Unfinished downloads.
    pub partials: Vec<PartialFile>,
    /// Earlier versions of models: name and digest of the manifest.
    pub versions: Vec<(ModelName, Digest)>,
    /// A model whose manifest cannot be read; no blob is garbage then, for it may refer to any.
    pub blocked_by: Option<ModelName>,
}

impl Garbage {
    /// What the disk gets back, in bytes.
    pub fn n_bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|(_, size)| *size);
        let partials = self.partials.iter().map(|partial| partial.size);
        blobs.chain(partials).fold(0, u64::saturating_add)
    }
}

/// Removes those of `candidates` that no manifest refers to and nobody needs; gives their number. What only a pin keeps is
/// tried again the next time.
pub(super) fn remove_unused(
    shared: &Shared,
    guard: &Guard<'_>,
    candidates: impl IntoIterator<Item = Digest>,
) -> Result<usize, Error> {
    let mut candidates: HashSet<Digest> = candidates.into_iter().collect();
    candidates.extend(shared.locks.take_deferred());
    if candidates.is_empty() {
        return Ok(0);
    }
    let Ok(referenced) = referenced(shared, None)? else {
        shared.locks.defer(candidates);
        return Ok(0);
    };
    candidates.retain(|digest| !referenced.contains(digest));
    let pinned = shared.locks.pinned(guard)?;
    let (pinned, unused): (HashSet<_>, HashSet<_>) = candidates
        .into_iter()
        .partition(|digest| pinned.contains(digest));
    shared.locks.defer(pinned);
    let mut n_removed = 0;
    for digest in unused {
        let mut was_there = false;
        for path in shared.own_files(&digest) {
            was_there |= remove_file(&path)?;
        }
        n_removed += usize::from(was_there);
        debug!(%digest, "removed an unused blob");
    }
    Ok(n_removed)
}

/// Removes what this store has of a blob beside its file in the hot folder.
pub(super) fn remove_copies(
    shared: &Shared,
    _guard: &Guard<'_>,
    digest: &Digest,
) -> Result<(), Error> {
    let hot = shared.hot_blob_path(digest);
    if !hot.is_file() {
        return Ok(());
    }
    for path in shared.own_files(digest) {
        if path != hot {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether the file was there.
fn remove_file(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => {
            steps::between();
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::write(path)(error)),
    }
}

/// Finds all garbage, and removes it unless `is_dry`.
pub(super) fn collect(
    shared: &Shared,
    guard: &Guard<'_>,
    limits: &GcLimits,
    is_dry: bool,
) -> Result<Garbage, Error> {
    let garbage = find(shared, guard, limits)?;
    if is_dry {
        return Ok(garbage);
    }
    // The versions first: what still refers to a blob must not outlive it.
    for found in manifests::walk(&shared.manifests())? {
        let current = Digest::of(&manifests::read(&found.path)?);
        versions::trim(shared, guard, &found.name, &current, limits.version_age)?;
    }
    for name in orphans(shared)? {
        versions::forget(shared, guard, &name)?;
    }
    for partial in &garbage.partials {
        partial.remove()?;
    }
    remove_unused(
        shared,
        guard,
        garbage.blobs.iter().map(|(digest, _)| *digest),
    )?;
    Ok(garbage)
}

fn find(shared: &Shared, guard: &Guard<'_>, limits: &GcLimits) -> Result<Garbage, Error> {
    let mut garbage = Garbage::default();
    let mut of_versions = HashSet::new();
    for found in manifests::walk(&shared.manifests())? {
        let current = Digest::of(&manifests::read(&found.path)?);
        for version in versions::outlived(shared, &found.name, &current, limits.version_age)? {
            of_versions.extend(version.blobs()?);
            garbage.versions.push((found.name.clone(), version.digest));
        }
    }
    for name in orphans(shared)? {
        for version in versions::all(shared, &name)? {
            of_versions.extend(version.blobs()?);
            garbage.versions.push((name.clone(), version.digest));
        }
    }
    let pinned = shared.locks.pinned(guard)?;
    let (blobs, partials) = usage::files(shared)?;
    garbage.partials = partials;
    garbage.partials.retain(|partial| {
        let is_wanted = pinned.contains(&partial.digest) || partial.is_in_use();
        !is_wanted && versions::is_older(partial.modified, limits.partial_age)
    });
    match referenced(shared, Some(limits.version_age))? {
        Ok(referenced) => {
            let blobs = blobs.into_iter().filter(|blob| {
                let is_needed = referenced.contains(&blob.digest) || pinned.contains(&blob.digest);
                let is_old = of_versions.contains(&blob.digest)
                    || versions::is_older(blob.modified, limits.blob_age);
                !is_needed && is_old
            });
            garbage.blobs = blobs.map(|blob| (blob.digest, blob.size)).collect();
            garbage.blobs.sort_by_key(|(digest, _)| *digest);
        }
        Err(name) => garbage.blocked_by = Some(name),
    }
    Ok(garbage)
}

/// The names of which there are versions and no model: somebody was killed while removing it, or another program did.
fn orphans(shared: &Shared) -> Result<Vec<ModelName>, Error> {
    let mut names = versions::names(shared)?;
    let models = manifests::walk(&shared.manifests())?;
    let models: HashSet<&ModelName> = models.iter().map(|found| &found.name).collect();
    names.retain(|name| !models.contains(name));
    Ok(names)
}

/// Every blob that a manifest, one of a shared store too, or an earlier version of it refers to, but for the versions that
/// were replaced `max_age` ago; or the model whose manifest cannot be understood, so that nothing may be removed.
fn referenced(
    shared: &Shared,
    max_age: Option<Duration>,
) -> Result<Result<HashSet<Digest>, ModelName>, Error> {
    let mut referenced = HashSet::new();
    for found in manifests::walk(&shared.manifests())? {
        let current = match shared.known_blobs(&found) {
            Some((current, blobs)) => {
                referenced.extend(blobs);
                current
            }
            None => match manifests::read(&found.path).and_then(|json| {
                let manifest = Manifest::parse(&json)?;
                Ok((Digest::of(&json), manifest))
            }) {
                Ok((current, manifest)) => {
                    referenced.extend(manifest.blobs().map(|blob| blob.digest));
                    current
                }
                Err(error) => {
                    let (name, error) = (&found.name, &error);
                    warn!(%name, %error, "keeping all blobs: a manifest cannot be read");
                    return Ok(Err(found.name));
                }
            },
        };
        let outlived = match max_age {
            Some(max_age) => versions::outlived(shared, &found.name, &current, max_age)?,
            None => Vec::new(),
        };
        for version in versions::earlier(shared, &found.name, &current)? {
            if outlived.iter().all(|other| other.digest != version.digest) {
                referenced.extend(version.blobs()?);
            }
        }
    }
    referenced.extend(shared.blobs_of_shared_models());
    Ok(Ok(referenced))
}

impl PartialFile {
    /// Whether somebody downloads it now.
    fn is_in_use(&self) -> bool {
        let opened = File::open(&self.path);
        opened.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    fn remove(&self) -> Result<(), Error> {
        // The file before its journal: a journal without bytes claims nothing.
        for path in [&self.path, &self.journal] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::write(path)(error));
                }
                _ => steps::between(),
            }
        }
        Ok(())
    }
}

/// When a file was last written, if it says so.
pub(super) fn modified(metadata: &fs::Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}
