//! `lfm2`: LFM2 and LFM2.5, dense. Most blocks have a gated short convolution in place of attention: those to which the
//! file gives no key heads. Queries and keys are normed head by head ahead of the rotation.
//!
//! The last norm's tensor is called `token_embd_norm`.

use super::spec::{DecoderSpec, Hparams, LINEAR, Mixer};
use crate::LoadError;
use slm_kernels::RopeStyle;

/// Tokens that a convolution may span.
const MAX_TAPS: usize = 64;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    if hparams.opt_bool("attention.causal")? == Some(false) {
        let problem = "models that see later tokens are not supported in this architecture";
        return hparams.refuse("attention.causal", false, problem);
    }
    let mut spec = hparams.mixed_decoder(RopeStyle::Neox, LINEAR)?;
    let n_taps = hparams.count("shortconv.l_cache", MAX_TAPS)?;
    let blocks = (0..spec.n_layers).map(|il| {
        let mut block = spec.block(il);
        if matches!(block.mixer, Mixer::Attention(shape) if shape.n_kv_heads == 0) {
            block.mixer = Mixer::ShortConv(n_taps);
        }
        block
    });
    spec.blocks = blocks.collect();
    spec.sliding = hparams.window(&spec)?;
    spec.extras.qk_norms = true;
    spec.output_norm = "token_embd_norm";
    Ok(spec)
}
