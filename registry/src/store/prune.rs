//! Removing blobs that nothing refers to. Runs under the store's lock only, so no manifest and no pin can appear meanwhile.
use super::{Shared, lock::Guard, manifests};
use crate::{Digest, Error, Manifest};
use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};
use tracing::{debug, warn};

/// An interrupted download that nobody has gone on with for so long is given up.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

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
    let Some(referenced) = referenced(shared)? else {
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
            match fs::remove_file(&path) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::write(&path)(error)),
            }
        }
        n_removed += usize::from(was_there);
        debug!(%digest, "removed an unused blob");
    }
    Ok(n_removed)
}

/// Removes every unused blob that was last written before `min_age` ago, and downloads that were given up.
pub(super) fn remove_all_unused(
    shared: &Shared,
    guard: &Guard<'_>,
    min_age: Duration,
) -> Result<usize, Error> {
    let mut candidates = Vec::new();
    for folder in shared.own_folders() {
        collect_unused(&folder, min_age, &mut candidates)?;
    }
    remove_unused(shared, guard, candidates)
}

/// Adds the blobs in `folder` that are old enough, and removes downloads that were given up.
fn collect_unused(
    folder: &Path,
    min_age: Duration,
    candidates: &mut Vec<Digest>,
) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::read(folder))? {
        let entry = entry.map_err(Error::read(folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        let is_older = |limit: Duration| age.is_some_and(|age| age >= limit);
        if let Ok(digest) = name.parse::<Digest>() {
            candidates.extend(is_older(min_age).then_some(digest));
        } else if let Some((blob, rest)) = name.split_once("-partial")
            && ["", ".journal"].contains(&rest)
            && blob.parse::<Digest>().is_ok()
            && is_older(PARTIAL_LIFETIME)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Every blob that a manifest refers to; `None` when a manifest cannot be understood, and so nothing may be removed.
fn referenced(shared: &Shared) -> Result<Option<HashSet<Digest>>, Error> {
    let mut referenced = HashSet::new();
    for found in manifests::walk(&shared.manifests())? {
        if let Some(blobs) = shared.known_blobs(&found) {
            referenced.extend(blobs);
            continue;
        }
        match manifests::read(&found.path).and_then(|json| Manifest::parse(&json)) {
            Ok(manifest) => referenced.extend(manifest.blobs().map(|blob| blob.digest)),
            Err(error) => {
                let (name, error) = (&found.name, &error);
                warn!(%name, %error, "keeping all blobs: a manifest cannot be read");
                return Ok(None);
            }
        }
    }
    Ok(Some(referenced))
}
