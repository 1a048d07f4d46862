//! `gemma3`: the text part of Gemma 3. Five layers that see a window, then one that sees everything, each kind with its
//! own RoPE; norms on both sides of attention and feed-forward layer, and of queries and keys.
//!
//! The norms' weights in a GGUF have the 1 added already. Only the layers that see everything stretch positions. Files
//! do not say how scores are scaled: by the size of a head, except in the model of 62 layers (27B).

use super::spec::{DecoderSpec, Gate, Hparams, LINEAR, RopeSpec, SlidingSpec};
use crate::LoadError;
use slm_kernels::RopeStyle;

/// One layer in so many sees everything, where the file does not say.
const FULL_EVERY: usize = 6;
/// Layers of the 27B model.
const N_LAYERS_27B: usize = 62;
/// Pooling by the mean, which no Gemma that writes text has.
const MEAN: u32 = 1;
const THETA: f32 = 1_000_000.0;
const SLIDING_THETA: f32 = 10_000.0;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder(RopeStyle::Neox, LINEAR)?;
    spec.embedding_scale = (spec.hidden_size as f32).sqrt();
    if spec.n_layers == N_LAYERS_27B && hparams.opt_scale("attention.scale")?.is_none() {
        spec.attention_scale = spec.scale_by_width();
    }
    spec.attention_softcap = hparams.opt_scale("attn_logit_softcapping")?;
    spec.logit_softcap = hparams.opt_scale("final_logit_softcapping")?;
    spec.rope.theta = hparams.opt_positive("rope.freq_base")?.unwrap_or(THETA);
    spec.sliding = sliding(hparams, &spec)?;
    spec.gate = Gate::GeluTanh;
    // Ollama's files of EmbeddingGemma, see `gemma_embedding`
    spec.is_causal &= hparams.opt_u32("pooling_type")? != Some(MEAN);
    spec.extras.qk_norms = true;
    spec.extras.post_norms = true;
    Ok(spec)
}

fn sliding(hparams: &Hparams<'_>, spec: &DecoderSpec) -> Result<Option<SlidingSpec>, LoadError> {
    let Some(window) = hparams
        .opt_u32("attention.sliding_window")?
        .filter(|&n| n > 0)
    else {
        return Ok(None);
    };
    let pattern = "attention.sliding_window_pattern";
    Ok(Some(SlidingSpec {
        window: window as usize,
        layers: hparams.sliding_layers(pattern, spec.n_layers, FULL_EVERY)?,
        rope: RopeSpec {
            theta: hparams
                .opt_positive("rope.freq_base_swa")?
                .unwrap_or(SLIDING_THETA),
            linear_factor: 1.0,
            ..spec.rope.clone()
        },
    }))
}
