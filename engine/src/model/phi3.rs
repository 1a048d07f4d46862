//! `phi3`: Phi-3, Phi-3.5 and Phi-4-mini. Fused tensors, a rotation of a part of each head, and "longrope": divisors of
//! the frequencies of which there are two sets, for short and for long sequences.
//!
//! As the models themselves have it, a sequence is long once it has more positions than the model was first trained for,
//! and then all of it is rotated as such. llama.cpp goes by the context that is set aside instead, however little of it is
//! used; it also leaves out the window of Phi-3-mini-4k.

use super::spec::{DecoderSpec, Hparams, STRETCHED};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, STRETCHED)?;
    spec.extras.fused_gate_up = true;
    hparams.divide_frequencies(&mut spec)?;
    spec.sliding = hparams.window(&spec)?;
    Ok(spec)
}
