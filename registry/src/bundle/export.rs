//! Writing a bundle: what goes in is decided, pinned and measured before the first byte.
use super::{
    INDEX_FILE, INDEX_TYPE, Index, IndexEntry, LAYOUT_FILE, LAYOUT_VERSION, Layout, MAX_MODELS,
    REF_NAME, blob_path,
};
use crate::{
    Digest, Error, Manifest, ModelName, Pin, Store,
    digest::Hasher,
    manifest::{OCI_MANIFEST, stated_media_type},
    store::ingest,
    tar,
};
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::Write,
};

/// A bundle that is about to be written. Its blobs stay in the store while it lives.
#[derive(Debug)]
pub struct Export {
    store: Store,
    /// Path and contents of the files that say what the bundle is.
    small: Vec<(String, Vec<u8>)>,
    blobs: Vec<(Digest, u64)>,
    n_bytes: u64,
    _pin: Pin,
}

impl Store {
    /// Prepares a bundle of `names`, without the blobs that the other side has. The order of the names does not matter.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooManyModels`], a model with a missing blob, or the disk.
    pub fn plan_export(
        &self,
        names: &[ModelName],
        without: &HashSet<Digest>,
    ) -> Result<Export, Error> {
        let mut models = BTreeMap::new();
        for name in names {
            // as it is spelled here, whatever the case it was asked for in
            let entry = self.find(name)?;
            models.insert(entry.name.to_string(), self.manifest_json(&entry.name)?);
        }
        if models.len() > MAX_MODELS {
            return Err(Error::TooManyModels {
                n_models: models.len(),
                limit: MAX_MODELS,
            });
        }
        let mut sizes = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        let mut index = Index {
            schema_version: 2,
            media_type: Some(INDEX_TYPE.to_owned()),
            manifests: Vec::new(),
        };
        for (name, json) in models {
            let manifest = Manifest::parse(&json)?;
            sizes.extend(manifest.blobs().map(|blob| (blob.digest, blob.size)));
            let digest = Digest::of(&json);
            index.manifests.push(IndexEntry {
                media_type: stated_media_type(&json).unwrap_or_else(|| OCI_MANIFEST.to_owned()),
                digest,
                size: json.len() as u64,
                annotations: BTreeMap::from([(REF_NAME.to_owned(), name)]),
            });
            manifests.insert(digest, json);
        }
        let all: Vec<Digest> = sizes.keys().copied().collect();
        let pin = self.pin(&all)?;
        sizes.retain(|digest, _| !without.contains(digest));
        for (&digest, &size) in &sizes {
            if self.locate(&digest)?.is_none_or(|blob| blob.size != size) {
                return Err(Error::MissingBlob { digest, size });
            }
        }
        let layout = Layout {
            image_layout_version: LAYOUT_VERSION.to_owned(),
        };
        let mut small = vec![
            (LAYOUT_FILE.to_owned(), to_json(&layout)),
            (INDEX_FILE.to_owned(), to_json(&index)),
        ];
        let manifests = manifests.into_iter();
        small.extend(manifests.map(|(digest, json)| (blob_path(&digest), json)));
        let blobs: Vec<(Digest, u64)> = sizes.into_iter().collect();
        let lengths = small.iter().map(|(_, bytes)| bytes.len() as u64);
        let lengths = lengths.chain(blobs.iter().map(|(_, size)| *size));
        let n_bytes: u64 = lengths
            .map(|size| tar::BLOCK_BYTES as u64 + size + tar::padding(size))
            .sum();
        Ok(Export {
            store: self.clone(),
            small,
            blobs,
            n_bytes: n_bytes + tar::END.len() as u64,
            _pin: pin,
        })
    }
}

impl Export {
    /// How many bytes [`Export::write`] writes.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Writes the bundle. Each blob is hashed on the way: a damaged one ends it.
    ///
    /// # Errors
    /// [`Error::BundleWrite`], [`Error::DigestMismatch`], or a blob that cannot be read.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let fail = |source| Error::BundleWrite { source };
        for (path, bytes) in &self.small {
            put(out, path, bytes.len() as u64, |out| {
                out.write_all(bytes).map_err(fail)
            })?;
        }
        for (digest, size) in &self.blobs {
            put(out, &blob_path(digest), *size, |out| {
                self.write_blob(out, digest, *size)
            })?;
        }
        out.write_all(&tar::END)
            .and_then(|()| out.flush())
            .map_err(fail)
    }

    fn write_blob(&self, out: &mut dyn Write, digest: &Digest, size: u64) -> Result<(), Error> {
        let blob = self.store.locate(digest)?;
        let blob = blob.filter(|blob| blob.size == size);
        let path = blob
            .ok_or(Error::MissingBlob {
                digest: *digest,
                size,
            })?
            .path;
        let mut file = File::open(&path).map_err(Error::read(&path))?;
        let mut hasher = Hasher::default();
        let mut n_bytes = 0;
        ingest::for_each_chunk(&mut file, |chunk| {
            hasher.update(chunk);
            n_bytes += chunk.len() as u64;
            if n_bytes > size {
                // it grew since it was measured; what the header says must hold
                return Ok(());
            }
            out.write_all(chunk)
                .map_err(|source| Error::BundleWrite { source })
        })?;
        ingest::check_expected(hasher.digest(), Some(digest))
    }
}

/// Writes a file of the archive.
fn put(
    out: &mut dyn Write,
    path: &str,
    size: u64,
    contents: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let fail = |source| Error::BundleWrite { source };
    out.write_all(&tar::header(path, size)).map_err(fail)?;
    contents(out)?;
    let padding = [0; tar::BLOCK_BYTES];
    out.write_all(&padding[..tar::padding(size) as usize])
        .map_err(fail)
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists always serialise")
}
