//! The shape of a decoder as its GGUF states it, checked once so that nothing later needs to doubt it.

use crate::LoadError;
use slm_gguf::{Gguf, Value};
use slm_kernels::{DeltaShape, KvLayer, RopeStyle};
use std::{cell::RefCell, collections::HashSet};

/// Bounds on hyper-parameters from untrusted files; each is far above any released small model.
pub(super) const MAX_LAYERS: usize = 512;
pub(super) const MAX_WIDTH: usize = 1 << 20;
pub(super) const MAX_HEADS: usize = 1024;
const MAX_EXPERTS: usize = 1024;
pub(super) const MAX_CONTEXT: usize = 1 << 24;

/// Everything about a decoder that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// Number of transformer blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads; as the next four where `blocks` says nothing else.
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
    /// Whether the file may list tokens that have no row, which are none of the model's then.
    pub spare_tokens: bool,
    /// Positions the model was trained for.
    pub context_length: usize,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Factor on the rows of the embedding matrix; 1 is none.
    pub embedding_scale: f32,
    /// Factor on q·k ahead of the softmax.
    pub attention_scale: f32,
    /// Attention scores go through `c · tanh(score / c)`, with this `c`.
    pub attention_softcap: Option<f32>,
    /// Factor on what each half of a block adds to the residual stream; 1 is none.
    pub residual_scale: f32,
    /// Factor on the logits; 1 is none.
    pub logit_scale: f32,
    /// Logits go through `c · tanh(logit / c)`, with this `c`.
    pub logit_softcap: Option<f32>,
    /// Rotary position embedding, of the layers that see everything where there are others.
    pub rope: RopeSpec,
    /// Whether a layer rotates queries and keys, for each layer; `None` where all do.
    pub rotated: Option<Vec<bool>>,
    /// The layers that see only the last positions, if there are such.
    pub sliding: Option<SlidingSpec>,
    /// Whether a token sees only itself and what comes before it; else a text must be computed in one step.
    pub is_causal: bool,
    /// What the gate of the feed-forward layer goes through.
    pub gate: Gate,
    /// The experts that stand in for the feed-forward layer, in a mixture.
    pub experts: Option<ExpertsSpec>,
    /// Tensors of a block that not every family has.
    pub extras: Extras,
    /// Tensor of the norm ahead of the feed-forward layer.
    pub ffn_norm: &'static str,
    /// Tensor of the norm ahead of the output matrix.
    pub output_norm: &'static str,
    /// Width of the vector that each block gets for a token from a table of its own (`per_layer_token_embd`), if there
    /// is one.
    pub per_layer_embedding: Option<usize>,
    /// What each block is, where blocks differ in more than the window; empty where they do not, and are what the
    /// fields above say.
    pub blocks: Vec<BlockSpec>,
}

/// The shape of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// What mixes tokens.
    pub mixer: Mixer,
    /// Width of the feed-forward layer.
    pub ffn_size: usize,
}

/// The half of a block that brings tokens together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixer {
    /// Attention over the cache.
    Attention(AttentionShape),
    /// A gated convolution over so many last tokens, at least 1.
    ShortConv(usize),
    /// The gated delta rule on the outputs of a convolution.
    DeltaNet(DeltaNetSpec),
}

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// The earlier layer whose keys and values it reads; it has none of its own then.
    pub kv_of: Option<usize>,
}

/// A layer of the gated delta rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaNetSpec {
    /// Heads.
    pub shape: DeltaShape,
    /// Tokens that the convolution spans, at least 1.
    pub n_taps: usize,
}

impl DecoderSpec {
    /// What block `il` is.
    pub fn block(&self, il: usize) -> BlockSpec {
        self.blocks.get(il).copied().unwrap_or(BlockSpec {
            mixer: Mixer::Attention(AttentionShape {
                n_heads: self.n_heads,
                n_kv_heads: self.n_kv_heads,
                head_dim: self.head_dim,
                v_head_dim: self.v_head_dim,
                kv_of: None,
            }),
            ffn_size: self.ffn_size,
        })
    }

