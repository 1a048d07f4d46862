//! `gemma4`: the text part of Gemma 4, dense (E2B, E4B, 12B, 31B). Layers that see a window and layers that see
//! everything, each kind with its own heads and RoPE; the last layers may read the keys and values of earlier ones; each
//! block may have embeddings of its own.
//!
//! Unlike in earlier Gemmas norm weights are used as they are, scores are not scaled, and values are normed too. Where a
//! layer has no value projection, what its keys' projection gives are the values. Layers that see everything rotate a
//! part of their dimensions: the divisors of the others make their angles nothing. Where a file has no cap for the logits
//! there is none, as in transformers (llama.cpp takes 30 then).

use super::spec::{
    AttentionShape, DecoderSpec, Gate, Hparams, LINEAR, Mixer, RopeSpec, SlidingSpec,
};
use crate::LoadError;
use slm_kernels::{KvLayer, RopeStyle};

const SLIDING_THETA: f32 = 10_000.0;
const FACTORS: &str = "rope_freqs.weight";
const MAX_WIDTH: usize = 1 << 16;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    if let Some(n) = hparams.opt_u32("expert_count")?.filter(|&n| n > 0) {
        let problem = "mixtures of experts are not supported in this architecture";
        return hparams.refuse("expert_count", n, problem);
    }
    let mut spec = hparams.decoder(RopeStyle::Neox, LINEAR)?;
    spec.embedding_scale = (spec.hidden_size as f32).sqrt();
    spec.attention_scale = hparams.opt_scale("attention.scale")?.unwrap_or(1.0);
    spec.gate = Gate::GeluTanh;
    spec.logit_softcap = hparams.opt_scale("final_logit_softcapping")?;
    let width = "embedding_length_per_layer_input";
    if hparams.opt_u32(width)?.is_some_and(|n| n > 0) {
        spec.per_layer_embedding = hparams.opt_count(width, MAX_WIDTH)?;
    }
    let sliding = sliding(hparams, &spec)?;
    if sliding.layers.iter().any(|slides| !slides) {
        spec.rope.factors = Some(FACTORS);
    }
    let own = own_layers(hparams, spec.n_layers)?;
    let [head_dim, v_head_dim] = sliding_head_dims(hparams, &spec, sliding.rope.n_rot)?;
    let blocks = (0..spec.n_layers).map(|il| {
        let mut block = spec.block(il);
        let Mixer::Attention(heads) = &mut block.mixer else {
            return Ok(block);
        };
        if sliding.layers[il] {
            (heads.head_dim, heads.v_head_dim) = (head_dim, v_head_dim);
        }
        if il >= own {
            let is_alike = |&source: &usize| sliding.layers[source] == sliding.layers[il];
            heads.kv_of = (0..own).rev().find(is_alike);
            if heads.kv_of.is_none() {
                let problem =
                    format!("leaves layer {il} no earlier layer of its kind to share with");
                return hparams.refuse(SHARED, spec.n_layers - own, problem);
            }
        }
        Ok(block)
    });
    let mut blocks = blocks.collect::<Result<Vec<_>, LoadError>>()?;
    for il in own..spec.n_layers {
        // heads of keys are those of the layer that has them
        if let Mixer::Attention(AttentionShape {
            kv_of: Some(source),
            ..
        }) = blocks[il].mixer
            && let Mixer::Attention(of) = blocks[source].mixer
            && let Mixer::Attention(heads) = &mut blocks[il].mixer
        {
            heads.n_kv_heads = of.n_kv_heads;
            if !heads.n_heads.is_multiple_of(of.n_kv_heads) {
                let problem = format!(
                    "must divide the {} query heads of layer {il}",
                    heads.n_heads
                );
                return hparams.refuse("attention.head_count_kv", of.n_kv_heads, problem);
            }
        }
    }
    spec.blocks = blocks;
    spec.sliding = Some(sliding);
    spec.extras.qk_norms = true;
    spec.extras.post_norms = true;
    spec.extras.value_norms = true;
    Ok(spec)
}

const SHARED: &str = "attention.shared_kv_layers";

/// The number of layers, from the first on, that have keys and values of their own.
fn own_layers(hparams: &Hparams<'_>, n_layers: usize) -> Result<usize, LoadError> {
    let shared = hparams.opt_u32(SHARED)?.unwrap_or(0);
    match n_layers.checked_sub(shared as usize) {
        Some(own) if own > 0 => Ok(own),
        _ => hparams.refuse(
            SHARED,
            shared,
            format!("must be less than the {n_layers} layers"),
        ),
    }
}

fn sliding(hparams: &Hparams<'_>, spec: &DecoderSpec) -> Result<SlidingSpec, LoadError> {
    let window = hparams.required_positions("attention.sliding_window")?;
    let pattern = "attention.sliding_window_pattern";
    let Some(layers) = hparams.opt_flags(pattern, spec.n_layers)? else {
        return Err(slm_gguf::Error::MissingKey {
            key: hparams.key(pattern),
        }
        .into());
    };
    let n_rot = hparams.opt_count("rope.dimension_count_swa", KvLayer::MAX_HEAD_DIM)?;
    Ok(SlidingSpec {
        window,
        layers,
        rope: RopeSpec {
            n_rot: n_rot.unwrap_or(spec.rope.n_rot),
            theta: hparams
                .opt_positive("rope.freq_base_swa")?
                .unwrap_or(SLIDING_THETA),
            linear_factor: 1.0,
            factors: None,
            ..spec.rope.clone()
        },
    })
}

/// Widths of a key and of a value head in the layers that see a window, of which `n_rot` dimensions are rotated.
fn sliding_head_dims(
    hparams: &Hparams<'_>,
    spec: &DecoderSpec,
    n_rot: usize,
) -> Result<[usize; 2], LoadError> {
    let dim = |key: &str, otherwise: usize| {
        let dim = hparams.opt_count(key, KvLayer::MAX_HEAD_DIM)?;
        Ok::<_, LoadError>(dim.unwrap_or(otherwise))
    };
    let head_dim = dim("attention.key_length_swa", spec.head_dim)?;
    let v_head_dim = dim("attention.value_length_swa", spec.v_head_dim)?;
    for (key, k_dim, v_dim) in [
        ("attention.value_length", spec.head_dim, spec.v_head_dim),
        ("attention.value_length_swa", head_dim, v_head_dim),
    ] {
        if k_dim != v_dim {
            return hparams.refuse(key, v_dim, format!("must be {k_dim}, as keys have"));
        }
    }
    if n_rot > head_dim || !n_rot.is_multiple_of(2) {
        let problem = format!("must be even and at most {head_dim}");
        return hparams.refuse("rope.dimension_count_swa", n_rot, problem);
    }
    Ok([head_dim, v_head_dim])
}
