//! The facade over blobs, manifests and index.
//!
//! ```text
//! <root>/manifests/<host>/<namespace>/<model>/<tag>   manifest JSON, verbatim
//! <root>/blobs/sha256-<hex>                           a blob: complete, verified, read-only
//! <root>/blobs/sha256-<hex>-partial[.journal]         a download to go on with
//! <root>/{blobs,manifests}/.slm-tmp-*                 being written
//! <root>/.slm/{lock,pins/,index/,index.lock}          this crate's own
//! <root>/.slm/references/sha256-<hex>                 a blob that is a file of another program
//! <root>/.slm/versions/                               earlier manifests, and where each version came from
//! ```
//!
//! This is the layout of Ollama's store, which may be read and filled in place. What is read-only for this process can
//! be listed and run. Further folders may hold blobs and models too ([`Locations`]).
mod adopt;
mod archive;
pub(crate) mod ingest;
mod listing;
mod locations;
mod lock;
pub(crate) mod manifests;
mod prune;
mod published;
mod references;
pub(crate) mod steps;
pub(crate) mod temporary;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod versions;
mod watch;

pub use adopt::{AdoptBy, Adopted};
pub use archive::{MoveProgress, Moved};
pub use locations::{BlobFile, Locations, Place};
pub use lock::Pin;
pub use prune::{Garbage, GcLimits};
pub use published::repository;
pub(crate) use usage::free_bytes;
pub use usage::{ModelUsage, PartialFile, Usage};
pub use verify::{Problem, Trouble, Verified, VerifyEvent};

use crate::{
    Descriptor, Digest, Error, Manifest, ModelName, Provenance,
    index::{Index, Row, Stamp},
    remote::Downloads,
};
use lock::{Guard, Locks};
use manifests::Found;
use std::{
    collections::HashSet,
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Larger blobs are not read into memory.
const MAX_SMALL_BLOB_BYTES: u64 = 16 << 20;

/// A process that ends, or one that is about to become another program, may hold the index a moment longer.
const INDEX_LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// One model as `list` shows it.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// Name with the spelling that is stored.
    pub name: ModelName,
    /// SHA-256 of the manifest's bytes.
    pub digest: Digest,
    /// Sum of config and layers in bytes.
    pub size: u64,
    /// When the manifest was written.
    pub modified: SystemTime,
    /// The config blob as JSON (`model_family`, `model_type`, `file_type`, …); `Null` when unreadable.
    pub config: serde_json::Value,
    /// When it was last used, if ever (from the index).
    pub last_used: Option<SystemTime>,
    /// Where its first layer is: the weights, of a model that can be run. `None` when it is nowhere.
    pub place: Option<Place>,
}

/// A models directory. Clones share it. All methods block on the disk: call them on a blocking thread.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store")
            .field(&self.shared.locations)
            .finish()
    }
}

pub(crate) struct Shared {
    locations: Locations,
    locks: Arc<Locks>,
    index: Mutex<Index>,
    listing: listing::Listing,
    pub(crate) downloads: Downloads,
    /// What moves to the archive and back take turns with.
    moves: Mutex<()>,
    /// Held while this process keeps the index.
    _index_lock: Option<File>,
}

