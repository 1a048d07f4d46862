//! `qwen35`: Qwen3.5 and 3.6, dense. Three blocks of the gated delta net, then one of attention whose heads are gated,
//! rotated in a part of their dimensions only.
//!
//! Norm weights have the 1 added already. Value heads of the delta net lie in an order in which they repeat the key
//! heads. Positions of text are the same in all sections of the rotation, which makes it an ordinary one.

use super::spec::{DecoderSpec, DeltaNetSpec, Hparams, LINEAR, Mixer};
use crate::LoadError;
use slm_kernels::{DeltaShape, RopeStyle};

/// One block in so many has attention, where the file does not say.
const ATTENTION_EVERY: usize = 4;
/// Tokens that a convolution may span.
const MAX_TAPS: usize = 64;
/// Heads, and dimensions of one.
const MAX_HEADS: usize = 1024;
const MAX_HEAD_DIM: usize = 1024;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.mixed_decoder(RopeStyle::Neox, LINEAR)?;
    let delta_net = Mixer::DeltaNet(delta_net(hparams)?);
    let every = hparams.opt_count("full_attention_interval", MAX_HEADS)?;
    let every = every.unwrap_or(ATTENTION_EVERY);
    let flags = "attention.recurrent_layers";
    let is_recurrent = match hparams.opt_flags(flags, spec.n_layers)? {
        Some(flags) => flags,
        None => (1..=spec.n_layers).map(|n| n % every != 0).collect(),
    };
    let blocks = is_recurrent.iter().enumerate().map(|(il, &is_recurrent)| {
        let mut block = spec.block(il);
        if is_recurrent {
            block.mixer = delta_net;
        }
        block
    });
    spec.blocks = blocks.collect();
    hparams.check_kv_heads(&spec)?;
    spec.ffn_norm = "post_attention_norm";
    spec.extras.qk_norms = true;
    spec.extras.attention_gates = true;
    Ok(spec)
}

fn delta_net(hparams: &Hparams<'_>) -> Result<DeltaNetSpec, LoadError> {
    let n_v_heads = hparams.count("ssm.time_step_rank", MAX_HEADS)?;
    let n_k_heads = hparams.count("ssm.group_count", MAX_HEADS)?;
    if !n_v_heads.is_multiple_of(n_k_heads) {
        let problem = format!("must divide the {n_v_heads} value heads");
        return hparams.refuse("ssm.group_count", n_k_heads, problem);
    }
    let inner_size = hparams.count("ssm.inner_size", n_v_heads * MAX_HEAD_DIM)?;
    if !inner_size.is_multiple_of(n_v_heads) {
        let problem = format!("must be a multiple of the {n_v_heads} value heads");
        return hparams.refuse("ssm.inner_size", inner_size, problem);
    }
    Ok(DeltaNetSpec {
        shape: DeltaShape {
            n_k_heads,
            n_v_heads,
            k_head_dim: hparams.count("ssm.state_size", MAX_HEAD_DIM)?,
            v_head_dim: inner_size / n_v_heads,
        },
        n_taps: hparams.count("ssm.conv_kernel", MAX_TAPS)?,
    })
}
