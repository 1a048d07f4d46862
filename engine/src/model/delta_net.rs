//! The gated delta net of Qwen3.5 (arXiv 2412.06464): attention without a cache, whose memory is a matrix for each head.
//!
//! Queries, keys and values go through a short convolution and SiLU; queries and keys are brought to length 1. A token
//! lets the matrix fade, corrects what it answers to the key, and asks it the query. What comes out is normed and gated.

use super::{
    Decoder, DeltaNetSpec, Part, Scratch,
    decoder::{each_part, resize},
    weights::{Linear, Loader},
};
use crate::LoadError;
use slm_kernels::DeltaShape;

/// Added to the squared length of a query or key ahead of the root.
const LENGTH_EPS: f32 = 1e-6;

/// Weights of the layer.
pub(super) struct DeltaNet {
    shape: DeltaShape,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Of what comes out.
    gate: Linear,
    alpha: Linear,
    beta: Linear,
    /// Of queries, keys and values, each `[n_taps, n_channels]`.
    taps: [Vec<f32>; 3],
    /// `[n_v_heads]`, added to what `alpha` gives.
    dt_bias: Vec<f32>,
    /// `[n_v_heads]`, below zero: how fast a head forgets.
    rates: Vec<f32>,
    /// Factors that make the RMS norm one of lengths, and scale queries besides.
    q_norm: Vec<f32>,
    k_norm: Vec<f32>,
    norm: Vec<f32>,
    output: Linear,
}

impl DeltaNet {
    /// The layer of block `il` of a stream of width `d`.
    pub(super) fn load(
        loader: &Loader<'_>,
        il: usize,
        spec: &DeltaNetSpec,
        d: usize,
    ) -> Result<Self, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let shape = spec.shape;
        let key_width = shape.n_k_heads * shape.k_head_dim;
        let value_width = shape.n_v_heads * shape.v_head_dim;
        let [q, k, v] = loader.fused(&name("attn_qkv"), [key_width, key_width, value_width], d)?;
        let n_channels = 2 * key_width + value_width;
        let all_taps = loader.taps(&name("ssm_conv1d.weight"), spec.n_taps, n_channels)?;
        let taps = |first: usize, n: usize| {
            let rows = all_taps.chunks_exact(n_channels);
            rows.flat_map(|row| &row[first..first + n])
                .copied()
                .collect()
        };
        let root = (shape.k_head_dim as f32).sqrt();
        Ok(Self {
            shape,
            q,
            k,
            v,
            gate: loader.linear(&name("attn_gate"), value_width, d)?,
            alpha: loader.linear(&name("ssm_alpha"), shape.n_v_heads, d)?,
            beta: loader.linear(&name("ssm_beta"), shape.n_v_heads, d)?,
            taps: [
                taps(0, key_width),
                taps(key_width, key_width),
                taps(2 * key_width, value_width),
            ],
            dt_bias: loader.vector(&name("ssm_dt.bias"), shape.n_v_heads)?,
            rates: loader.vector(&name("ssm_a"), shape.n_v_heads)?,
            q_norm: vec![1.0 / (root * root); shape.k_head_dim],
            k_norm: vec![1.0 / root; shape.k_head_dim],
            norm: loader.vector(&name("ssm_norm.weight"), shape.v_head_dim)?,
            output: loader.linear(&name("ssm_out"), d, value_width)?,
        })
    }

    pub(super) fn linears(&self) -> Vec<&Linear> {
        let inputs = [
            &self.q,
            &self.k,
            &self.v,
            &self.gate,
            &self.alpha,
            &self.beta,
        ];
        inputs.into_iter().chain([&self.output]).collect()
    }

    /// From what the norm gave in `s.h` to what is added to the stream, there too.
    pub(super) fn forward(
        &self,
        decoder: &Decoder,
        parts: &mut [Part<'_>],
        il: usize,
        n_tokens: usize,
        s: &mut Scratch,
    ) {
        let compute = decoder.compute();
        decoder.project(
            &mut s.projection,
            &s.h,
            n_tokens,
            &mut [
                (&self.q, &mut s.q),
                (&self.k, &mut s.k),
                (&self.v, &mut s.v),
                (&self.gate, &mut s.gate),
                (&self.alpha, &mut s.decay),
                (&self.beta, &mut s.beta),
            ],
        );

        let mut history_start = 0;
        for (x, taps) in [&mut s.q, &mut s.k, &mut s.v].into_iter().zip(&self.taps) {
            let n_channels = x.len() / n_tokens;
            let history = history_start..history_start + taps.len() - n_channels;
            history_start = history.end;
            resize(&mut s.normed, x.len());
            for (cache, tokens) in each_part(parts) {
                let values = tokens.start * n_channels..tokens.end * n_channels;
                compute.convolve(
                    n_channels,
                    taps,
                    &mut cache.recurrent(il).history[history.clone()],
                    &x[values.clone()],
                    true,
                    &mut s.normed[values],
                );
            }
            std::mem::swap(x, &mut s.normed);
        }
        let eps = LENGTH_EPS / self.shape.k_head_dim as f32;
        for (x, factors) in [(&mut s.q, &self.q_norm), (&mut s.k, &self.k_norm)] {
            resize(&mut s.normed, x.len());
            compute.rms_norm(x, factors, eps, &mut s.normed);
            std::mem::swap(x, &mut s.normed);
        }
        for heads in s.decay.chunks_exact_mut(self.shape.n_v_heads) {
            for ((x, bias), rate) in heads.iter_mut().zip(&self.dt_bias).zip(&self.rates) {
                *x = (rate * softplus(*x + bias)).exp();
            }
        }
        s.beta
            .iter_mut()
            .for_each(|x| *x = 1.0 / (1.0 + (-*x).exp()));

        resize(&mut s.attention, s.v.len());
        for (cache, tokens) in each_part(parts) {
            let rows = |x: &[f32]| {
                let width = x.len() / n_tokens;
                tokens.start * width..tokens.end * width
            };
            let out = rows(&s.v);
            compute.delta_rule(
                self.shape,
                &s.q[rows(&s.q)],
                &s.k[rows(&s.k)],
                &s.v[rows(&s.v)],
                &s.decay[rows(&s.decay)],
                &s.beta[rows(&s.beta)],
                &mut cache.recurrent(il).matrices,
                &mut s.attention[out],
            );
        }
        decoder.norm_in_place(Some(&self.norm), &mut s.attention, &mut s.normed);
        compute.silu_mul(&mut s.gate, &s.attention);
        decoder.project(
            &mut s.projection,
            &s.gate,
            n_tokens,
            &mut [(&self.output, &mut s.h)],
        );
    }
}

/// `ln(1 + e^x)`.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
