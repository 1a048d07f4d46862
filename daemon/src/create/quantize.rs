//! `quantize` of a create: the weights in other types, as a new blob.
//!
//! The new file is hashed and stored as it is made. Whoever stops listening stops the work.

use super::{Layers, status, tell};
use crate::{catalog, details, error::ApiError};
use slm_api::ollama::Progress;
use slm_engine::{
    ModelFiles,
    quantize::{Mix, QuantizeError, Quantized},
};
use slm_registry::{Descriptor, MediaType};
use std::io;

/// What Ollama puts where other lines of progress have a digest: that of the new file is not known yet.
const NO_DIGEST: &str = "0000000000000000000";
/// Lines of progress, at most.
const MAX_LINES: u64 = 100;

/// Puts weights of other types in place of the layers' own. Blocks on the disk, and computes.
pub(super) fn weights(layers: &mut Layers<'_>, mix: Mix) -> Result<(), ApiError> {
    let paths = details::in_order(catalog::weights_paths(layers.store, &layers.layers)?)?;
    if paths.is_empty() {
        return Err(ApiError::bad_request("there are no weights to quantize"));
    }
    let files = ModelFiles::open_parts(&paths)?;
    let gguf = files.gguf()?;
    let from = details::GgufFacts::of_model(&paths)?.file_type;
    let total: u64 = gguf
        .tensors()
        .iter()
        .map(|info| info.size_bytes as u64)
        .sum();
    let line = |completed| Progress {
        digest: Some(NO_DIGEST.to_owned()),
        total: Some(total),
        completed: Some(completed),
        ..status(format!("quantizing {from} model to {mix}"))
    };
    let reports = layers.reports;
    let mut n_told = 0;
    let progress = |n_done: u64| {
        let n_lines = n_done.saturating_mul(MAX_LINES) / total.max(1);
        if n_lines > n_told {
            n_told = n_lines;
            tell(reports, line(n_done))
                .map_err(|_| io::Error::other("nobody listens any longer"))?;
        }
        Ok(())
    };
    let n_threads = slm_kernels::available_threads();
    let mut file = Quantized::new(&gguf, mix, n_threads, progress).map_err(refused)?;
    let digest = layers.store.ingest(&mut file, None)?;
    drop(file);
    let size = layers.store.locate(&digest)?.map_or(0, |blob| blob.size);
    let layer = Descriptor {
        media_type: MediaType::Model,
        digest,
        size,
    };
    layers
        .layers
        .retain(|layer| layer.media_type != MediaType::Model);
    layers.layers.insert(0, layer);
    Ok(())
}

fn refused(error: QuantizeError) -> ApiError {
    ApiError::bad_request(error.to_string())
}
