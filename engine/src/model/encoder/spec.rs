//! The shape of an encoder as its GGUF states it, checked once.

use super::super::{
    RopeSpec,
    spec::{Hparams, LINEAR, MAX_CONTEXT, MAX_HEADS, MAX_LAYERS, MAX_WIDTH},
};
use crate::LoadError;
use slm_kernels::{KvLayer, RopeStyle};

/// Everything about an encoder that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderSpec {
    /// Number of transformer blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Heads; queries, keys and values have as many.
    pub n_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn_size: usize,
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Tokens of the longest text.
    pub context_length: usize,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f32,
    /// How a token knows its position.
    pub positions: Positions,
    /// What the feed-forward layer computes.
    pub ffn: Ffn,
}

/// How a token knows its position.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A row of a table (`position_embd`) is added.
    Table,
    /// Queries and keys are rotated.
    Rope(RopeSpec),
}

/// What the feed-forward layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// `Wd·gelu(Wu·x)`, GELU by the error function.
    Gelu,
    /// `Wd·(silu(Wg·x) ⊙ Wu·x)`.
    GatedSilu,
}

impl Ffn {
    /// What files call its activation.
    pub(in crate::model) fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Gelu => &["gelu"],
            Self::GatedSilu => &["silu", "swish", "swiglu"],
        }
    }
}

impl Hparams<'_> {
    /// The keys that all encoders share, with a table of positions and a plain feed-forward layer.
    pub(in crate::model) fn encoder(&self) -> Result<EncoderSpec, LoadError> {
        let hidden_size = self.count("embedding_length", MAX_WIDTH)?;
        let n_heads = self.count("attention.head_count", MAX_HEADS)?;
        let head_dim = hidden_size / n_heads;
        if !hidden_size.is_multiple_of(n_heads) || head_dim > KvLayer::MAX_HEAD_DIM {
            let most = KvLayer::MAX_HEAD_DIM;
            let problem = format!("must be {n_heads} heads of at most {most} values");
            return self.refuse("embedding_length", hidden_size, problem);
        }
        if let Some(n) = self.opt_u32("expert_count")?.filter(|&n| n > 0) {
            return self.refuse("expert_count", n, "experts are not supported in encoders");
        }
        let eps = "attention.layer_norm_epsilon";
        let Some(layer_norm_eps) = self.opt_positive(eps)? else {
            return Err(slm_gguf::Error::MissingKey { key: self.key(eps) }.into());
        };
        Ok(EncoderSpec {
            n_layers: self.count("block_count", MAX_LAYERS)?,
            hidden_size,
            n_heads,
            head_dim,
            ffn_size: self.count("feed_forward_length", MAX_WIDTH)?,
            vocab_size: self.vocab_size()?,
            context_length: self.count("context_length", MAX_CONTEXT)?,
            layer_norm_eps,
            positions: Positions::Table,
            ffn: Ffn::Gelu,
        })
    }

    /// Rotation that pairs the halves of a head.
    pub(in crate::model) fn encoder_rope(&self, head_dim: usize) -> Result<Positions, LoadError> {
        let rope = self.rope(RopeStyle::Neox, head_dim, LINEAR)?;
        Ok(Positions::Rope(rope))
    }
}
