//! Reading a bundle: blobs as they come, models at the very end.
//!
//! Each blob is verified before it is visible, as in any ingest; the manifests are written when all is there. Whatever
//! fails before that takes the new blobs away again; after a kill they are garbage that no model refers to.
use super::{
    INDEX_FILE, Index, IndexEntry, LAYOUT_FILE, LAYOUT_VERSION, Layout, MAX_MODELS, REF_NAME,
};
use crate::{
    Digest, Error, Manifest, ModelName, Store,
    error::one_line,
    manifest::MAX_MANIFEST_BYTES,
    remote,
    store::ingest,
    tar::{Entry, Reader, TarError},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read,
};

/// No honest index is longer.
const MAX_INDEX_BYTES: u64 = 4 << 20;
/// Manifests of one bundle, all together.
const MAX_MANIFESTS_BYTES: u64 = 64 << 20;
/// So many missing blobs are named.
const MAX_NAMED: usize = 5;

/// What an import brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The models, each whole.
    pub models: Vec<ModelName>,
    /// Blobs that were not here before.
    pub n_new_blobs: usize,
    /// Their bytes.
    pub n_new_bytes: u64,
}

impl Store {
    /// Stores the models of the bundle that `reader` gives, replacing those of the same names. A bundle of one model may
    /// give it another name. Nothing changes unless all of it is right and whole; what is here already is passed over.
    ///
    /// # Errors
    /// [`Error::Bundle`] and [`Error::BundleIncomplete`], [`Error::DigestMismatch`], [`Error::Source`], or the disk.
    pub fn import(
        &self,
        reader: &mut dyn Read,
        as_name: Option<&ModelName>,
    ) -> Result<Imported, Error> {
        let mut import = Import {
            store: self,
            has_layout: false,
            index: None,
            sizes: HashMap::new(),
            manifests: HashMap::new(),
            wanted: None,
            seen: HashSet::new(),
            kept: Vec::new(),
            new: Vec::new(),
            n_new_bytes: 0,
        };
        let result = import.read(reader).and_then(|()| import.publish(as_name));
        if let Err(error) = import.let_go() {
            tracing::warn!(%error, "cannot remove what an import has left");
        }
        result
    }
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    has_layout: bool,
    index: Option<Index>,
    /// Of the manifests, by the index.
    sizes: HashMap<Digest, u64>,
    /// Manifests that came after the index.
    manifests: HashMap<Digest, Vec<u8>>,
    /// Blobs and sizes, as soon as the index and all of its manifests are known.
    wanted: Option<HashMap<Digest, u64>>,
    /// Every blob that came.
    seen: HashSet<Digest>,
    /// Those that wait for a manifest, old and new.
    kept: Vec<Digest>,
    new: Vec<Digest>,
    n_new_bytes: u64,
}

fn bundle(reason: impl Into<String>) -> Error {
    Error::Bundle {
        reason: reason.into(),
    }
}

fn explain(error: TarError) -> Error {
    match error {
        TarError::Wrong(reason) => bundle(reason),
        TarError::CutOff => bundle("it is cut off"),
        TarError::Read(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            bundle("it is cut off")
        }
        TarError::Read(source) => Error::Source { source },
    }
}