impl Store {
    /// Opens or creates the store at `locations` for this process alone to keep its index (the daemon).
    /// A missing, stale or damaged index is rebuilt from the files.
    ///
    /// # Errors
    /// When the directory cannot be created or another process holds the index.
    pub fn open(locations: impl Into<Locations>) -> Result<Self, Error> {
        let (locations, own) = prepare(locations.into())?;
        let root = locations.hot.clone();
        let path = own.join("index.lock");
        let lock = match File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
        {
            Ok(lock) => lock,
            Err(error) if is_read_only(&error) => {
                return Self::new(locations, Index::in_memory(), None);
            }
            Err(error) => return Err(Error::write(&path)(error)),
        };
        let deadline = Instant::now() + INDEX_LOCK_TIMEOUT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::IndexLocked {
                        path: root,
                        holder: fs::read_to_string(&path)
                            .ok()
                            .and_then(|text| text.trim().parse().ok()),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(Error::write(&path)(error)),
            }
        }
        // For whom it keeps out; a full disk is no reason not to start.
        let said = lock
            .set_len(0)
            .and_then(|()| writeln!(&lock, "{}", std::process::id()));
        if let Err(error) = said {
            tracing::debug!(%error, "cannot say who keeps the index");
        }
        Self::new(locations, Index::open(&own.join("index")), Some(lock))
    }

    /// Opens the store without an index, for one-off commands while no daemon runs.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn open_without_index(locations: impl Into<Locations>) -> Result<Self, Error> {
        let (locations, _) = prepare(locations.into())?;
        Self::new(locations, Index::in_memory(), None)
    }

    fn new(locations: Locations, index: Index, index_lock: Option<File>) -> Result<Self, Error> {
        locations.check_archive()?;
        let shared = Shared {
            locks: Arc::new(Locks::new(&locations.hot.join(".slm"))),
            locations,
            index: Mutex::new(index),
            listing: listing::Listing::default(),
            downloads: Downloads::default(),
            moves: Mutex::default(),
            _index_lock: index_lock,
        };
        // Housekeeping may fail (a store of another user): what is stale then stays.
        if let Ok(_guard) = shared.locks.lock() {
            let others = [shared.manifests(), versions::root(&shared)];
            for folder in shared.own_folders().into_iter().chain(others) {
                if let Err(error) = temporary::remove_stale(&folder) {
                    tracing::debug!(%error, "cannot remove unfinished files");
                }
            }
        }
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// The models directory.
    pub fn root(&self) -> &Path {
        &self.shared.locations.hot
    }

    /// The models directory and the folders beside it.
    pub fn locations(&self) -> &Locations {
        &self.shared.locations
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// All models, newest first.
    ///
    /// # Errors
    /// When the manifests cannot be listed.
    pub fn list(&self) -> Result<Vec<ModelEntry>, Error> {
        let all = self.shared.all_manifests()?;
        let names: HashSet<&ModelName> = all.iter().map(|found| &found.name).collect();
        let mut index = self.shared.index();
        index.retain(|name| names.contains(name));
        let mut entries: Vec<ModelEntry> = Vec::with_capacity(all.len());
        for found in &all {
            match self.shared.entry(&mut index, found) {
                Ok(entry) => entries.push(entry),
                // Removed in the meantime, or damaged: no model.
                Err(error) => {
                    tracing::warn!(name = %found.name, %error, "passing over a damaged model");
                }
            }
        }
        index.save(true);
        entries.sort_by(|a, b| b.modified.cmp(&a.modified).then(a.name.cmp(&b.name)));
        Ok(entries)
    }

    /// As [`Store::list`], for who asks often: kept in memory for as long as nothing changes, whoever changes it.
    ///
    /// # Errors
    /// As there.
    pub fn listing(&self) -> Result<Arc<Vec<ModelEntry>>, Error> {
        self.shared.listing.get(&self.shared, || self.list())
    }

    /// What [`Store::listing`] has in memory, if that holds; the one method that waits for no disk.
    pub fn kept_listing(&self) -> Option<Arc<Vec<ModelEntry>>> {
        self.shared.listing.kept()
    }

    /// The entry of `name`, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, name: &ModelName) -> Result<ModelEntry, Error> {
        let found = self.shared.resolve(name)?;
        let mut index = self.shared.index();
        let entry = self.shared.entry(&mut index, &found)?;
        index.save(true);
        Ok(entry)
    }

    /// The manifest of `name`, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a manifest that does not parse.
    pub fn manifest(&self, name: &ModelName) -> Result<Manifest, Error> {
        Manifest::parse(&self.manifest_json(name)?)
    }

    /// The bytes of the manifest of `name`, as they were received or written.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn manifest_json(&self, name: &ModelName) -> Result<Vec<u8>, Error> {
        let found = self.shared.resolve(name)?;
        manifests::read(&found.path)
    }

    /// The file of the blob, wherever it is; `None` where it is in no location.
    ///
    /// # Errors
    /// [`Error::ReferenceLost`]: it is a file of another program that changed or vanished.
    pub fn locate(&self, digest: &Digest) -> Result<Option<BlobFile>, Error> {
        self.shared.locate(digest)
    }

    /// Where the weights of `entry` are, in a word, for those who have more than one location.
    pub fn location(&self, entry: &ModelEntry) -> Option<String> {
        let is_elsewhere = entry.place.is_some_and(|place| place != Place::Hot);
        let place = entry
            .place
            .filter(|_| is_elsewhere || self.locations().are_several());
        place.map(|place| place.to_string())
    }

    /// Every blob of every location, by digest. One whose file of another program changed or vanished is left out.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn blobs(&self) -> Result<Vec<BlobFile>, Error> {
        self.shared.all_blobs()
    }

    /// Where the blob is, whatever the location, or where it would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.shared.blob_path(digest)
    }

    /// Whether the blob is there, complete.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.shared.blob_size(digest).is_some()
    }

    /// Reads a small blob (template, params, licence, config) into memory; refuses more than 16 MiB.
    ///
    /// # Errors
    /// When it is missing, too large or unreadable.
    pub fn read_small_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.shared.read_small_blob(digest)
    }

    /// Reads the blob again and compares it with its name. A blob that is a hard link to a file which was later changed
    /// in place shows here.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], or the disk.
    pub fn verify_blob(&self, digest: &Digest) -> Result<(), Error> {
        let path = match self.locate(digest)? {
            Some(blob) => blob.path,
            None => self.blob_path(digest),
        };
        let file = File::open(&path).map_err(Error::read(&path))?;
        let actual = ingest::hash(&file, &path, &mut |_| {})?;
        if actual == *digest {
            return Ok(());
        }
        let expected = *digest;
        Err(Error::DigestMismatch { expected, actual })
    }

    /// Keeps the blobs `digests`, there or to come, from being removed until the pin is dropped. Ingested blobs are kept
    /// for an hour without one, or until a manifest refers to them.
    ///
    /// # Errors
    /// The disk.
    pub fn pin(&self, digests: &[Digest]) -> Result<Pin, Error> {
        let guard = self.shared.locks.lock()?;
        self.shared.locks.pin(&guard, digests.to_vec())
    }

    /// Stores everything from `reader` as a blob; `expected` makes a mismatch an error. Nothing is visible before it is
    /// complete, synced and verified.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], or the disk.
    pub fn ingest(
        &self,
        reader: &mut dyn Read,
        expected: Option<&Digest>,
    ) -> Result<Digest, Error> {
        ingest::from_reader(&self.shared, reader, expected)
    }

    /// Stores the file at `path` as a blob by reflink or hard link where the filesystem allows, else by copy.
    ///
    /// A hard link and the file are one: the file becomes read-only with the blob, because changing it in place would
    /// change the blob ([`Store::verify_blob`] would tell). Replacing or removing the file does the blob no harm.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], or the disk.
    pub fn ingest_file(&self, path: &Path, expected: Option<&Digest>) -> Result<Digest, Error> {
        self.ingest_file_of_kind(path, b"", expected)
    }

    /// As [`Store::ingest_file`], but refuses a file that does not begin with `magic`: for paths that a client names.
    ///
    /// # Errors
    /// [`Error::Read`] for a file of another kind, and as there.
    pub fn ingest_file_of_kind(
        &self,
        path: &Path,
        magic: &[u8],
        expected: Option<&Digest>,
    ) -> Result<Digest, Error> {
        ingest::from_file(&self.shared, path, magic, expected)
    }

    /// Writes the manifest of `name`. All blobs must be there. What it replaces becomes the earlier version of the model
    /// ([`Store::roll_back`]), and the one before that goes, with the layers that only it used.
    ///
    /// # Errors
    /// A missing blob, or the disk.
    pub fn write_manifest(&self, name: &ModelName, manifest_json: &[u8]) -> Result<(), Error> {
        self.write_manifest_from(name, manifest_json, None)
    }

    /// As [`Store::write_manifest`], and notes where the model came from.
    ///
    /// # Errors
    /// As there.
    pub fn write_manifest_from(
        &self,
        name: &ModelName,
        manifest_json: &[u8],
        provenance: Option<&Provenance>,
    ) -> Result<(), Error> {
        let guard = self.shared.locks.lock()?;
        let old = self
            .shared
            .write_manifest(&guard, name, manifest_json, provenance)?;
        self.shared.unpin_ingested(&guard, manifest_json);
        self.shared.remove_replaced(&guard, old);
        Ok(())
    }

    /// Makes the earlier version of `name` the current one, and the other way round: twice is as before. Gives the digest
    /// of the manifest that is current then.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoEarlierVersion`], an earlier version that lacks blobs, or the disk.
    pub fn roll_back(&self, name: &ModelName) -> Result<Digest, Error> {
        let guard = self.shared.locks.lock()?;
        let found = self.shared.resolve(name)?;
        let current = Digest::of(&manifests::read(&found.path)?);
        let earlier = versions::earlier(&self.shared, &found.name, &current)?;
        let version = earlier.first().ok_or_else(|| Error::NoEarlierVersion {
            name: found.name.clone(),
        })?;
        let json = version.json()?;
        let old = self
            .shared
            .write_manifest(&guard, &found.name, &json, None)?;
        self.shared.remove_replaced(&guard, old);
        Ok(version.digest)
    }

    /// Where `name` came from, if that was noted.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn provenance(&self, name: &ModelName) -> Result<Option<Provenance>, Error> {
        let found = self.shared.resolve(name)?;
        let current = Digest::of(&manifests::read(&found.path)?);
        Ok(versions::provenance(&self.shared, &found.name, &current))
    }

    /// Gives `source` a second name.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn copy(&self, source: &ModelName, destination: &ModelName) -> Result<(), Error> {
        let guard = self.shared.locks.lock()?;
        let found = self.shared.resolve(source)?;
        if found.name.is_same_model(destination) {
            return Ok(());
        }
        let json = manifests::read(&found.path)?;
        let provenance = versions::provenance(&self.shared, &found.name, &Digest::of(&json));
        let old = self
            .shared
            .write_manifest(&guard, destination, &json, provenance.as_ref())?;
        self.shared.remove_replaced(&guard, old);
        Ok(())
    }

    /// Removes `name` with its earlier version, and the blobs that no other manifest uses.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn remove(&self, name: &ModelName) -> Result<(), Error> {
        let guard = self.shared.locks.lock()?;
        let found = self.shared.resolve(name)?;
        if found.is_shared {
            return Err(Error::SharedModel {
                name: found.name,
                path: found.path,
            });
        }
        let mut blobs = self.shared.blobs_of(&found);
        manifests::remove(&self.shared.manifests(), &found.path)?;
        match versions::forget(&self.shared, &guard, &found.name) {
            Ok(old) => blobs.extend(old),
            // The model is gone; what is left of it goes with the next garbage.
            Err(error) => tracing::warn!(%error, "cannot remove what a model was before"),
        }
        let mut index = self.shared.index();
        index.retain(|name| *name != found.name);
        index.save(true);
        drop(index);
        prune::remove_unused(&self.shared, &guard, blobs)?;
        Ok(())
    }

    /// Removes what nobody needs and what is older than `limits` say: unreferenced blobs (what creates and pulls that
    /// were given up have left), unfinished downloads, earlier versions of models. With `is_dry`, only finds it.
    ///
    /// # Errors
    /// The disk.
    pub fn collect_garbage(&self, limits: &GcLimits, is_dry: bool) -> Result<Garbage, Error> {
        let guard = self.shared.locks.lock()?;
        prune::collect(&self.shared, &guard, limits, is_dry)
    }

    /// Notes that `name` was used now (index only; never fails the caller).
    pub fn touch(&self, name: &ModelName) {
        let Ok(found) = self.shared.resolve(name) else {
            return;
        };
        let mut index = self.shared.index();
        if self.shared.entry(&mut index, &found).is_ok() {
            let now = SystemTime::now();
            index.touch(&found.name, now);
            index.save(false);
            drop(index);
            self.shared.listing.touch(&found.name, now);
        }
    }
}

