//! `gemma2`: Gemma 2. Layers take turns at seeing a window and seeing everything, with one RoPE for both; norms on both
//! sides of attention and feed-forward layer; soft caps on attention scores and logits.
//!
//! The norms' weights in a GGUF have the 1 added already. What files do not say is as released: the caps, the window, and
//! how scores are scaled: by the size of a head, except in the model of 46 layers (27B).

use super::spec::{DecoderSpec, Gate, Hparams, LINEAR, RopeSpec, SlidingSpec};
use crate::LoadError;
use slm_kernels::RopeStyle;

/// One layer in so many sees everything, where the file does not say.
const FULL_EVERY: usize = 2;
const WINDOW: usize = 4096;
const ATTENTION_SOFTCAP: f32 = 50.0;
const LOGIT_SOFTCAP: f32 = 30.0;
/// Layers of the 27B model.
const N_LAYERS_27B: usize = 46;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, LINEAR)?;
    spec.embedding_scale = (spec.hidden_size as f32).sqrt();
    if spec.n_layers == N_LAYERS_27B && hparams.opt_scale("attention.scale")?.is_none() {
        spec.attention_scale = spec.scale_by_width();
    }
    let cap = |name, default| Ok::<_, LoadError>(hparams.opt_positive(name)?.unwrap_or(default));
    spec.attention_softcap = Some(cap("attn_logit_softcapping", ATTENTION_SOFTCAP)?);
    spec.logit_softcap = Some(cap("final_logit_softcapping", LOGIT_SOFTCAP)?);
    let window = hparams
        .opt_positions("attention.sliding_window")?
        .unwrap_or(WINDOW);
    let pattern = "attention.sliding_window_pattern";
    spec.sliding = Some(SlidingSpec {
        window,
        layers: hparams.sliding_layers(pattern, spec.n_layers, FULL_EVERY)?,
        rope: RopeSpec {
            theta: hparams
                .opt_positive("rope.freq_base_swa")?
                .unwrap_or(spec.rope.theta),
            ..spec.rope.clone()
        },
    });
    spec.gate = Gate::GeluTanh;
    spec.extras.post_norms = true;
    Ok(spec)
}
