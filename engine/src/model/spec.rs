//! The shape of a decoder as its GGUF states it, checked once so that nothing later needs to doubt it.

use crate::LoadError;
use slm_gguf::{Gguf, Value};
use slm_kernels::{KvLayer, RopeStyle};

/// Bounds on hyper-parameters from untrusted files; each is far above any released small model.
pub(super) const MAX_LAYERS: usize = 512;
pub(super) const MAX_WIDTH: usize = 1 << 20;
pub(super) const MAX_HEADS: usize = 1024;
pub(super) const MAX_CONTEXT: usize = 1 << 24;

/// Everything about a decoder that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// Number of transformer blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn_size: usize,
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub context_length: usize,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Factor on the rows of the embedding matrix; 1 is none.
    pub embedding_scale: f32,
    /// Factor on q·k ahead of the softmax.
    pub attention_scale: f32,
    /// Rotary position embedding, of the layers that see everything where there are others.
    pub rope: RopeSpec,
    /// The layers that see only the last positions, if there are such.
    pub sliding: Option<SlidingSpec>,
    /// Whether a token sees only itself and what comes before it; else a text must be computed in one step.
    pub is_causal: bool,
    /// What the gate of the feed-forward layer goes through.
    pub gate: Gate,
    /// Tensors of a block that not every family has.
    pub extras: Extras,
}

impl DecoderSpec {
    /// How layer `il` slides, if it does.
    pub(super) fn sliding_layer(&self, il: usize) -> Option<&SlidingSpec> {
        self.sliding.as_ref().filter(|s| s.layers[il])
    }
}

/// Activation of the gate in `gate(Wg·x) ⊙ Wu·x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `max(x, 0)²`.
    ReluSquared,
}

/// Tensors of a block beyond those that every family has. What is `true` is required, and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Biases of the query, key and value projections (`attn_q.bias` …); where `false` they may be there all the same.
    pub qkv_biases: bool,
    /// A norm of each query and key head ahead of the rotation (`attn_q_norm`, `attn_k_norm`).
    pub qk_norms: bool,
    /// A norm of what each half of the block adds to the stream (`post_attention_norm`, `post_ffw_norm`).
    pub post_norms: bool,
    /// A norm ahead of the last projection of each half (`attn_sub_norm`, `ffn_sub_norm`).
    pub sub_norms: bool,
    /// `ffn_up` has the rows of the gate, then its own; there is no `ffn_gate`.
    pub fused_gate_up: bool,
}

/// The layers that see only the last positions.
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingSpec {
    /// How many positions a query sees, its own included; at least 1.
    pub window: usize,
    /// Whether a layer is one of them, for each layer.
    pub layers: Vec<bool>,
    /// Their rotary position embedding.
    pub rope: RopeSpec,
}

/// Rotary position embedding of one kind of layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Which dimensions form a pair.
    pub style: RopeStyle,
    /// Rotated dimensions of a head; even, at most `head_dim`.
    pub n_rot: usize,
    /// Base of the frequencies.
    pub theta: f32,
    /// Positions are divided by this (linear scaling; 1 is none).
    pub linear_factor: f32,
    /// Tensor of divisors of the frequencies, one for each pair, which the file must have.
    pub factors: Option<&'static str>,
    /// Factor on what is rotated; 1 is none.
    pub magnitude: f32,
}

/// Ways to stretch positions that [`Hparams::decoder`] knows by itself.
pub(super) const LINEAR: &[&str] = &["none", "linear"];

/// Typed access to `{architecture}.*` keys, with bounds and errors that name the key.
pub(super) struct Hparams<'a> {
    architecture: &'a str,
    gguf: &'a Gguf<'a>,
    /// Largest context that was asked for.
    wanted_context: Option<usize>,
}

impl<'a> Hparams<'a> {
    pub(super) fn new(
        architecture: &'a str,
        gguf: &'a Gguf<'a>,
        wanted_context: Option<usize>,
    ) -> Self {
        Self {
            architecture,
            gguf,
            wanted_context,
        }
    }