impl Shared {
    /// Waits for the right to change the store.
    pub(crate) fn lock(&self) -> Result<Guard<'_>, Error> {
        self.locks.lock()
    }
    pub(crate) fn blobs(&self) -> PathBuf {
        self.locations.hot.join("blobs")
    }
    fn manifests(&self) -> PathBuf {
        self.locations.hot.join("manifests")
    }
    fn references(&self) -> PathBuf {
        self.locations.hot.join(".slm").join("references")
    }
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        match self.locate(digest) {
            Ok(Some(blob)) => blob.path,
            Err(Error::ReferenceLost { path, .. }) => path,
            Ok(None) | Err(_) => self.hot_blob_path(digest),
        }
    }
    /// Removes what there is of the blob beside the file in the hot folder, which is right where they are damaged.
    pub(crate) fn remove_other_copies(&self, digest: &Digest) -> Result<(), Error> {
        let guard = self.lock()?;
        prune::remove_copies(self, &guard, digest)
    }
    /// The length of the blob, if it is there.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        Some(self.locate(digest).ok()??.size)
    }
    /// Keeps an ingested blob until its manifest comes.
    fn pin_fresh(&self, guard: &Guard<'_>, digest: Digest) -> Result<(), Error> {
        self.locks.pin_fresh(guard, digest)
    }
    /// What was kept for a manifest that is there now, or will not come.
    pub(crate) fn unpin(&self, guard: &Guard<'_>, digests: &HashSet<Digest>) -> Result<(), Error> {
        self.locks.unpin_fresh(guard, digests)
    }
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, name: &ModelName) -> Result<Found, Error> {
        if let Some(found) = manifests::resolve(&self.manifests(), name)? {
            return Ok(found);
        }
        for root in &self.locations.shared {
            match manifests::resolve(&root.join("manifests"), name) {
                Ok(Some(found)) => return Ok(found.shared()),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "passing over a shared store"),
            }
        }
        Err(Error::NotFound { name: name.clone() })
    }

    /// The manifests of every location, each name once: the models directory's own come first.
    fn all_manifests(&self) -> Result<Vec<Found>, Error> {
        let mut all = manifests::walk(&self.manifests())?;
        let mut names: HashSet<ModelName> = all.iter().map(|found| found.name.clone()).collect();
        for root in &self.locations.shared {
            let fresh = manifests_of_others(root)
                .into_iter()
                .filter(|found| names.insert(found.name.clone()));
            all.extend(fresh.map(Found::shared));
        }
        Ok(all)
    }

    /// What the models of stores that are only read refer to: a damaged blob of theirs is mended here. A manifest that
    /// cannot be read keeps nothing, for it is somebody else's to mend.
    fn blobs_of_shared_models(&self) -> HashSet<Digest> {
        let mut blobs = HashSet::new();
        for root in &self.locations.shared {
            for found in manifests_of_others(root) {
                blobs.extend(self.blobs_of(&found));
            }
        }
        blobs
    }

    fn read_small_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = match self.locate(digest)? {
            Some(blob) => blob.path,
            None => self.hot_blob_path(digest),
        };
        let file = File::open(&path).map_err(Error::read(&path))?;
        let size = file.metadata().map_err(Error::read(&path))?.len();
        if size > MAX_SMALL_BLOB_BYTES {
            return Err(Error::BlobTooLarge {
                digest: *digest,
                size,
                limit: MAX_SMALL_BLOB_BYTES,
            });
        }
        let mut bytes = Vec::new();
        file.take(MAX_SMALL_BLOB_BYTES)
            .read_to_end(&mut bytes)
            .map_err(Error::read(&path))?;
        Ok(bytes)
    }

    /// The entry of a manifest file: from the index while its files are unchanged, else from the files.
    fn entry(&self, index: &mut Index, found: &Found) -> Result<ModelEntry, Error> {
        let known = index.get(&found.name);
        let row = match known.filter(|row| self.is_current(row, found)) {
            Some(row) => row.clone(),
            None => {
                let last_used = known.and_then(|row| row.last_used);
                let row = self.read_row(found, last_used)?;
                index.put(found.name.clone(), row.clone());
                row
            }
        };
        Ok(ModelEntry {
            name: found.name.clone(),
            digest: row.digest,
            size: row.size,
            modified: found.modified,
            config: row.config,
            last_used: row.last_used,
            place: row
                .blobs
                .first()
                .and_then(|weights| Some(self.locate(weights).ok()??.place)),
        })
    }

    fn is_current(&self, row: &Row, found: &Found) -> bool {
        let config = row.blobs.last();
        row.manifest == found.stamp
            && config.is_some_and(|config| self.stamp(config) == row.config_file)
    }

    fn stamp(&self, digest: &Digest) -> Option<Stamp> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        Some(Stamp::of(&metadata))
    }

    fn read_row(&self, found: &Found, last_used: Option<SystemTime>) -> Result<Row, Error> {
        let json = manifests::read(&found.path)?;
        let manifest = Manifest::parse(&json)?;
        let config_file = self.stamp(&manifest.config.digest);
        let config = self.read_small_blob(&manifest.config.digest).ok();
        let config = config.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(Row {
            manifest: found.stamp,
            config_file,
            digest: Digest::of(&json),
            size: manifest.size(),
            // Layers, then the config.
            blobs: manifest.blobs().map(|blob| blob.digest).collect(),
            config: config.unwrap_or_default(),
            last_used,
        })
    }

    /// The digest of the manifest and what it refers to, if the index knows it.
    fn known_blobs(&self, found: &Found) -> Option<(Digest, Vec<Digest>)> {
        let index = self.index();
        let row = index.get(&found.name)?;
        (row.manifest == found.stamp).then(|| (row.digest, row.blobs.clone()))
    }

    /// What the manifest refers to; nothing if it cannot be understood.
    fn blobs_of(&self, found: &Found) -> Vec<Digest> {
        let manifest = manifests::read(&found.path).and_then(|json| Manifest::parse(&json));
        manifest.map_or_else(
            |_| Vec::new(),
            |manifest| manifest.blobs().map(|blob| blob.digest).collect(),
        )
    }

    /// Removes what a replaced manifest has left. The new one is there, so a failure is no failure of its writing.
    pub(crate) fn remove_replaced(&self, guard: &Guard<'_>, old: Vec<Digest>) {
        if let Err(error) = prune::remove_unused(self, guard, old) {
            tracing::warn!(%error, "cannot remove the layers of the replaced model");
        }
    }

    /// The ingests that came before this manifest have what they waited for. (Copies and pulls have none of their own.)
    fn unpin_ingested(&self, guard: &Guard<'_>, json: &[u8]) {
        let manifest = Manifest::parse(json);
        let unpinned = manifest.and_then(|manifest| {
            let digests: HashSet<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
            self.locks.unpin_fresh(guard, &digests)
        });
        // The model is there; that its blobs stay protected for longer than needed is no failure.
        if let Err(error) = unpinned {
            tracing::debug!(%error, "cannot update the pins");
        }
    }

    /// Writes a manifest; gives the blobs of the versions that it lets go of and that it does not use itself.
    pub(crate) fn write_manifest(
        &self,
        guard: &Guard<'_>,
        name: &ModelName,
        json: &[u8],
        provenance: Option<&Provenance>,
    ) -> Result<Vec<Digest>, Error> {
        let manifest = Manifest::parse(json)?;
        let is_here = |blob: &&Descriptor| self.blob_size(&blob.digest) == Some(blob.size);
        if let Some(missing) = manifest.blobs().find(|blob| !is_here(blob)) {
            return Err(Error::MissingBlob {
                digest: missing.digest,
                size: missing.size,
            });
        }
        let digest = Digest::of(json);
        let folder = self.manifests();
        let replaced = manifests::resolve(&folder, name)?;
        let path = replaced
            .as_ref()
            .map_or_else(|| folder.join(name.relative_path()), |old| old.path.clone());
        let name = replaced.as_ref().map_or(name, |old| &old.name);
        if let Some(replaced) = &replaced {
            self.keep_version(guard, replaced, &digest)?;
        }
        if let Some(provenance) = provenance {
            versions::note(self, guard, name, &digest, provenance)?;
        }
        manifests::write(&folder, &path, json)?;
        let dropped = versions::trim(self, guard, name, &digest, versions::LIFETIME);
        let mut old = dropped.unwrap_or_else(|error| {
            // The model is there; one version too many stays until the next time.
            tracing::warn!(%error, "cannot remove an earlier version");
            Vec::new()
        });
        old.retain(|digest| manifest.blobs().all(|blob| blob.digest != *digest));
        let found = self.resolve(name)?;
        let mut index = self.index();
        let _ = self.entry(&mut index, &found);
        index.save(true);
        Ok(old)
    }
}

