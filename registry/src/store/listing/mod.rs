//! The list of all models, kept in memory for those who ask for it again and again.
//!
//! It is given out only while the system says that nothing has changed that it was made of, whoever changed it: this
//! process, another one, or a person with an editor. Where the system cannot say so for certain, the list is made anew
//! each time: more than one location, links, files of other programs, filesystems that others can write to from elsewhere.
use super::{ModelEntry, Place, Shared, watch::Watch};
use crate::{Error, ModelName};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant, SystemTime},
};

/// Stores with more models are listed anew each time: each takes a few watches, of which a user has some thousands.
const MAX_MODELS: usize = 500;
/// A store that has just changed will soon change again.
const REST: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 1 });

/// The list, if there is one.
#[derive(Default)]
pub(super) struct Listing(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// When a kept list had to go, or could not be made.
    dropped: Option<Instant>,
}

struct Kept {
    entries: Arc<Vec<ModelEntry>>,
    watch: Watch,
}

impl State {
    /// The list, unless something has changed: then there is none from now on.
    fn kept(&mut self) -> Option<Arc<Vec<ModelEntry>>> {
        let kept = self.kept.as_ref()?;
        if kept.watch.is_quiet() {
            return Some(Arc::clone(&kept.entries));
        }
        self.kept = None;
        self.dropped = Some(Instant::now());
        None
    }
}

impl Listing {
    /// The list that is kept, or what `list` makes.
    pub(super) fn get(
        &self,
        shared: &Shared,
        list: impl Fn() -> Result<Vec<ModelEntry>, Error>,
    ) -> Result<Arc<Vec<ModelEntry>>, Error> {
        let mut state = self.state();
        if let Some(entries) = state.kept() {
            return Ok(entries);
        }
        let may_rest = |dropped: Instant| dropped.elapsed() < REST;
        if shared.locations.are_several() || state.dropped.is_some_and(may_rest) {
            return list().map(Arc::new);
        }
        let Some(watch) = watch_folders(shared) else {
            state.dropped = Some(Instant::now());
            return list().map(Arc::new);
        };
        // the first list says what to watch; what changed before that shows in the second
        if !watch_files(shared, &watch, &list()?) {
            state.dropped = Some(Instant::now());
            return list().map(Arc::new);
        }
        let entries = Arc::new(list()?);
        if watch.is_quiet() {
            state.kept = Some(Kept {
                entries: Arc::clone(&entries),
                watch,
            });
        }
        Ok(entries)
    }

    /// The list that is kept, if there is one and nobody is making one just now. Does not wait for the disk: of what is
    /// asked the kernel has all in memory.
    pub(super) fn kept(&self) -> Option<Arc<Vec<ModelEntry>>> {
        match self.0.try_lock() {
            Ok(mut state) => state.kept(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().kept(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Notes a use, which no file tells of.
    pub(super) fn touch(&self, name: &ModelName, now: SystemTime) {
        let mut state = self.state();
        let Some(kept) = &mut state.kept else { return };
        if kept.entries.iter().any(|entry| entry.name == *name) {
            let entries = Arc::make_mut(&mut kept.entries).iter_mut();
            for entry in entries.filter(|entry| entry.name == *name) {
                entry.last_used = Some(now);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the folders of blobs and manifests, each before it is read.
fn watch_folders(shared: &Shared) -> Option<Watch> {
    let manifests = shared.manifests();
    let watch = Watch::new(&[&manifests, &shared.blobs()])?;
    let mut folders = vec![(manifests, 0)];
    while let Some((folder, depth)) = folders.pop() {
        watch.folder(&folder)?;
        // host, namespace, model; what lies below is tags
        if depth == 3 {
            continue;
        }
        for entry in fs::read_dir(&folder).ok()? {
            let entry = entry.ok()?;
            let kind = entry.file_type().ok()?;
            if kind.is_symlink() {
                return None;
            }
            if kind.is_dir() {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    Some(watch)
}

/// Watches the files that `entries` were read from; false where that is not enough.
fn watch_files(shared: &Shared, watch: &Watch, entries: &[ModelEntry]) -> bool {
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    entries.len() <= MAX_MODELS
        && entries.iter().all(|entry| {
            let manifest = shared.manifests().join(entry.name.relative_path());
            let Some((_, blobs)) = shared.resolve(&entry.name).ok().and_then(|found| {
                let known = shared.known_blobs(&found);
                known.filter(|_| found.path == manifest)
            }) else {
                return false;
            };
            let first = blobs.first().map(|digest| shared.hot_blob_path(digest));
            let config = blobs.last().map(|digest| shared.hot_blob_path(digest));
            entry.place == Some(Place::Hot)
                && first.is_some_and(|path| is_file(&path))
                && is_file(&manifest)
                && watch.file(&manifest).is_some()
                && config.is_some_and(|path| is_file(&path) && watch.file(&path).is_some())
        })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
