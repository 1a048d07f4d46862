//! `llama`: Llama 1 to 3.x, SmolLM 1 and 2, Mistral 7B, Mixtral. The shared decoder as it is, RoPE on neighbouring pairs.
//!
//! The converter permutes the rows of Q and K so that rotation works on pairs (2i, 2i+1); Llama 3.1's frequency factors
//! come as the tensor `rope_freqs.weight`. Files of Mistral's models state no window, since their converter leaves it out;
//! one that is stated is kept to.

use super::spec::{DecoderSpec, Hparams, STRETCHED};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Norm, STRETCHED)?;
    hparams.divide_frequencies(&mut spec)?;
    spec.sliding = hparams.window(&spec)?;
    spec.experts = hparams.experts(spec.ffn_size, |ffn_size, _| ffn_size)?;
    Ok(spec)
}