impl Shared {
    /// Keeps the manifest `found`, which another is about to replace, unless it is the same or none. Blobs that it lacks
    /// may be on a disk that is away for a while.
    fn keep_version(&self, guard: &Guard<'_>, found: &Found, next: &Digest) -> Result<(), Error> {
        let json = manifests::read(&found.path)?;
        if Digest::of(&json) == *next || Manifest::parse(&json).is_err() {
            return Ok(());
        }
        versions::keep(self, guard, &found.name, &json)
    }
}

/// Makes the folders of a store; gives its locations, the hot one in the one spelling that others may know it by, and the
/// folder for this crate's own files.
fn prepare(locations: Locations) -> Result<(Locations, PathBuf), Error> {
    let root = &locations.hot;
    let own = root.join(".slm");
    let own_folders = [own.join("pins"), own.join("versions")];
    for folder in [root.join("blobs"), root.join("manifests")]
        .into_iter()
        .chain(own_folders)
    {
        match fs::create_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if is_read_only(&error) && root.is_dir() => {}
            Err(error) => return Err(Error::write(&folder)(error)),
        }
    }
    let hot = fs::canonicalize(root).map_err(Error::read(root))?;
    let own = hot.join(".slm");
    Ok((Locations { hot, ..locations }, own))
}

/// The manifests of a store that is only read, as far as they can be seen.
fn manifests_of_others(root: &Path) -> Vec<Found> {
    let passed_over =
        |error: Error| tracing::warn!(%error, "passing over a part of a shared store");
    let walked = manifests::walk_readable(&root.join("manifests"), passed_over);
    walked.unwrap_or_else(|error| {
        tracing::warn!(%error, "passing over a shared store");
        Vec::new()
    })
}

fn is_read_only(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    [NotFound, PermissionDenied, ReadOnlyFilesystem].contains(&error.kind())
}
