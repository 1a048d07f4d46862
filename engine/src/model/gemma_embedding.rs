//! `gemma-embedding`: EmbeddingGemma. The blocks of [`super::gemma3`], but every token sees its whole text, and half a
//! window to either side in the layers that have one.
//!
//! Ollama's own files of it say `gemma3` and how vectors are pooled, which no Gemma that writes text says.

use super::{
    gemma3,
    spec::{DecoderSpec, Hparams},
};
use crate::LoadError;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gemma3::spec(hparams)?;
    spec.is_causal = false;
    Ok(spec)
}
