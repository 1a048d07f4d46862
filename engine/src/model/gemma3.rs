//! `gemma3`: the text part of Gemma 3. Five layers that see a window, then one that sees everything, each kind with its
//! own RoPE; norms on both sides of attention and feed-forward layer, and of queries and keys.
//!
//! The norms' weights in a GGUF have the 1 added already. Only the layers that see everything stretch positions. Files
//! do not say how scores are scaled: by the size of a head, except in the model of 62 layers (27B).
//!
//! Files that Ollama's own converter made have other names for the bases of the rotation, or none; they leave out the
//! epsilon of the norms and how the larger models, those for 131072 positions, stretch them; and they list tokens of
//! images that have no row in the embedding matrix.

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
const EPS: f32 = 1e-6;
/// Positions of the models that stretch them, and by how much.
const STRETCHED_CONTEXT: usize = 131_072;
const STRETCH: f32 = 8.0;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = hparams.decoder_with_eps(RopeStyle::Neox, LINEAR, EPS)?;
    spec.embedding_scale = (spec.hidden_size as f32).sqrt();
    if spec.n_layers == N_LAYERS_27B && hparams.opt_scale("attention.scale")?.is_none() {
        spec.attention_scale = spec.scale_by_width();
    }
    spec.attention_softcap = hparams.opt_scale("attn_logit_softcapping")?;
    spec.logit_softcap = hparams.opt_scale("final_logit_softcapping")?;
    spec.rope.theta = either(hparams, ["rope.freq_base", GLOBAL])?.unwrap_or(THETA);
    if is_of_ollama(hparams) {
        spec.spare_tokens = true;
        let is_stated = hparams.opt_scale("rope.scaling.factor")?.is_some();
        if spec.context_length >= STRETCHED_CONTEXT && !is_stated {
            spec.rope.linear_factor = STRETCH;
        }
    }
    spec.sliding = sliding(hparams, &spec)?;
    spec.gate = Gate::GeluTanh;
    // Ollama's files of EmbeddingGemma, see `gemma_embedding`
    spec.is_causal &= hparams.opt_u32("pooling_type")? != Some(MEAN);
    spec.extras.qk_norms = true;
    spec.extras.post_norms = true;
    Ok(spec)
}

/// Ollama's names of the bases.
const GLOBAL: &str = "rope.global.freq_base";
const LOCAL: &str = "rope.local.freq_base";

/// Whether Ollama's converter made the file, by what no other writes or leaves out.
fn is_of_ollama(hparams: &Hparams<'_>) -> bool {
    let marks = [GLOBAL, LOCAL, "mm.tokens_per_image"];
    marks.iter().any(|key| hparams.has(key)) || !hparams.has("attention.layer_norm_rms_epsilon")
}

/// A number above zero under one of two keys.
fn either(hparams: &Hparams<'_>, [first, second]: [&str; 2]) -> Result<Option<f32>, LoadError> {
    Ok(match hparams.opt_positive(first)? {
        Some(value) => Some(value),
        None => hparams.opt_positive(second)?,
    })
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
            theta: either(hparams, ["rope.freq_base_swa", LOCAL])?.unwrap_or(SLIDING_THETA),
            linear_factor: 1.0,
            ..spec.rope.clone()
        },
    }))
}
