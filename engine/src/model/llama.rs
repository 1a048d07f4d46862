//! `llama`: Llama 1 to 3.x, SmolLM 1 and 2, Mistral 7B. The shared decoder as it is, RoPE on neighbouring pairs.
//!
//! The converter permutes the rows of Q and K so that rotation works on pairs (2i, 2i+1); Llama 3.1's frequency factors
//! come as the tensor `rope_freqs.weight`.

use super::spec::{DecoderSpec, Hparams, LINEAR};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    if let Some(n) = hparams.opt_u32("expert_count")?.filter(|&n| n > 0) {
        return hparams.refuse(
            "expert_count",
            n,
            "mixtures of experts are not supported in this architecture",
        );
    }
    let mut spec = hparams.decoder(RopeStyle::Norm, LINEAR)?;
    let factors = "rope_freqs.weight";
    spec.rope.factors = hparams.has_tensor(factors).then_some(factors);
    Ok(spec)
}
