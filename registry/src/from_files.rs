//! Models made of bare GGUF files: the files are the weights, and the config says what can be read out of them.
use crate::{
    Descriptor, Digest, Error, Manifest, MediaType, ModelName, Provenance, Store, modelfile::parts,
    remote::MakeConfig,
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// How every GGUF file begins.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

/// Writes the model `name`, which consists of `layers`, blobs that are here: among them the weights, one file or the parts
/// of one model in their order. `source` goes into the config: where they came from; what else is known
/// of that is noted beside it.
///
/// # Errors
/// [`Error::NotGguf`] when `make_config` finds them unusable, or the disk.
pub(crate) fn write(
    store: &Store,
    name: &ModelName,
    layers: Vec<Descriptor>,
    make_config: Option<&MakeConfig>,
    (source, noted): (Option<Value>, Option<&Provenance>),
) -> Result<(), Error> {
    let config = match make_config {
        Some(make_config) => {
            let is_weights = |layer: &&Descriptor| layer.media_type == MediaType::Model;
            let weights = layers.iter().filter(is_weights);
            let paths: Vec<PathBuf> = weights
                .map(|layer| store.blob_path(&layer.digest))
                .collect();
            let made = make_config(&paths);
            made.map_err(|reason| Error::NotGguf {
                what: name.to_string(),
                reason,
            })?
        }
        None => br#"{"model_format":"gguf"}"#.to_vec(),
    };
    let mut config: Map<String, Value> =
        serde_json::from_slice(&config).map_err(|error| Error::Manifest {
            reason: format!("the config that was made for it is none: {error}"),
        })?;
    if let Some(source) = source {
        config.insert("source".into(), source);
    }
    let json = serde_json::to_vec(&config).expect("JSON that was read always serialises");
    let digest = store.ingest(&mut &json[..], None)?;
    let manifest = Manifest {
        config: Descriptor {
            media_type: MediaType::Config,
            digest,
            size: json.len() as u64,
        },
        layers,
    };
    store.write_manifest_from(name, &manifest.to_json(), noted)
}

/// The layer of weights with that digest and size.
pub(crate) fn weights(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: MediaType::Model,
        digest,
        size,
    }
}

/// All files of the model that the one at `path` belongs to, in order: itself, unless its name says that it is a part.
pub(crate) fn all_parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(parts::all_of);
    parts.map_or_else(
        || vec![path.to_owned()],
        |names| names.map(|name| path.with_file_name(name)).collect(),
    )
}
