//! The forward pass that encoders share: texts to the states of their tokens.
//!
//! `x = norm(E[tokens] + type + position); per block: x = norm(x + Wo·attention(Wq·x, Wk·x, Wv·x)); x = norm(x +
//! ffn(x))` (BERT, arXiv 1810.04805). Every token sees its whole text; nothing outlives a step, so there is no cache.
//! Several texts go through the matrices together and attend apart, which changes no bit of a text's states.

mod spec;
mod weights;

pub use spec::{EncoderSpec, Ffn, Positions};

use super::{
    decoder::resize,
    projection::Projection,
    rope::{Angles, Factors, Rope},
};
use crate::TokenId;
use slm_kernels::{
    AttentionArgs, AttentionRun, AttentionScratch, Compute, KvLayer, KvPool, KvType,
};
use std::ops::Range;
use weights::{Layer, LayerNorm};

pub(super) use weights::Weights;

/// An encoder: its shape, its packed weights, and the CPU tier and threads it runs on.
pub struct Encoder {
    spec: EncoderSpec,
    weights: Weights,
    rope: Option<Rope>,
    compute: Compute,
}

/// Buffers of a forward pass, reused from step to step. Grow to the largest step seen.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Residual stream.
    x: Vec<f32>,
    /// What a projection back to the stream gives.
    h: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attention: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// Where each text's tokens are.
    texts: Vec<Range<usize>>,
    /// Of the positions of the longest text.
    angles: Angles,
    projection: Projection,
    attention_scratch: AttentionScratch,
    kv_pool: KvPool,
}

impl Encoder {
    pub(super) fn new(spec: EncoderSpec, weights: Weights, compute: Compute) -> Self {
        let rope = match &spec.positions {
            Positions::Rope(rope) => Some(Rope::new(rope, Factors::default())),
            Positions::Table => None,
        };
        Self {
            spec,
            weights,
            rope,
            compute,
        }
    }

    /// The shape.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// The CPU tier and threads.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Bytes of the packed weights.
    pub fn weights_bytes(&self) -> usize {
        self.weights.size_bytes()
    }

    /// The states of all tokens of `texts`, one text after the other, `[n_tokens, hidden_size]`.
    ///
    /// # Panics
    /// When a text is empty, longer than the context, or has an id outside the vocabulary.
    pub(crate) fn forward<'s>(&self, s: &'s mut Scratch, texts: &[&[TokenId]]) -> &'s [f32] {
        s.texts.clear();
        let mut n_tokens = 0;
        for text in texts {
            assert!(
                (1..=self.spec.context_length).contains(&text.len()),
                "a text of {} tokens",
                text.len()
            );
            s.texts.push(n_tokens..n_tokens + text.len());
            n_tokens += text.len();
        }
        self.embed(texts, n_tokens, s);
        if let Some(rope) = &self.rope {
            let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
            s.angles.clear();
            rope.extend(&mut s.angles, 0, longest, false);
        }
        for layer in &self.weights.layers {
            self.attention_block(layer, n_tokens, s);
            self.ffn_block(layer, n_tokens, s);
        }
        &s.x
    }

    fn embed(&self, texts: &[&[TokenId]], n_tokens: usize, s: &mut Scratch) {
        let d = self.spec.hidden_size;
        resize(&mut s.x, n_tokens * d);
        resize(&mut s.h, n_tokens * d);
        let placed = texts.iter().flat_map(|text| text.iter().enumerate());
        for (row, (position, &token)) in s.x.chunks_exact_mut(d).zip(placed) {
            self.weights.token_embd.dequantize_row(token as usize, row);
            if let Some(table) = &self.weights.position_embd {
                table.dequantize_row(position, &mut s.h[..d]);
                row.iter_mut().zip(&s.h).for_each(|(x, p)| *x += p);
            }
            if let Some(of_type) = &self.weights.token_type {
                row.iter_mut().zip(of_type).for_each(|(x, t)| *x += t);
            }
        }
        self.norm(&self.weights.embd_norm, s);
    }

    /// x = norm(x + Wo · attention(x))
    fn attention_block(&self, layer: &Layer, n_tokens: usize, s: &mut Scratch) {
        let Self { spec, compute, .. } = self;
        let d = spec.hidden_size;
        s.projection.project(
            compute,
            &s.x,
            n_tokens,
            &mut [
                (&layer.q, &mut s.q),
                (&layer.k, &mut s.k),
                (&layer.v, &mut s.v),
            ],
        );
        resize(&mut s.attention, n_tokens * d);
        let mut caches = Vec::with_capacity(s.texts.len());
        for text in &s.texts {
            let values = text.start * d..text.end * d;
            if let Positions::Rope(rope) = &spec.positions {
                let angles = ..text.len() * rope.n_rot / 2;
                for heads in [&mut s.q, &mut s.k] {
                    compute.rope(
                        &mut heads[values.clone()],
                        spec.n_heads,
                        spec.head_dim,
                        rope.n_rot,
                        rope.style,
                        &s.angles.cos[angles],
                        &s.angles.sin[angles],
                    );
                }
            }
            let (n_heads, head_dim) = (spec.n_heads, spec.head_dim);
            let mut kv = KvLayer::new(&s.kv_pool, KvType::F32, n_heads, head_dim, head_dim);
            kv.append(text.len(), &s.k[values.clone()], &s.v[values]);
            caches.push(kv);
        }
        let args = AttentionArgs {
            n_heads: spec.n_heads,
            scale: 1.0 / (spec.head_dim as f32).sqrt(),
            is_causal: false,
            window: None,
            softcap: None,
        };
        let runs: Vec<AttentionRun<'_>> = caches
            .iter()
            .map(|kv| AttentionRun {
                kv,
                n_tokens: kv.len(),
            })
            .collect();
        compute.attention(
            &mut s.attention_scratch,
            &args,
            &runs,
            &s.q,
            &mut s.attention,
        );
        s.projection.project(
            compute,
            &s.attention,
            n_tokens,
            &mut [(&layer.attn_output, &mut s.h)],
        );
        compute.add_assign(&mut s.x, &s.h);
        self.norm(&layer.attn_output_norm, s);
    }

    /// x = norm(x + ffn(x))
    fn ffn_block(&self, layer: &Layer, n_tokens: usize, s: &mut Scratch) {
        let compute = &self.compute;
        let inner = if let Some(gate) = &layer.gate {
            let mut outputs = [(gate, &mut s.gate), (&layer.up, &mut s.up)];
            s.projection.project(compute, &s.x, n_tokens, &mut outputs);
            compute.silu_mul(&mut s.gate, &s.up);
            &s.gate
        } else {
            let mut outputs = [(&layer.up, &mut s.up)];
            s.projection.project(compute, &s.x, n_tokens, &mut outputs);
            compute.gelu(&mut s.up);
            &s.up
        };
        let mut outputs = [(&layer.down, &mut s.h)];
        s.projection.project(compute, inner, n_tokens, &mut outputs);
        compute.add_assign(&mut s.x, &s.h);
        self.norm(&layer.layer_output_norm, s);
    }

    /// x = norm(x)
    fn norm(&self, norm: &LayerNorm, s: &mut Scratch) {
        let eps = self.spec.layer_norm_eps;
        self.compute
            .layer_norm(&s.x, &norm.weight, &norm.bias, eps, &mut s.h);
        std::mem::swap(&mut s.x, &mut s.h);
    }
}