    /// Values of the widest row that a token has on its way.
    pub fn widest_row(&self) -> usize {
        let per_layer = self.n_layers * self.per_layer_embedding.unwrap_or(0);
        let block = |il| {
            let block = self.block(il);
            let mixer = match block.mixer {
                Mixer::Attention(heads) => heads.n_heads * heads.head_dim.max(heads.v_head_dim),
                Mixer::ShortConv(_) => self.hidden_size,
                Mixer::DeltaNet(DeltaNetSpec { shape, .. }) => {
                    let key = shape.n_k_heads * shape.k_head_dim;
                    key.max(shape.n_v_heads * shape.v_head_dim)
                }
            };
            mixer.max(block.ffn_size)
        };
        let widest_block = (0..self.n_layers).map(block).max().unwrap_or(0);
        let by_expert = |e: &ExpertsSpec| e.n_used * e.ffn_size.max(self.hidden_size);
        let experts = self.experts.as_ref().map_or(0, by_expert);
        let rows = [widest_block, self.hidden_size, per_layer, experts];
        rows.into_iter().max().unwrap_or(0)
    }

    /// The factor on q·k of the large Gemmas: by the share that a head has of the stream, not by its own size.
    pub(super) fn scale_by_width(&self) -> f32 {
        1.0 / (self.hidden_size as f32 / self.n_heads as f32).sqrt()
    }

    /// Whether layer `il` rotates queries and keys.
    pub(super) fn is_rotated(&self, il: usize) -> bool {
        self.rotated.as_ref().is_none_or(|layers| layers[il])
    }

    /// How layer `il` slides, if it does.
    pub(crate) fn sliding_layer(&self, il: usize) -> Option<&SlidingSpec> {
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
    /// `attn_q` has the rows of a query head, then those of a gate for what the head gives, head by head.
    pub attention_gates: bool,
    /// Value heads are normed, without weights; where there is no `attn_v`, what `attn_k` gives are the values too.
    pub value_norms: bool,
}

/// A mixture of experts: feed-forward layers of which a router chooses a few for each token.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// Experts of a layer.
    pub n_experts: usize,
    /// Experts that compute a token; at most `n_experts`.
    pub n_used: usize,
    /// Width of an expert.
    pub ffn_size: usize,
    /// Width of the layer that computes every token besides; 0 where there is none.
    pub shared_ffn_size: usize,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub is_normalised: bool,
    /// Factor on the weights; 1 is none.
    pub weight_scale: f32,
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
    /// How frequencies are stretched by themselves, if they are, in place of the positions.
    pub yarn: Option<YarnSpec>,
    /// Tensor of divisors of the frequencies, one for each pair, which the file must have.
    pub factors: Option<&'static str>,
    /// Divisors in their place for sequences beyond some length.
    pub long: Option<LongSpec>,
    /// Factor on what is rotated; 1 is none.
    pub magnitude: f32,
}

/// YaRN (arXiv 2309.00071): fast pairs keep their frequencies, slow ones are divided by `linear_factor`, those between
/// are mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct YarnSpec {
    /// Positions before they were stretched.
    pub original_context: usize,
    /// Pairs that turn more often than this within the original context keep their frequencies.
    pub beta_fast: f32,
    /// Pairs that turn less often than this are stretched wholly.
    pub beta_slow: f32,
    /// How much of a frequency is kept where it is kept; 1 is all.
    pub kept: f32,
}

/// Divisors of the frequencies for long sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct LongSpec {
    /// Tensor of the divisors, which the file must have.
    pub factors: &'static str,
    /// A sequence of more positions than this is rotated with them, all of it.
    pub beyond: usize,
}

const EPS: &str = "attention.layer_norm_rms_epsilon";
/// Ways to stretch positions of the families that came before the others.
pub(super) const STRETCHED: &[&str] = &["none", "linear", "yarn", "longrope"];
/// Ways to stretch positions of families whose layers do not all rotate alike.
pub(super) const LINEAR: &[&str] = &["none", "linear"];

/// Of `n_layers` layers all but the last of every `every`.
pub(super) fn all_but_every(every: usize, n_layers: usize) -> Vec<bool> {
    (0..n_layers).map(|il| il % every < every - 1).collect()
}

/// Typed access to `{architecture}.*` keys, with bounds and errors that name the key.
pub(super) struct Hparams<'a> {
    architecture: &'a str,
    gguf: &'a Gguf<'a>,
    /// Names of the keys that were asked for.
    asked: RefCell<HashSet<String>>,
}

