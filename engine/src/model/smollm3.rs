//! `smollm3`: as `llama`, but every fourth layer rotates nothing and so knows no positions ("NoPE", arXiv 2501.18795).
//!
//! Converted files do not say which layers; a list of flags (`attention.rope_pattern`) overrules the rule.

use super::{
    llama,
    spec::{DecoderSpec, Hparams, all_but_every},
};
use crate::LoadError;

/// The last layer in so many is not rotated, where the file does not say.
const UNROTATED_EVERY: usize = 4;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = llama::spec(hparams)?;
    let rotated = match hparams.opt_flags("attention.rope_pattern", spec.n_layers)? {
        Some(flags) => flags,
        None => all_but_every(UNROTATED_EVERY, spec.n_layers),
    };
    spec.rotated = Some(rotated);
    Ok(spec)
}
