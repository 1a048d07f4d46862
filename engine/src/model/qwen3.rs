//! `qwen3`: Qwen3, dense. Queries and keys are normed head by head ahead of the rotation, which pairs the halves of a
//! head.
//!
//! The models' converter leaves windows out; one that is stated is kept to.

use super::spec::{DecoderSpec, Hparams, STRETCHED};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, STRETCHED)?;
    hparams.divide_frequencies(&mut spec)?;
    spec.sliding = hparams.window(&spec)?;
    spec.extras.qk_norms = true;
    Ok(spec)
}
