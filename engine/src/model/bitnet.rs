//! `bitnet` and `bitnet-b1.58`: ternary weights, and norms ahead of the last projection of attention and feed-forward
//! layer.
//!
//! The two differ in the gate: SiLU in the models of the first name (b1.58-3B), squared ReLU in those of the second
//! (2B-4T). A key that names the activation overrules both, since 2B-4T is found under the first name too.

use super::spec::{DecoderSpec, Gate, Hparams, LINEAR};
use crate::LoadError;
use slm_kernels::RopeStyle;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    gated(hparams, Gate::Silu)
}

pub(super) fn spec_b158(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    gated(hparams, Gate::ReluSquared)
}

fn gated(hparams: &Hparams<'_>, gate: Gate) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, LINEAR)?;
    let key = "hidden_activation";
    spec.gate = match hparams.opt_string(key)? {
        None => gate,
        Some("silu") => Gate::Silu,
        Some("relu2") => Gate::ReluSquared,
        Some(other) => return hparams.refuse(key, other, "supported are: silu, relu2"),
    };
    spec.extras.sub_norms = true;
    Ok(spec)
}
