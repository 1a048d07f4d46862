//! What a model was before, and where each version came from.
//!
//! ```text
//! .slm/versions/<host>/<namespace>/<model>/<tag>/sha256-<hex>        the manifest of an earlier version, verbatim
//! .slm/versions/<host>/<namespace>/<model>/<tag>/sha256-<hex>.json   where the version with that manifest came from
//! ```
//!
//! An earlier version keeps its blobs, as a model does, while its model is there. Replacing a manifest writes the old one
//! here first, then the new one, then drops what is too many: a process that is killed between leaves one too many, or the
//! current one twice, which the next replacement sees to.
use super::{Shared, lock::Guard, manifests, steps};
use crate::{Digest, Error, Manifest, ModelName, Provenance};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// So many earlier versions of a model are kept: the one to roll back to.
const N_KEPT: usize = 1;
/// An earlier version is let go after so long.
pub(super) const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// What nobody wrote by hand into a folder of versions is less.
const MAX_FILES: usize = 1000;
const NOTE_ENDING: &str = ".json";

/// An earlier version.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    /// Of the manifest, by the file's name.
    pub(super) digest: Digest,
    /// When it was replaced.
    pub(super) replaced: SystemTime,
    path: PathBuf,
}

impl Earlier {
    /// Its manifest's bytes, if they are what they were.
    pub(super) fn json(&self) -> Result<Vec<u8>, Error> {
        let json = manifests::read(&self.path)?;
        if Digest::of(&json) != self.digest {
            return Err(Error::Manifest {
                reason: format!("the earlier version `{}` is damaged", self.path.display()),
            });
        }
        Ok(json)
    }

