//! Embeddings of their own for each block, as Gemma 4 has them: a second table gives a token a short vector for every
//! block, which gates a small side way at the block's end.
//!
//! `e = (norm(Wm·x₀ / √hidden) + √width · T[token]) / √2`, with the scaled embedding `x₀`; in a block
//! `x += norm(Wp·(gelu(Wg·x) ⊙ e[block]))`.

use super::{
    Decoder, DecoderSpec, Scratch,
    decoder::resize,
    weights::{Linear, Loader},
};
use crate::LoadError;
use slm_kernels::Matrix;

/// What all blocks share.
pub(super) struct PerLayerTable {
    /// Width of a block's vector.
    width: usize,
    /// `[vocab_size, n_layers · width]`.
    table: Matrix,
    from_stream: Linear,
    norm: Vec<f32>,
}

/// What a block has of its own.
pub(super) struct LayerEmbedding {
    gate: Linear,
    output: Linear,
    norm: Vec<f32>,
}

impl PerLayerTable {
    pub(super) fn load(loader: &Loader<'_>, spec: &DecoderSpec) -> Result<Option<Self>, LoadError> {
        let Some(width) = spec.per_layer_embedding else {
            return Ok(None);
        };
        let row = spec.n_layers * width;
        let table = loader.matrix("per_layer_token_embd.weight", spec.vocab_size, row)?;
        Ok(Some(Self {
            width,
            table,
            from_stream: loader.linear("per_layer_model_proj", row, spec.hidden_size)?,
            norm: loader.vector("per_layer_proj_norm.weight", width)?,
        }))
    }

    pub(super) fn matrices(&self) -> [&Matrix; 2] {
        [&self.table, &self.from_stream.matrix]
    }

    /// Fills `s.per_layer`, `[n_tokens, n_layers, width]`, from the embeddings in `s.x`.
    pub(super) fn fill(&self, decoder: &Decoder, s: &mut Scratch) {
        let compute = decoder.compute();
        decoder.project(
            &mut s.projection,
            &s.x,
            s.tokens.len(),
            &mut [(&self.from_stream, &mut s.per_layer)],
        );
        let hidden_size = s.x.len() / s.tokens.len();
        compute.scale(&mut s.per_layer, 1.0 / (hidden_size as f32).sqrt());
        decoder.norm_in_place(Some(&self.norm), &mut s.per_layer, &mut s.normed);
        let root = (self.width as f32).sqrt();
        let row_len = self.table.n_cols();
        resize(&mut s.gate, row_len);
        for (row, &token) in s.per_layer.chunks_exact_mut(row_len).zip(&s.tokens) {
            self.table.dequantize_row(token as usize, &mut s.gate);
            for (value, embedding) in row.iter_mut().zip(&s.gate) {
                *value = (*value + root * embedding) * std::f32::consts::FRAC_1_SQRT_2;
            }
        }
    }
}

impl LayerEmbedding {
    pub(super) fn load(
        loader: &Loader<'_>,
        spec: &DecoderSpec,
        il: usize,
    ) -> Result<Option<Self>, LoadError> {
        let Some(width) = spec.per_layer_embedding else {
            return Ok(None);
        };
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let d = spec.hidden_size;
        Ok(Some(Self {
            gate: loader.linear(&name("inp_gate"), width, d)?,
            output: loader.linear(&name("proj"), d, width)?,
            norm: loader.vector(&name("post_norm.weight"), d)?,
        }))
    }

    pub(super) fn linears(&self) -> [&Linear; 2] {
        [&self.gate, &self.output]
    }

    /// Adds to the stream in `s.x` what block `il` makes of its part of `s.per_layer`.
    pub(super) fn forward(&self, decoder: &Decoder, s: &mut Scratch, il: usize, n_tokens: usize) {
        let compute = decoder.compute();
        decoder.project(
            &mut s.projection,
            &s.x,
            n_tokens,
            &mut [(&self.gate, &mut s.gate)],
        );
        let width = s.gate.len() / n_tokens;
        let row_len = s.per_layer.len() / n_tokens;
        resize(&mut s.up, s.gate.len());
        for (part, row) in
            s.up.chunks_exact_mut(width)
                .zip(s.per_layer.chunks_exact(row_len))
        {
            part.copy_from_slice(&row[il * width..][..width]);
        }
        compute.gelu_tanh_mul(&mut s.gate, &s.up);
        decoder.project(
            &mut s.projection,
            &s.gate,
            n_tokens,
            &mut [(&self.output, &mut s.h)],
        );
        decoder.norm_in_place(Some(&self.norm), &mut s.h, &mut s.normed);
        compute.add_assign(&mut s.x, &s.h);
    }
}
