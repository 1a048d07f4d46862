//! The index: what `list` shows, remembered, so that unchanged manifests need not be read again.
//!
//! It is a view of the files. A [`Row`] counts only while the stamps of its manifest and config file are those of the
//! disk; the one thing that the files do not know is when a model was last used, and losing that is no harm. All rows
//! live in memory; a [`Backend`] keeps them over restarts. Whatever happens to the backend (missing, cut, flipped bits,
//! panics), the answers stay right: a damaged one is moved aside and rebuilt, and when none can be made, memory serves.
mod sled_backend;
#[cfg(test)]
mod tests;

use crate::{Digest, ModelName};
use serde::{Deserialize, Serialize};
use sled_backend::SledBackend;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{debug, warn};

/// Changes when rows change their meaning; an index with another is rebuilt.
const SCHEMA_VERSION: u32 = 1;
/// An index that takes more room on disk is rebuilt: rows are small, and sled keeps old versions of them.
const MAX_DISK_BYTES: u64 = 64 << 20;
/// After so many changes the size is looked at again.
const CHANGES_PER_SIZE_CHECK: u32 = 256;
/// Sorts before every name.
const META_KEY: &[u8] = b"\0meta";

/// Which version of a file something was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    len: u64,
    modified_ns: u64,
    changed_ns: i64,
    inode: u64,
}

impl Stamp {
    /// The stamp of the file with that metadata.
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        #[cfg(unix)]
        let (changed_ns, inode) = {
            use std::os::unix::fs::MetadataExt;
            let changed_ns = metadata.ctime().wrapping_mul(1_000_000_000);
            (
                changed_ns.wrapping_add(metadata.ctime_nsec()),
                metadata.ino(),
            )
        };
        #[cfg(not(unix))]
        let (changed_ns, inode) = (0, 0);
        Self {
            len: metadata.len(),
            modified_ns: since_epoch.map_or(0, |time| time.as_nanos() as u64),
            changed_ns,
            inode,
        }
    }
}

/// What is known of one model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Version of the manifest.
    pub(crate) manifest: Stamp,
    /// Version of the config blob, when it is there.
    pub(crate) config_file: Option<Stamp>,
    /// SHA-256 of the manifest.
    pub(crate) digest: Digest,
    /// Config and layers in bytes.
    pub(crate) size: u64,
    /// Everything that the manifest refers to.
    pub(crate) blobs: Vec<Digest>,
    /// The config blob.
    pub(crate) config: serde_json::Value,
    /// When the model was last used.
    pub(crate) last_used: Option<SystemTime>,
}

/// A key and its value, or `None` where the key goes away.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its value as the backend keeps them.
type KeyValue = (Vec<u8>, Vec<u8>);

/// What keeps rows over restarts. Each method may fail or panic; the index then goes on without it.
trait Backend: Send {
    /// All keys and values.
    fn rows(&self) -> Result<Vec<KeyValue>, String>;
    /// Makes all changes or none; with `durable`, before it returns.
    fn apply(&self, changes: Vec<Change>, durable: bool) -> Result<(), String>;
    /// Bytes on disk.
    fn size_bytes(&self) -> Result<u64, String>;
}

/// Written with every batch: tells an index of another version, or one that lost rows.
#[derive(Serialize, Deserialize)]
struct Meta {
    schema_version: u32,
    generation: u64,
    n_rows: usize,
}

/// All rows, and their backend if there is one.
pub(crate) struct Index {
    rows: HashMap<ModelName, Row>,
    changed: Vec<ModelName>,
    generation: u64,
    n_changes: u32,
    backend: Option<Box<dyn Backend>>,
    /// Where the backend keeps its files; `None` for an index in memory only.
    folder: Option<PathBuf>,
}

impl Index {
    /// An index that is gone with the process.
    pub(crate) fn in_memory() -> Self {
        Self {
            rows: HashMap::new(),
            changed: Vec::new(),
            generation: 0,
            n_changes: 0,
            backend: None,
            folder: None,
        }
    }

    /// The index in `folder`, which no other process uses. Never fails: a damaged one is moved aside, and where none
    /// can be made the index is in memory.
    pub(crate) fn open(folder: &Path) -> Self {
        let mut index = Self::in_memory();
        index.folder = Some(folder.to_owned());
        match SledBackend::open(folder).and_then(|backend| index.load(Box::new(backend))) {
            Ok(()) => index.limit_size(),
            Err(reason) => {
                warn!(folder = %folder.display(), reason, "index damaged: rebuilding it");
                index.rows.clear();
                index.backend = None;
                move_aside(folder);
                index.start_afresh();
            }
        }
        index
    }

