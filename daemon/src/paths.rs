//! The plain files of a model, for other programs.

use crate::{details, error::ApiError};
use slm_api::store::{ModelFile, PathResponse};
use slm_registry::{Descriptor, MediaType, ModelName, Store};
use std::path::Path;

/// The weights of `name` in order, then what else is large. Blocks on the disk.
///
/// # Errors
/// No such model, a file that is missing, or one of another program that changed.
pub(crate) fn of_model(store: &Store, name: &ModelName) -> Result<PathResponse, ApiError> {
    let entry = store.find(name)?;
    let manifest = store.manifest(&entry.name)?;
    let mut files = Vec::new();
    for kind in [MediaType::Model, MediaType::Projector, MediaType::Adapter] {
        let layers = manifest.layers.iter();
        for layer in layers.filter(|layer| layer.media_type == kind) {
            files.push(file(store, layer)?);
        }
    }
    // a manifest of somebody else may have the parts of a model in any order
    let is_weights = |file: &&ModelFile| file.kind == word(&MediaType::Model);
    if files.iter().filter(is_weights).count() > 1 {
        files.sort_by_key(|file| {
            let part = details::part(Path::new(&file.path)).ok().flatten();
            (file.kind != word(&MediaType::Model), part)
        });
    }
    Ok(PathResponse {
        model: entry.name.to_string(),
        files,
    })
}

fn file(store: &Store, layer: &Descriptor) -> Result<ModelFile, ApiError> {
    let blob = store.locate(&layer.digest)?;
    let blob = blob.ok_or(slm_registry::Error::MissingBlob {
        digest: layer.digest,
        size: layer.size,
    })?;
    let path = std::path::absolute(&blob.path).unwrap_or(blob.path);
    Ok(ModelFile {
        kind: word(&layer.media_type).to_owned(),
        digest: layer.digest.to_string(),
        size: blob.size,
        path: path.display().to_string(),
        location: blob.place.to_string(),
    })
}

fn word(kind: &MediaType) -> &'static str {
    match kind {
        MediaType::Adapter => "adapter",
        MediaType::Projector => "projector",
        _ => "model",
    }
}
