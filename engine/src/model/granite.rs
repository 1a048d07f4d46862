//! `granite`: Granite 3 and 4, dense. As `llama`, with factors on embeddings, attention scores and what a block adds, and
//! a divisor of the logits.
//!
//! `rope.scaling.finetuned` is the families' switch for position embeddings: where it is false nothing is rotated.

use super::{
    llama,
    spec::{DecoderSpec, Hparams},
};
use crate::LoadError;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = llama::spec(hparams)?;
    spec.logit_scale = 1.0 / hparams.positive("logit_scale")?;
    let factor = |name| Ok::<_, LoadError>(hparams.opt_scale(name)?.unwrap_or(1.0));
    spec.embedding_scale = factor("embedding_scale")?;
    spec.residual_scale = factor("residual_scale")?;
    if hparams.opt_bool("rope.scaling.finetuned")? == Some(false) {
        spec.rotated = Some(vec![false; spec.n_layers]);
    }
    Ok(spec)
}