    fn load(&mut self, backend: Box<dyn Backend>) -> Result<(), String> {
        let mut meta = None;
        for (key, value) in backend.rows()? {
            if key == META_KEY {
                let parsed = serde_json::from_slice::<Meta>(&value);
                meta = Some(parsed.map_err(|error| error.to_string())?);
                continue;
            }
            let name = std::str::from_utf8(&key)
                .ok()
                .and_then(|name| name.parse().ok());
            let name = name.ok_or("a row has no valid name")?;
            self.rows.insert(name, decode(&value)?);
        }
        let meta = match meta {
            None if self.rows.is_empty() => Meta {
                schema_version: SCHEMA_VERSION,
                generation: 0,
                n_rows: 0,
            },
            None => return Err("it has rows and no marker".to_owned()),
            Some(meta) => meta,
        };
        if meta.schema_version != SCHEMA_VERSION {
            return Err(format!("its version is {}", meta.schema_version));
        }
        if meta.n_rows != self.rows.len() {
            let n_rows = self.rows.len();
            return Err(format!("it has {n_rows} rows and should {}", meta.n_rows));
        }
        self.generation = meta.generation;
        self.backend = Some(backend);
        Ok(())
    }

    /// The row of `name`, exactly as spelled.
    pub(crate) fn get(&self, name: &ModelName) -> Option<&Row> {
        self.rows.get(name)
    }

    /// Remembers `row`; [`Index::save`] makes it last.
    pub(crate) fn put(&mut self, name: ModelName, row: Row) {
        self.changed.push(name.clone());
        self.rows.insert(name, row);
    }

    /// Notes a use of `name`, if it has a row.
    pub(crate) fn touch(&mut self, name: &ModelName, now: SystemTime) {
        if let Some(row) = self.rows.get_mut(name) {
            row.last_used = Some(now);
            self.changed.push(name.clone());
        }
    }

    /// Forgets every row that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ModelName) -> bool) {
        let changed = &mut self.changed;
        self.rows.retain(|name, _| {
            let kept = keep(name);
            if !kept {
                changed.push(name.clone());
            }
            kept
        });
    }

    /// Hands what changed to the backend; with `durable`, to the disk. A failure costs the backend, not the caller.
    pub(crate) fn save(&mut self, durable: bool) {
        if self.changed.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        self.n_changes += 1;
        self.write(changed, durable);
        if self.n_changes.is_multiple_of(CHANGES_PER_SIZE_CHECK) {
            self.limit_size();
        }
    }

    fn write(&mut self, names: Vec<ModelName>, durable: bool) {
        let Some(backend) = &self.backend else { return };
        self.generation += 1;
        let mut changes: Vec<Change> = names
            .into_iter()
            .map(|name| (name.full().into_bytes(), self.rows.get(&name).map(encode)))
            .collect();
        let meta = Meta {
            schema_version: SCHEMA_VERSION,
            generation: self.generation,
            n_rows: self.rows.len(),
        };
        let meta = serde_json::to_vec(&meta).expect("numbers always serialise");
        changes.push((META_KEY.to_vec(), Some(meta)));
        if let Err(reason) = backend.apply(changes, durable) {
            // The files are the truth; the next start finds what is missing.
            warn!(
                reason,
                "cannot write the index: going on without it until the next start"
            );
            self.backend = None;
            self.folder = None;
        }
    }

    /// Writes the index anew when its files have grown too large.
    fn limit_size(&mut self) {
        let Some(backend) = &self.backend else { return };
        match backend.size_bytes() {
            Ok(n_bytes) if n_bytes <= MAX_DISK_BYTES => {}
            Ok(n_bytes) => {
                debug!(n_bytes, "index too large: rebuilding it");
                self.backend = None;
                self.start_afresh();
            }
            Err(reason) => debug!(reason, "cannot measure the index"),
        }
    }

    /// An empty backend in the folder, filled with the rows of the memory.
    fn start_afresh(&mut self) {
        let Some(folder) = &self.folder else { return };
        let _ = fs::remove_dir_all(folder);
        match SledBackend::open(folder) {
            Ok(backend) => {
                self.backend = Some(Box::new(backend));
                let names = self.rows.keys().cloned().collect();
                self.write(names, true);
            }
            Err(reason) => warn!(reason, "cannot make an index: going on without one"),
        }
    }
}

/// Keeps a damaged index for whoever wants to look at it; only the latest, so that it cannot grow.
fn move_aside(folder: &Path) {
    let bad = folder.with_extension("bad");
    let _ = fs::remove_dir_all(&bad);
    let _ = fs::remove_file(&bad);
    if fs::rename(folder, &bad).is_err() {
        let _ = fs::remove_dir_all(folder);
        let _ = fs::remove_file(folder);
    }
}

/// A row as bytes: a checksum, then JSON.
fn encode(row: &Row) -> Vec<u8> {
    let json = serde_json::to_vec(row).expect("rows hold nothing that JSON cannot");
    let mut bytes = checksum(&json).to_vec();
    bytes.extend(json);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Row, String> {
    let (sum, json) = bytes.split_first_chunk::<8>().ok_or("a row is cut off")?;
    if *sum != checksum(json) {
        return Err("a row has a wrong checksum".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The first bytes of the SHA-256, against flipped bits and not against malice.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let digest = Digest::of(bytes);
    *digest.bytes().first_chunk().expect("a digest has 32 bytes")
}