    /// Largest context that sequences will have, of a model that was trained for `trained` positions.
    pub(super) fn context_in_use(&self, trained: usize) -> usize {
        self.wanted_context.map_or(trained, |n| n.clamp(1, trained))
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn refuse<T>(
        &self,
        name: &str,
        value: impl ToString,
        problem: impl Into<String>,
    ) -> Result<T, LoadError> {
        Err(LoadError::Hparam {
            key: self.key(name),
            value: value.to_string(),
            problem: problem.into(),
        })
    }

    /// A required count in `1..=max`.
    pub(super) fn count(&self, name: &str, max: usize) -> Result<usize, LoadError> {
        self.check_count(
            name,
            self.gguf.metadata().u32(&self.key(name))? as usize,
            max,
        )
    }

    pub(super) fn opt_count(&self, name: &str, max: usize) -> Result<Option<usize>, LoadError> {
        let value = self.gguf.metadata().opt_u32(&self.key(name))?;
        value
            .map(|v| self.check_count(name, v as usize, max))
            .transpose()
    }

    fn check_count(&self, name: &str, value: usize, max: usize) -> Result<usize, LoadError> {
        if (1..=max).contains(&value) {
            Ok(value)
        } else {
            self.refuse(name, value, format!("must be between 1 and {max}"))
        }
    }

    pub(super) fn opt_u32(&self, name: &str) -> Result<Option<u32>, LoadError> {
        Ok(self.gguf.metadata().opt_u32(&self.key(name))?)
    }

    pub(super) fn opt_bool(&self, name: &str) -> Result<Option<bool>, LoadError> {
        Ok(self.gguf.metadata().opt_bool(&self.key(name))?)
    }

    /// An optional number of positions.
    pub(super) fn opt_positions(&self, name: &str) -> Result<Option<usize>, LoadError> {
        self.opt_count(name, MAX_CONTEXT)
    }

    /// Which of `n_layers` layers slide: a flag each under `name`, or a number of which every such layer does not, or
    /// no key and `every` as that number.
    pub(super) fn sliding_layers(
        &self,
        name: &str,
        n_layers: usize,
        every: usize,
    ) -> Result<Vec<bool>, LoadError> {
        let key = self.key(name);
        if let Some(Value::Array(flags)) = self.gguf.metadata().get(&key) {
            let flags: Vec<bool> = flags
                .iter()
                .take(n_layers)
                .filter_map(|flag| match flag {
                    Value::Bool(slides) => Some(slides),
                    other => other.as_integer().map(|n| n != 0),
                })
                .collect();
            if flags.len() != n_layers {
                let problem = format!("must have a flag for each of the {n_layers} layers");
                return self.refuse(name, format!("{} flags", flags.len()), problem);
            }
            return Ok(flags);
        }
        let every = self.opt_count(name, MAX_LAYERS)?.unwrap_or(every);
        Ok((0..n_layers).map(|il| il % every < every - 1).collect())
    }

    pub(super) fn opt_string(&self, name: &str) -> Result<Option<&'a str>, LoadError> {
        Ok(self.gguf.metadata().opt_string(&self.key(name))?)
    }

    /// An optional finite number above zero.
    pub(super) fn opt_positive(&self, name: &str) -> Result<Option<f32>, LoadError> {
        match self.gguf.metadata().opt_f32(&self.key(name))? {
            Some(v) if !(v.is_finite() && v > 0.0) => {
                self.refuse(name, v, "must be a number above zero")
            }
            v => Ok(v),
        }
    }

