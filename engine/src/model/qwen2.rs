//! `qwen2`: Qwen2 and Qwen2.5, dense. Queries, keys and values have biases; the rotation pairs the halves of a head.
//!
//! The models' converter leaves windows out; one that is stated is kept to.

use super::spec::{DecoderSpec, Hparams, STRETCHED};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, STRETCHED)?;
    hparams.divide_frequencies(&mut spec)?;
    spec.sliding = hparams.window(&spec)?;
    spec.extras.qkv_biases = true;
    Ok(spec)
}