    /// What it refers to; nothing if it is damaged, for nobody can go back to it then.
    pub(super) fn blobs(&self) -> Result<Vec<Digest>, Error> {
        match self.json().and_then(|json| Manifest::parse(&json)) {
            Ok(manifest) => Ok(manifest.blobs().map(|blob| blob.digest).collect()),
            Err(Error::Manifest { reason }) => {
                tracing::warn!(reason, "passing over a damaged earlier version");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// Where the versions of all models are.
pub(super) fn root(shared: &Shared) -> PathBuf {
    shared.locations.hot.join(".slm/versions")
}

fn folder(shared: &Shared, name: &ModelName) -> PathBuf {
    root(shared).join(name.relative_path())
}

fn note_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(digest.file_name() + NOTE_ENDING)
}

/// Digest and whether it is a note, of every file in a folder of versions.
fn files(folder: &Path) -> Result<Vec<(Digest, bool, fs::DirEntry)>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read(folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let entry = entry.map_err(Error::read(folder))?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let stem = name.strip_suffix(NOTE_ENDING);
        if let Ok(digest) = stem.unwrap_or(name).parse() {
            files.push((digest, stem.is_some(), entry));
        }
    }
    Ok(files)
}

/// The earlier versions of `name`, which is spelled as it is stored; the one replaced last comes first. `current` is the
/// digest of its manifest.
pub(super) fn earlier(
    shared: &Shared,
    name: &ModelName,
    current: &Digest,
) -> Result<Vec<Earlier>, Error> {
    let mut found = all(shared, name)?;
    found.retain(|version| version.digest != *current);
    Ok(found)
}

/// The versions of `name`, the current one among them where it was kept too; the one replaced last comes first.
pub(super) fn all(shared: &Shared, name: &ModelName) -> Result<Vec<Earlier>, Error> {
    let mut found = Vec::new();
    for (digest, is_note, entry) in files(&folder(shared, name))? {
        if is_note {
            continue;
        }
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        found.push(Earlier {
            digest,
            replaced: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            path: entry.path(),
        });
    }
    found.sort_by(|a, b| b.replaced.cmp(&a.replaced).then(a.digest.cmp(&b.digest)));
    Ok(found)
}

/// Keeps `json`, the current manifest of `name`, as the earlier version that is gone back to next.
pub(super) fn keep(
    shared: &Shared,
    _guard: &Guard<'_>,
    name: &ModelName,
    json: &[u8],
) -> Result<(), Error> {
    let digest = Digest::of(json);
    let path = folder(shared, name).join(digest.file_name());
    manifests::write(&root(shared), &path, json)?;
    // A clock that was set back must not make it older than those before.
    let earlier = earlier(shared, name, &digest)?;
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
    if let Some(other) = earlier.first()
        && modified.is_ok_and(|modified| modified <= other.replaced)
        && let Ok(file) = fs::File::open(&path)
        && let Err(error) = file.set_modified(other.replaced + Duration::from_millis(1))
    {
        tracing::debug!(%error, "cannot set when a version was replaced");
    }
    Ok(())
}

/// Notes where the version of `name` with the manifest `digest` came from.
pub(super) fn note(
    shared: &Shared,
    _guard: &Guard<'_>,
    name: &ModelName,
    digest: &Digest,
    provenance: &Provenance,
) -> Result<(), Error> {
    let json = serde_json::to_vec(provenance).expect("texts and numbers always serialise");
    manifests::write(
        &root(shared),
        &note_path(&folder(shared, name), digest),
        &json,
    )
}

/// Where that version came from, if anybody noted it.
pub(super) fn provenance(shared: &Shared, name: &ModelName, digest: &Digest) -> Option<Provenance> {
    let json = manifests::read(&note_path(&folder(shared, name), digest)).ok()?;
    let parsed = serde_json::from_slice(&json);
    parsed
        .inspect_err(|error| tracing::warn!(%name, %error, "passing over a damaged note"))
        .ok()
}

/// Lets go of the versions of `name` that are too many, or that were replaced `max_age` ago, with their notes; gives what
/// their manifests referred to.
pub(super) fn trim(
    shared: &Shared,
    guard: &Guard<'_>,
    name: &ModelName,
    current: &Digest,
    max_age: Duration,
) -> Result<Vec<Digest>, Error> {
    let earlier = earlier(shared, name, current)?;
    let (kept, dropped): (Vec<_>, Vec<_>) = earlier
        .into_iter()
        .enumerate()
        .partition(|(idx, version)| *idx < N_KEPT && !is_older(version.replaced, max_age));
    let mut blobs = Vec::new();
    for (_, version) in &dropped {
        blobs.extend(version.blobs()?);
    }
    let kept: Vec<Digest> = kept
        .into_iter()
        .map(|(_, version)| version.digest)
        .collect();
    for (digest, is_note, entry) in files(&folder(shared, name))? {
        let is_needed = kept.contains(&digest) || (is_note && digest == *current);
        if !is_needed {
            remove_file(&entry.path())?;
        }
    }
    let _: &Guard<'_> = guard;
    manifests::remove_empty_parents(&root(shared), &note_path(&folder(shared, name), current));
    Ok(blobs)
}

/// What the earlier versions that [`trim`] would let go of are.
pub(super) fn outlived(
    shared: &Shared,
    name: &ModelName,
    current: &Digest,
    max_age: Duration,
) -> Result<Vec<Earlier>, Error> {
    let mut earlier = earlier(shared, name, current)?;
    let mut idx = 0;
    earlier.retain(|version| {
        idx += 1;
        idx > N_KEPT || is_older(version.replaced, max_age)
    });
    Ok(earlier)
}

/// Forgets all versions of `name`; gives what their manifests referred to.
pub(super) fn forget(
    shared: &Shared,
    _guard: &Guard<'_>,
    name: &ModelName,
) -> Result<Vec<Digest>, Error> {
    let folder = folder(shared, name);
    let mut blobs = Vec::new();
    for version in all(shared, name)? {
        blobs.extend(version.blobs()?);
    }
    for (_, _, entry) in files(&folder)? {
        remove_file(&entry.path())?;
    }
    manifests::remove_empty_parents(&root(shared), &folder.join("x"));
    Ok(blobs)
}

/// The names of which there are versions.
pub(super) fn names(shared: &Shared) -> Result<Vec<ModelName>, Error> {
    manifests::walk_folders(&root(shared))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    let removed = fs::remove_file(path);
    steps::between();
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path)(error)),
        _ => Ok(()),
    }
}

/// Whether `time` is at least `age` ago.
pub(super) fn is_older(time: SystemTime, age: Duration) -> bool {
    // A time in the future is young, unless any age will do.
    let since = SystemTime::now().duration_since(time).unwrap_or_default();
    since >= age
}
