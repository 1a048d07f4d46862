//! `phi3`: Phi-3, Phi-3.5 and Phi-4-mini. Fused tensors, a rotation of a part of each head, and "longrope": divisors of
//! the frequencies of which there are two sets, for short and for long contexts.
//!
//! Which set is used depends on the context that the model is loaded for, and holds for all positions, as in llama.cpp:
//! keys in the cache could not be rotated anew when a text outgrows the context that the model was first trained for.
//! The window of Phi-3-mini-4k is left alone, also as in llama.cpp.

use super::spec::{DecoderSpec, Hparams};
use crate::LoadError;
use slm_kernels::RopeStyle;

const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, &["none", "linear", "longrope"])?;
    spec.extras.fused_gate_up = true;
    spec.rope.magnitude = hparams
        .opt_positive("rope.scaling.attn_factor")?
        .unwrap_or(1.0);
    if hparams.has_tensor(SHORT) || hparams.has_tensor(LONG) {
        let original = hparams
            .opt_positions("rope.scaling.original_context_length")?
            .unwrap_or(spec.context_length);
        let is_long = hparams.context_in_use(spec.context_length) > original;
        spec.rope.factors = Some(if is_long { LONG } else { SHORT });
    }
    Ok(spec)
}
