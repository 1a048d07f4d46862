//! The facade over blobs, manifests and index.
use crate::{Digest, Error, Manifest, MediaType, ModelName};
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::SystemTime,
};

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
}

/// A models directory. Clones share it. All methods block on the disk: call them on a blocking thread.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens or creates the store under `root` for this process alone to keep its index (the daemon).
    /// A missing, stale or damaged index is rebuilt from the files.
    ///
    /// # Errors
    /// When the directory cannot be created or another process holds the index.
    pub fn open(_root: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// Opens the store without an index, for one-off commands while no daemon runs.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn open_without_index(_root: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// The models directory.
    pub fn root(&self) -> &Path {
        todo!()
    }
    /// All models, newest first.
    ///
    /// # Errors
    /// When the manifests cannot be listed.
    pub fn list(&self) -> Result<Vec<ModelEntry>, Error> {
        todo!()
    }
    /// The entry of `name`, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, _name: &ModelName) -> Result<ModelEntry, Error> {
        todo!()
    }
    /// The manifest of `name`, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a manifest that does not parse.
    pub fn manifest(&self, _name: &ModelName) -> Result<Manifest, Error> {
        todo!()
    }
    /// Where the blob is or would be.
    pub fn blob_path(&self, _digest: &Digest) -> PathBuf {
        todo!()
    }
    /// Whether the blob is there, complete.
    pub fn has_blob(&self, _digest: &Digest) -> bool {
        todo!()
    }
    /// Reads a small blob (template, params, licence, config) into memory; refuses more than 16 MiB.
    ///
    /// # Errors
    /// When it is missing, too large or unreadable.
    pub fn read_small_blob(&self, _digest: &Digest) -> Result<Vec<u8>, Error> {
        todo!()
    }
    /// Stores everything from `reader` as a blob; `expected` makes a mismatch an error. Nothing is visible before it is
    /// complete, synced and verified.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], or the disk.
    pub fn ingest(
        &self,
        _reader: &mut dyn Read,
        _expected: Option<&Digest>,
    ) -> Result<Digest, Error> {
        todo!()
    }
    /// Stores the file at `path` as a blob by reflink or hard link where the filesystem allows, else by copy.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], or the disk.
    pub fn ingest_file(&self, _path: &Path, _expected: Option<&Digest>) -> Result<Digest, Error> {
        todo!()
    }
    /// Writes the manifest of `name`, replacing an older one. All blobs must be there. Layers that only the older
    /// manifest used are removed.
    ///
    /// # Errors
    /// A missing blob, or the disk.
    pub fn write_manifest(&self, _name: &ModelName, _manifest_json: &[u8]) -> Result<(), Error> {
        todo!()
    }
    /// Gives `source` a second name.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn copy(&self, _source: &ModelName, _destination: &ModelName) -> Result<(), Error> {
        todo!()
    }
    /// Removes `name` and the blobs that no other manifest uses.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the disk.
    pub fn remove(&self, _name: &ModelName) -> Result<(), Error> {
        todo!()
    }
    /// Notes that `name` was used now (index only; never fails the caller).
    pub fn touch(&self, _name: &ModelName) {
        let _ = MediaType::Config;
        todo!()
    }
}