    /// The keys that all decoders share (`models.md` of the GGUF convention: defaults as llama.cpp's loader has them),
    /// with this family's RoPE pairing and the ways to stretch it that it takes, and nothing special otherwise.
    pub(super) fn decoder(
        &self,
        style: RopeStyle,
        scaling_types: &[&str],
    ) -> Result<DecoderSpec, LoadError> {
        let hidden_size = self.count("embedding_length", MAX_WIDTH)?;
        let n_heads = self.count("attention.head_count", MAX_HEADS)?;
        let n_kv_heads = self
            .opt_count("attention.head_count_kv", MAX_HEADS)?
            .unwrap_or(n_heads);
        if !n_heads.is_multiple_of(n_kv_heads) {
            return self.refuse(
                "attention.head_count_kv",
                n_kv_heads,
                format!("must divide the {n_heads} query heads"),
            );
        }
        let head_dim = match self.opt_count("attention.key_length", KvLayer::MAX_HEAD_DIM)? {
            Some(dim) => dim,
            None if hidden_size.is_multiple_of(n_heads) => self.check_count(
                "attention.key_length",
                hidden_size / n_heads,
                KvLayer::MAX_HEAD_DIM,
            )?,
            None => {
                return self.refuse(
                    "embedding_length",
                    hidden_size,
                    format!("must be a multiple of the {n_heads} heads"),
                );
            }
        };
        let v_head_dim = self
            .opt_count("attention.value_length", KvLayer::MAX_HEAD_DIM)?
            .unwrap_or(head_dim);
        let eps = "attention.layer_norm_rms_epsilon";
        let Some(rms_norm_eps) = self.opt_positive(eps)? else {
            return Err(slm_gguf::Error::MissingKey { key: self.key(eps) }.into());
        };
        Ok(DecoderSpec {
            n_layers: self.count("block_count", MAX_LAYERS)?,
            hidden_size,
            n_heads,
            n_kv_heads,
            head_dim,
            v_head_dim,
            ffn_size: self.count("feed_forward_length", MAX_WIDTH)?,
            vocab_size: self.vocab_size()?,
            context_length: self.count("context_length", MAX_CONTEXT)?,
            rms_norm_eps,
            embedding_scale: 1.0,
            attention_scale: 1.0 / (head_dim as f32).sqrt(),
            rope: self.rope(style, head_dim, scaling_types)?,
            sliding: None,
            is_causal: self.opt_bool("attention.causal")?.unwrap_or(true),
            gate: Gate::Silu,
            extras: Extras::default(),
        })
    }

    pub(super) fn rope(
        &self,
        style: RopeStyle,
        head_dim: usize,
        scaling_types: &[&str],
    ) -> Result<RopeSpec, LoadError> {
        let n_rot = self
            .opt_count("rope.dimension_count", MAX_WIDTH)?
            .unwrap_or(head_dim);
        if n_rot > head_dim || !n_rot.is_multiple_of(2) {
            return self.refuse(
                "rope.dimension_count",
                n_rot,
                format!("must be even and at most {head_dim}"),
            );
        }
        let factor = match self.opt_positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.opt_positive("rope.scale_linear")?,
        };
        let linear_factor = match self.opt_string("rope.scaling.type")? {
            Some(other) if !scaling_types.contains(&other) => {
                let problem = format!("supported are: {}", scaling_types.join(", "));
                return self.refuse("rope.scaling.type", other, problem);
            }
            None | Some("linear") => factor.unwrap_or(1.0),
            Some(_) => 1.0,
        };
        Ok(RopeSpec {
            style,
            n_rot,
            theta: self.opt_positive("rope.freq_base")?.unwrap_or(10_000.0),
            linear_factor,
            factors: None,
            magnitude: 1.0,
        })
    }

    /// Rows of `token_embd.weight`: the truth about the vocabulary that the weights know.
    pub(super) fn vocab_size(&self) -> Result<usize, LoadError> {
        let shape = self
            .gguf
            .tensor("token_embd.weight")
            .map(|t| t.shape.as_slice());
        match shape {
            Some(&[_, rows]) if (1..=MAX_WIDTH as u64 * 4).contains(&rows) => Ok(rows as usize),
            Some(shape) => Err(LoadError::Tensor {
                name: "token_embd.weight".into(),
                problem: format!("has shape {shape:?} instead of [hidden size, vocabulary]"),
            }),
            None => Err(LoadError::Tensor {
                name: "token_embd.weight".into(),
                problem: "is missing".into(),
            }),
        }
    }
}
