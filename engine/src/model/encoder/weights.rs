//! Tensors of an encoder's GGUF to packed weights.

use super::{
    super::weights::{Linear, Loader},
    EncoderSpec, Ffn, Positions,
};
use crate::LoadError;
use slm_kernels::Matrix;

/// Weights of the whole encoder.
pub(crate) struct Weights {
    pub(super) token_embd: Matrix,
    /// Added to every token: a text is of the first type.
    pub(super) token_type: Option<Vec<f32>>,
    /// One row a position.
    pub(super) position_embd: Option<Matrix>,
    pub(super) embd_norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
}

/// Weights of one block.
pub(super) struct Layer {
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) attn_output: Linear,
    pub(super) attn_output_norm: LayerNorm,
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) layer_output_norm: LayerNorm,
}

/// `(x - mean) / deviation · weight + bias`.
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Weights {
    pub(crate) fn load(loader: &Loader<'_>, spec: &EncoderSpec) -> Result<Self, LoadError> {
        const TYPES: &str = "token_types.weight";
        let d = spec.hidden_size;
        let token_type = match loader.n_rows(TYPES, d)? {
            Some(n_types) => {
                let mut row = vec![0.0; d];
                loader
                    .matrix(TYPES, n_types, d)?
                    .dequantize_row(0, &mut row);
                Some(row)
            }
            None => None,
        };
        let position_embd = match spec.positions {
            Positions::Table => {
                Some(loader.matrix("position_embd.weight", spec.context_length, d)?)
            }
            Positions::Rope(_) => None,
        };
        Ok(Self {
            token_embd: loader.matrix("token_embd.weight", spec.vocab_size, d)?,
            token_type,
            position_embd,
            embd_norm: LayerNorm::load(loader, "token_embd_norm", d)?,
            layers: (0..spec.n_layers)
                .map(|il| Layer::load(loader, spec, il))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Bytes of all packed matrices.
    pub(super) fn size_bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|l| {
            let linears = [&l.q, &l.k, &l.v, &l.attn_output, &l.up, &l.down];
            linears.into_iter().chain(&l.gate)
        });
        let matrices = layers
            .map(|l| &l.matrix)
            .chain([&self.token_embd])
            .chain(&self.position_embd);
        matrices.map(Matrix::size_bytes).sum()
    }
}

impl Layer {
    fn load(loader: &Loader<'_>, spec: &EncoderSpec, il: usize) -> Result<Self, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let (d, ffn_size) = (spec.hidden_size, spec.ffn_size);
        let [q, k, v] = if loader.has(&name("attn_qkv.weight")) {
            loader.fused(&name("attn_qkv"), [d; 3], d)?
        } else {
            [
                loader.linear(&name("attn_q"), d, d)?,
                loader.linear(&name("attn_k"), d, d)?,
                loader.linear(&name("attn_v"), d, d)?,
            ]
        };
        let gate = (spec.ffn == Ffn::GatedSilu)
            .then(|| loader.linear(&name("ffn_gate"), ffn_size, d))
            .transpose()?;
        Ok(Self {
            q,
            k,
            v,
            attn_output: loader.linear(&name("attn_output"), d, d)?,
            attn_output_norm: LayerNorm::load(loader, &name("attn_output_norm"), d)?,
            gate,
            up: loader.linear(&name("ffn_up"), ffn_size, d)?,
            down: loader.linear(&name("ffn_down"), d, ffn_size)?,
            layer_output_norm: LayerNorm::load(loader, &name("layer_output_norm"), d)?,
        })
    }
}

impl LayerNorm {
    fn load(loader: &Loader<'_>, stem: &str, len: usize) -> Result<Self, LoadError> {
        Ok(Self {
            weight: loader.vector(&format!("{stem}.weight"), len)?,
            bias: loader.vector(&format!("{stem}.bias"), len)?,
        })
    }
}