impl Import<'_> {
    fn read(&mut self, reader: &mut dyn Read) -> Result<(), Error> {
        let mut archive = Reader::new(reader);
        while let Some(entry) = archive.next().map_err(explain)? {
            match entry.path.as_str() {
                LAYOUT_FILE => {
                    let json = archive.read_small(MAX_INDEX_BYTES).map_err(explain)?;
                    self.take_layout(&json)?;
                }
                INDEX_FILE => {
                    let json = archive.read_small(MAX_INDEX_BYTES).map_err(explain)?;
                    self.take_index(&json)?;
                }
                path => {
                    // what else an archive may have is none of ours
                    let Some(hex) = path.strip_prefix("blobs/sha256/") else {
                        continue;
                    };
                    let digest = format!("sha256:{hex}").parse().map_err(|_| {
                        bundle(format!("`{}` is no name of a blob", one_line(path)))
                    })?;
                    self.take_blob(digest, &entry, &mut archive)?;
                }
            }
        }
        Ok(())
    }

    fn take_layout(&mut self, json: &[u8]) -> Result<(), Error> {
        let layout: Layout = serde_json::from_slice(json)
            .map_err(|error| bundle(format!("`{LAYOUT_FILE}`: {error}")))?;
        if layout.image_layout_version != LAYOUT_VERSION {
            return Err(bundle(format!(
                "its layout is version {}, not {LAYOUT_VERSION}",
                one_line(&layout.image_layout_version)
            )));
        }
        self.has_layout = true;
        Ok(())
    }

    fn take_index(&mut self, json: &[u8]) -> Result<(), Error> {
        if self.index.is_some() {
            return Err(bundle(format!("it has `{INDEX_FILE}` twice")));
        }
        let index: Index = serde_json::from_slice(json)
            .map_err(|error| bundle(one_line(&format!("`{INDEX_FILE}`: {error}"))))?;
        let sizes = index.manifests.iter().map(|entry| entry.size);
        let n_bytes = sizes.fold(0, u64::saturating_add);
        if index.manifests.is_empty() {
            return Err(bundle("it has no models"));
        }
        if index.manifests.len() > MAX_MODELS {
            return Err(bundle(format!(
                "it has {} models, and at most {MAX_MODELS} are imported at once",
                index.manifests.len()
            )));
        }
        if n_bytes > MAX_MANIFESTS_BYTES {
            return Err(bundle(format!("its manifests have {n_bytes} bytes")));
        }
        for entry in &index.manifests {
            self.sizes.entry(entry.digest).or_insert(entry.size);
        }
        self.index = Some(index);
        self.note_wanted()
    }

    fn take_blob(
        &mut self,
        digest: Digest,
        entry: &Entry,
        archive: &mut Reader<'_>,
    ) -> Result<(), Error> {
        if !self.seen.insert(digest) {
            return Err(bundle(format!("it has the blob {digest} twice")));
        }
        if let Some(size) = self.sizes.get(&digest) {
            check_size(&digest, *size, entry.size)?;
            let json = archive
                .read_small(MAX_MANIFEST_BYTES as u64)
                .map_err(explain)?;
            ingest::check_expected(Digest::of(&json), Some(&digest))?;
            self.manifests.insert(digest, json);
            return self.note_wanted();
        }
        if let Some(wanted) = &self.wanted {
            let Some(size) = wanted.get(&digest) else {
                return Ok(());
            };
            check_size(&digest, *size, entry.size)?;
        }
        let shared = self.store.shared();
        if shared.blob_size(&digest) == Some(entry.size) {
            self.kept.push(digest);
            if ingest::keep_existing(shared, digest, entry.size)? {
                return Ok(());
            }
        }
        let was_here = shared.blob_size(&digest).is_some();
        let ingested = self.store.ingest(archive, Some(&digest));
        ingested.map_err(|error| match error {
            Error::Source { source } => explain(TarError::Read(source)),
            other => other,
        })?;
        self.kept.push(digest);
        if !was_here {
            self.new.push(digest);
            self.n_new_bytes += entry.size;
        }
        Ok(())
    }

    /// With the index and all manifests, it is known what is needed and whether there is room for it.
    fn note_wanted(&mut self) -> Result<(), Error> {
        if self.index.is_none() || self.manifests.len() < self.sizes.len() {
            return Ok(());
        }
        let mut wanted = HashMap::new();
        for json in self.manifests.values() {
            let manifest = Manifest::parse(json)?;
            wanted.extend(manifest.blobs().map(|blob| (blob.digest, blob.size)));
        }
        let shared = self.store.shared();
        let missing: Vec<(Digest, u64)> = wanted
            .iter()
            .map(|(digest, size)| (*digest, *size))
            .filter(|(digest, size)| {
                !self.seen.contains(digest) && shared.blob_size(digest) != Some(*size)
            })
            .collect();
        remote::check_space(shared, &missing)?;
        self.wanted = Some(wanted);
        Ok(())
    }

    /// Writes the manifests, if everything is here.
    fn publish(&mut self, as_name: Option<&ModelName>) -> Result<Imported, Error> {
        let index = self.index.take();
        let index = index.ok_or_else(|| bundle(format!("it has no `{INDEX_FILE}`")))?;
        if !self.has_layout {
            return Err(bundle(format!("it has no `{LAYOUT_FILE}`")));
        }
        if as_name.is_some() && index.manifests.len() > 1 {
            return Err(bundle(format!(
                "it has {} models, and only one can be given another name",
                index.manifests.len()
            )));
        }
        let mut models = BTreeMap::new();
        for entry in &index.manifests {
            let name = match as_name {
                Some(name) => name.clone(),
                None => name_of(entry)?,
            };
            let json = self.manifest_json(entry)?;
            Manifest::parse(&json)?;
            if models.insert(name.clone(), json).is_some() {
                return Err(bundle(format!("it has two models of the name `{name}`")));
            }
        }
        // under one guard nothing that is seen here can be removed before the manifests refer to it
        let shared = self.store.shared();
        let guard = shared.lock()?;
        let mut missing = Vec::new();
        for json in models.values() {
            for blob in Manifest::parse(json)?.blobs() {
                if shared.blob_size(&blob.digest) != Some(blob.size) {
                    missing.push(blob.digest);
                }
            }
        }
        if !missing.is_empty() {
            return Err(incomplete(missing));
        }
        let mut replaced = Vec::new();
        let mut stored = Vec::new();
        let mut stopped = None;
        for (name, json) in &models {
            match shared.write_manifest(&guard, name, json, None) {
                Ok(old) => {
                    replaced.extend(old);
                    stored.push(name.clone());
                }
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        shared.remove_replaced(&guard, replaced);
        match stopped {
            Some(error) if stored.is_empty() => return Err(error),
            Some(error) => {
                return Err(Error::ImportStopped {
                    models: stored,
                    source: Box::new(error),
                });
            }
            None => {}
        }
        Ok(Imported {
            models: models.into_keys().collect(),
            n_new_blobs: self.new.len(),
            n_new_bytes: self.n_new_bytes,
        })
    }

    /// A manifest that came after the index, or one that came before and was taken for any blob.
    fn manifest_json(&self, entry: &IndexEntry) -> Result<Vec<u8>, Error> {
        if let Some(json) = self.manifests.get(&entry.digest) {
            return Ok(json.clone());
        }
        if !self.seen.contains(&entry.digest) {
            return Err(bundle(format!("it has no manifest {}", entry.digest)));
        }
        check_size(
            &entry.digest,
            entry.size,
            self.store.shared().blob_size(&entry.digest).unwrap_or(0),
        )?;
        self.store.read_small_blob(&entry.digest)
    }

    /// What came is kept by a model now, or by nobody.
    fn let_go(&self) -> Result<(), Error> {
        let shared = self.store.shared();
        let guard = shared.lock()?;
        shared.unpin(&guard, &self.kept.iter().copied().collect())?;
        shared.remove_replaced(&guard, self.new.clone());
        Ok(())
    }
}

fn check_size(digest: &Digest, expected: u64, actual: u64) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(bundle(format!(
        "the blob {digest} has {actual} bytes and should have {expected}"
    )))
}

fn name_of(entry: &IndexEntry) -> Result<ModelName, Error> {
    let Some(name) = entry.annotations.get(REF_NAME) else {
        return Err(bundle("a model in it has no name; give it one with `--as`"));
    };
    name.parse().map_err(|_| {
        bundle(format!(
            "`{}` in it is no name of a model; give it another with `--as`",
            one_line(name)
        ))
    })
}

fn incomplete(mut missing: Vec<Digest>) -> Error {
    missing.sort_unstable();
    missing.dedup();
    let named = missing.iter().take(MAX_NAMED).map(Digest::to_string);
    let mut named = named.collect::<Vec<_>>().join(", ");
    if missing.len() > MAX_NAMED {
        named.push_str(&format!(" and {} more", missing.len() - MAX_NAMED));
    }
    Error::BundleIncomplete { missing: named }
}