impl<'a> Hparams<'a> {
    pub(super) fn new(architecture: &'a str, gguf: &'a Gguf<'a>) -> Self {
        Self {
            architecture,
            gguf,
            asked: RefCell::default(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.gguf.metadata().get(&self.key(name)).is_some()
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// The whole name of a key, which counts as asked for from now on.
    pub(super) fn key(&self, name: &str) -> String {
        self.asked.borrow_mut().insert(name.to_owned());
        format!("{}.{name}", self.architecture)
    }

    /// The value of a key that the file has and nothing asked for.
    pub(super) fn ignored(&self, name: &str) -> Option<&Value<'a>> {
        if self.asked.borrow().contains(name) {
            return None;
        }
        let key = format!("{}.{name}", self.architecture);
        self.gguf.metadata().get(&key)
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

    /// A count for each of `n_layers` layers, from `range`: one number for all, or an array.
    pub(super) fn layer_counts(
        &self,
        name: &str,
        n_layers: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<Vec<usize>>, LoadError> {
        let check = |value: i128| match usize::try_from(value) {
            Ok(n) if range.contains(&n) => Ok(n),
            _ => {
                let problem = format!("must be between {} and {}", range.start(), range.end());
                self.refuse(name, value, problem)
            }
        };
        let Some(Value::Array(values)) = self.gguf.metadata().get(&self.key(name)) else {
            let value = self.opt_u32(name)?;
            let value = value.map(|n| check(n.into())).transpose()?;
            return Ok(value.map(|n| vec![n; n_layers]));
        };
        let counts = values
            .iter()
            .take(n_layers)
            .filter_map(|value| value.as_integer())
            .map(check)
            .collect::<Result<Vec<_>, _>>()?;
        if counts.len() != n_layers {
            let problem = format!("must have a number for each of the {n_layers} layers");
            return self.refuse(name, format!("{} numbers", counts.len()), problem);
        }
        Ok(Some(counts))
    }

    fn required_layer_counts(
        &self,
        name: &str,
        n_layers: usize,
        max: usize,
    ) -> Result<Vec<usize>, LoadError> {
        let counts = self.layer_counts(name, n_layers, 1..=max)?;
        let missing = || slm_gguf::Error::MissingKey {
            key: self.key(name),
        };
        Ok(counts.ok_or_else(missing)?)
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

    /// A required number of positions.
    pub(super) fn required_positions(&self, name: &str) -> Result<usize, LoadError> {
        self.count(name, MAX_CONTEXT)
    }

    /// Which of `n_layers` layers slide: a flag each under `name`, or a number of which every such layer does not, or
    /// no key and `every` as that number.
    pub(super) fn sliding_layers(
        &self,
        name: &str,
        n_layers: usize,
        every: usize,
    ) -> Result<Vec<bool>, LoadError> {
        if let Some(flags) = self.opt_flags(name, n_layers)? {
            return Ok(flags);
        }
        let every = self.opt_count(name, MAX_LAYERS)?.unwrap_or(every);
        Ok(all_but_every(every, n_layers))
    }

    /// The window of the layers that slide, where the file states one: those of the pattern, all where there is none.
    /// They rotate as the others do, but for a base that is stated for them.
    pub(super) fn window(&self, spec: &DecoderSpec) -> Result<Option<SlidingSpec>, LoadError> {
        let window = "attention.sliding_window";
        if matches!(self.opt_u32(window)?, None | Some(0)) {
            return Ok(None);
        }
        let pattern = "attention.sliding_window_pattern";
        let layers = match self.opt_flags(pattern, spec.n_layers)? {
            Some(flags) => flags,
            None => match self.opt_count(pattern, MAX_LAYERS)? {
                Some(every) => all_but_every(every, spec.n_layers),
                None => vec![true; spec.n_layers],
            },
        };
        Ok(Some(SlidingSpec {
            window: self.count(window, MAX_CONTEXT)?,
            layers,
            rope: RopeSpec {
                theta: self
                    .opt_positive("rope.freq_base_swa")?
                    .unwrap_or(spec.rope.theta),
                ..spec.rope.clone()
            },
        }))
    }

    /// An optional list of a flag for each of `n_layers` layers; `None` also where the key has no list.
    pub(super) fn opt_flags(
        &self,
        name: &str,
        n_layers: usize,
    ) -> Result<Option<Vec<bool>>, LoadError> {
        let Some(Value::Array(flags)) = self.gguf.metadata().get(&self.key(name)) else {
            return Ok(None);
        };
        let flags: Vec<bool> = flags
            .iter()
            .take(n_layers)
            .filter_map(|flag| match flag {
                Value::Bool(is_set) => Some(is_set),
                other => other.as_integer().map(|n| n != 0),
            })
            .collect();
        if flags.len() != n_layers {
            let problem = format!("must have a flag for each of the {n_layers} layers");
            return self.refuse(name, format!("{} flags", flags.len()), problem);
        }
        Ok(Some(flags))
    }

    /// Refuses attention without key heads.
    pub(super) fn check_kv_heads(&self, spec: &DecoderSpec) -> Result<(), LoadError> {
        let lacks_heads = |il: &usize| match spec.block(*il).mixer {
            Mixer::Attention(shape) => shape.n_kv_heads == 0,
            Mixer::ShortConv(_) | Mixer::DeltaNet(_) => false,
        };
        match (0..spec.n_layers).find(lacks_heads) {
            Some(il) => {
                let problem = format!("must be above 0 in layer {il}, which has attention");
                self.refuse("attention.head_count_kv", 0, problem)
            }
            None => Ok(()),
        }
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

    /// An optional factor; 0 stands for none, as does its absence.
    pub(super) fn opt_scale(&self, name: &str) -> Result<Option<f32>, LoadError> {
        match self.gguf.metadata().opt_f32(&self.key(name))? {
            Some(0.0) | None => Ok(None),
            Some(_) => self.opt_positive(name),
        }
    }

    /// A required finite number above zero.
    pub(super) fn positive(&self, name: &str) -> Result<f32, LoadError> {
        match self.opt_positive(name)? {
            Some(value) => Ok(value),
            None => Err(slm_gguf::Error::MissingKey {
                key: self.key(name),
            }
            .into()),
        }
    }

    /// The keys that all decoders share (`models.md` of the GGUF convention: defaults as llama.cpp's loader has them),
    /// with this family's RoPE pairing and the ways to stretch it that it takes, and nothing special otherwise.
    pub(super) fn decoder(
        &self,
        style: RopeStyle,
        scaling_types: &[&str],
    ) -> Result<DecoderSpec, LoadError> {
        self.read_decoder(style, scaling_types, 1, None)
    }

    /// The same, for a family of which there are files that do not state the epsilon of its norms.
    pub(super) fn decoder_with_eps(
        &self,
        style: RopeStyle,
        scaling_types: &[&str],
        default_eps: f32,
    ) -> Result<DecoderSpec, LoadError> {
        self.read_decoder(style, scaling_types, 1, Some(default_eps))
    }

    /// As [`Hparams::decoder`], for a file that may have layers without attention, which it gives no key heads.
    pub(super) fn mixed_decoder(
        &self,
        style: RopeStyle,
        scaling_types: &[&str],
    ) -> Result<DecoderSpec, LoadError> {
        self.read_decoder(style, scaling_types, 0, None)
    }

    /// Layers that predict further tokens follow the decoder's, are counted with them and are left alone.
    fn read_decoder(
        &self,
        style: RopeStyle,
        scaling_types: &[&str],
        fewest_kv_heads: usize,
        default_eps: Option<f32>,
    ) -> Result<DecoderSpec, LoadError> {
        let hidden_size = self.count("embedding_length", MAX_WIDTH)?;
        let n_blocks = self.count("block_count", MAX_LAYERS)?;
        let n_extra = self.opt_u32("nextn_predict_layers")?.unwrap_or(0) as usize;
        let Some(n_layers) = n_blocks.checked_sub(n_extra).filter(|&n| n > 0) else {
            let problem =
                format!("must be more than the {n_extra} layers that predict further tokens");
            return self.refuse("block_count", n_blocks, problem);
        };
        let heads = self.required_layer_counts("attention.head_count", n_layers, MAX_HEADS)?;
        let kv = "attention.head_count_kv";
        let kv_heads = self
            .layer_counts(kv, n_layers, fewest_kv_heads..=MAX_HEADS)?
            .unwrap_or_else(|| heads.clone());
        for (n_heads, n_kv_heads) in heads.iter().zip(&kv_heads) {
            if *n_kv_heads > 0 && !n_heads.is_multiple_of(*n_kv_heads) {
                let problem = format!("must divide the {n_heads} query heads");
                return self.refuse(kv, n_kv_heads, problem);
            }
        }
        let ffn_sizes = self.ffn_sizes(n_layers)?;
        let n_heads = heads[0];
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
        let blocks = heads.iter().zip(&kv_heads).zip(&ffn_sizes);
        let blocks: Vec<BlockSpec> = blocks
            .map(|((&n_heads, &n_kv_heads), &ffn_size)| BlockSpec {
                mixer: Mixer::Attention(AttentionShape {
                    n_heads,
                    n_kv_heads,
                    head_dim,
                    v_head_dim,
                    kv_of: None,
                }),
                ffn_size,
            })
            .collect();
        let are_alike = blocks.iter().all(|block| *block == blocks[0]);
        Ok(DecoderSpec {
            n_layers,
            hidden_size,
            n_heads,
            n_kv_heads: kv_heads[0],
            head_dim,
            v_head_dim,
            ffn_size: ffn_sizes[0],
            vocab_size: self.vocab_size()?,
            spare_tokens: false,
            context_length: self.count("context_length", MAX_CONTEXT)?,
            rms_norm_eps: match default_eps {
                Some(default) => self.opt_positive(EPS)?.unwrap_or(default),
                None => self.positive(EPS)?,
            },
            embedding_scale: 1.0,
            attention_scale: self
                .opt_scale("attention.scale")?
                .unwrap_or(1.0 / (head_dim as f32).sqrt()),
            attention_softcap: None,
            residual_scale: 1.0,
            logit_scale: 1.0,
            logit_softcap: None,
            rope: self.rope(style, head_dim, scaling_types)?,
            rotated: None,
            sliding: None,
            is_causal: self.opt_bool("attention.causal")?.unwrap_or(true),
            gate: Gate::Silu,
            experts: None,
            extras: Extras::default(),
            ffn_norm: "ffn_norm",
            output_norm: "output_norm",
            per_layer_embedding: None,
            blocks: if are_alike { Vec::new() } else { blocks },
        })
    }

    /// Widths of the feed-forward layers; 0 where a mixture stands in for them and the file does not say.
    fn ffn_sizes(&self, n_layers: usize) -> Result<Vec<usize>, LoadError> {
        let name = "feed_forward_length";
        if self.n_experts()? == 0 {
            return self.required_layer_counts(name, n_layers, MAX_WIDTH);
        }
        let sizes = self.layer_counts(name, n_layers, 0..=MAX_WIDTH)?;
        Ok(sizes.unwrap_or_else(|| vec![0; n_layers]))
    }

    fn n_experts(&self) -> Result<u32, LoadError> {
        Ok(self.opt_u32("expert_count")?.unwrap_or(0))
    }

    /// The keys of a mixture of experts whose router is a softmax; `None` where the model is none. Files that do not say
    /// how wide an expert is mean `default_width` of the width of the feed-forward layer and the number of experts used.
    pub(super) fn experts(
        &self,
        ffn_size: usize,
        default_width: fn(usize, usize) -> usize,
    ) -> Result<Option<ExpertsSpec>, LoadError> {
        const SOFTMAX: u32 = 1;
        if self.n_experts()? == 0 {
            return Ok(None);
        }
        let n_experts = self.count("expert_count", MAX_EXPERTS)?;
        let n_used = self.count("expert_used_count", n_experts)?;
        let width = "expert_feed_forward_length";
        let ffn_size = match self.opt_count(width, MAX_WIDTH)? {
            Some(size) => size,
            None => self.check_count(width, default_width(ffn_size, n_used), MAX_WIDTH)?,
        };
        if let Some(other) = self.opt_u32("expert_gating_func")?.filter(|&f| f > SOFTMAX) {
            let problem = "supported is 1, the softmax";
            return self.refuse("expert_gating_func", other, problem);
        }
        if let Some(n) = self.opt_u32("expert_group_count")?.filter(|&n| n > 1) {
            let problem = "groups of experts are not supported";
            return self.refuse("expert_group_count", n, problem);
        }
        let shared = "expert_shared_feed_forward_length";
        Ok(Some(ExpertsSpec {
            n_experts,
            n_used,
            ffn_size,
            shared_ffn_size: match self.opt_u32(shared)? {
                None | Some(0) => 0,
                Some(_) => self.count(shared, MAX_WIDTH)?,
            },
            is_normalised: self.opt_bool("expert_weights_norm")?.unwrap_or(true),
            weight_scale: self.opt_scale("expert_weights_scale")?.unwrap_or(1.0),
        }))
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
        let factor = match self.opt_scale("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.opt_scale("rope.scale_linear")?,
        };
        let scaling = self.opt_string("rope.scaling.type")?;
        if let Some(other) = scaling.filter(|name| !scaling_types.contains(name)) {
            let problem = format!("supported are: {}", scaling_types.join(", "));
            return self.refuse("rope.scaling.type", other, problem);
        }
        let mut rope = RopeSpec {
            style,
            n_rot,
            theta: self.opt_positive("rope.freq_base")?.unwrap_or(10_000.0),
            linear_factor: match scaling {
                None | Some("linear" | "yarn") => factor.unwrap_or(1.0),
                Some(_) => 1.0,
            },
            yarn: None,
            factors: None,
            long: None,
            magnitude: self.opt_scale("rope.scaling.attn_factor")?.unwrap_or(1.0),
        };
        if scaling == Some("yarn") {
            self.yarn(&mut rope)?;
        }
        Ok(rope)
    }

    /// YaRN's keys. The magnitude is `0.1 ln factor + 1`, where the file does not state it, divided by the same with
    /// `yarn_log_multiplier` in place of 1, where that is stated.
    fn yarn(&self, rope: &mut RopeSpec) -> Result<(), LoadError> {
        let kept = "rope.scaling.yarn_ext_factor";
        let kept = match self.gguf.metadata().opt_f32(&self.key(kept))? {
            None => 1.0,
            Some(unset) if unset < 0.0 => 1.0,
            Some(value) if value <= 1.0 => value,
            Some(value) => return self.refuse(kept, value, "must be between 0 and 1"),
        };
        let original_context = match self.original_context()? {
            Some(n) => n,
            None => self.count("context_length", MAX_CONTEXT)?,
        };
        if kept > 0.0 {
            let growth = 0.1 * rope.linear_factor.max(1.0).ln();
            let by = self.opt_scale("rope.scaling.yarn_log_multiplier")?;
            let stated = self.opt_scale("rope.scaling.yarn_attn_factor")?;
            rope.magnitude *= match stated {
                Some(magnitude) => magnitude,
                None => (growth + 1.0) / (growth * by.unwrap_or(0.0) + 1.0),
            };
        }
        let beta = |name, default| Ok::<_, LoadError>(self.opt_positive(name)?.unwrap_or(default));
        rope.yarn = Some(YarnSpec {
            original_context,
            beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
            kept,
        });
        Ok(())
    }

    fn original_context(&self) -> Result<Option<usize>, LoadError> {
        self.opt_positions("rope.scaling.original_context_length")
    }

    /// Divisors of the frequencies that come as tensors: `rope_freqs`, or "longrope"'s two sets for short and for long
    /// sequences, which a file that states "longrope" must have.
    pub(super) fn divide_frequencies(&self, spec: &mut DecoderSpec) -> Result<(), LoadError> {
        const ALWAYS: &str = "rope_freqs.weight";
        const SHORT: &str = "rope_factors_short.weight";
        const LONG: &str = "rope_factors_long.weight";
        let is_stated = self.opt_string("rope.scaling.type")? == Some("longrope");
        if is_stated || self.has_tensor(SHORT) || self.has_tensor(LONG) {
            spec.rope.factors = Some(SHORT);
            spec.rope.long = Some(LongSpec {
                factors: LONG,
                beyond: self.original_context()?.unwrap_or(spec.context_length),
            });
        } else {
            spec.rope.factors = self.has_tensor(ALWAYS).then_some(ALWAYS);
        }
        Ok(())
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
