//! Tensors of a GGUF to packed weights, each checked by name, shape and type.
//!
//! A fused tensor (`attn_qkv`, rows q then k then v) is accepted wherever the three separate ones are: rows are
//! contiguous, so splitting is slicing.

use super::{
    AttentionShape, DecoderSpec, ExpertsSpec, Mixer,
    delta_net::DeltaNet,
    lora::{Slot, Targets},
    mixture::Mixture,
    per_layer::{LayerEmbedding, PerLayerTable},
    short_conv::ShortConv,
};
use crate::{LoadError, LoadProgress, MappedFile, memory};
use slm_gguf::{Gguf, TensorInfo};
use slm_kernels::{
    Compute, Matrix, PackError,
    format::{QuantType, dequantize},
};
use std::{borrow::Cow, cell::RefCell, collections::HashSet, ops::Range};

/// Weights of the whole decoder.
pub(super) struct Weights {
    pub(super) token_embd: Matrix,
    /// `None`: the embedding matrix is the head (tied).
    pub(super) output: Option<Linear>,
    pub(super) output_bias: Option<Vec<f32>>,
    pub(super) output_norm: Vec<f32>,
    /// Divisors of the RoPE frequencies.
    pub(super) rope_factors: Option<Vec<f32>>,
    /// In their place, for long sequences.
    pub(super) long_rope_factors: Option<Vec<f32>>,
    pub(super) per_layer: Option<PerLayerTable>,
    pub(super) layers: Vec<LayerWeights>,
}

/// Weights of one block.
pub(super) struct LayerWeights {
    pub(super) attn_norm: Vec<f32>,
    pub(super) mixer: MixerWeights,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) ffn_norm: Vec<f32>,
    pub(super) ffn: Ffn,
    pub(super) post_ffw_norm: Option<Vec<f32>>,
    pub(super) embedding: Option<LayerEmbedding>,
    /// Factor on the stream at the end of the block.
    pub(super) output_scale: Option<f32>,
}

/// What follows attention in a block.
pub(super) enum Ffn {
    Dense(Dense),
    Mixture(Mixture),
}

/// Weights of a feed-forward layer.
pub(super) struct Dense {
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) sub_norm: Option<Vec<f32>>,
    pub(super) down: Linear,
}

impl Dense {
    pub(super) fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }
}

/// Weights of what mixes tokens.
pub(super) enum MixerWeights {
    Attention(Box<AttentionWeights>),
    ShortConv(Box<ShortConv>),
    DeltaNet(Box<DeltaNet>),
}

/// Weights of an attention layer.
pub(super) struct AttentionWeights {
    pub(super) q: Linear,
    /// `None`: another layer's keys and values are read.
    pub(super) kv: Option<KvWeights>,
    /// Of what the heads give.
    pub(super) gate: Option<Linear>,
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) attn_sub_norm: Option<Vec<f32>>,
    pub(super) attn_output: Linear,
}

/// Weights of keys and values.
pub(super) struct KvWeights {
    pub(super) k: Linear,
    /// `None`: what `k` gives are the values too.
    pub(super) v: Option<Linear>,
    pub(super) k_norm: Option<Vec<f32>>,
    /// Ones, where values are normed.
    pub(super) v_norm: Option<Vec<f32>>,
}

/// `y = s · W x + b`.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    /// Factor on a whole matrix, as ternary ones have it (`NAME.scale`).
    pub(super) scale: Option<f32>,
    pub(super) bias: Option<Vec<f32>>,
    /// What adapters call it.
    pub(super) slot: Slot,
}

impl Weights {
    pub(super) fn load(loader: &Loader<'_>, spec: &DecoderSpec) -> Result<Self, LoadError> {
        let d = spec.hidden_size;
        let layers = (0..spec.n_layers)
            .map(|il| loader.layer(spec, il))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            token_embd: loader.matrix("token_embd.weight", spec.vocab_size, d)?,
            output: if loader.has("output.weight") {
                Some(loader.bare("output.weight", spec.vocab_size, d)?)
            } else {
                None
            },
            output_bias: loader.opt_vector("output.bias", spec.vocab_size)?,
            output_norm: loader.vector(&format!("{}.weight", spec.output_norm), d)?,
            rope_factors: match spec.rope.factors {
                Some(name) => Some(loader.divisors(name, spec.rope.n_rot / 2)?),
                None => None,
            },
            per_layer: PerLayerTable::load(loader, spec)?,
            long_rope_factors: match &spec.rope.long {
                Some(long) => Some(loader.divisors(long.factors, spec.rope.n_rot / 2)?),
                None => None,
            },
            layers,
        })
    }

    /// Bytes of all packed matrices.
    pub(super) fn size_bytes(&self) -> usize {
        let per_layer = self.per_layer.iter().flat_map(PerLayerTable::matrices);
        let layers = self.layers.iter().flat_map(LayerWeights::matrices);
        let output = self.output.iter().map(|linear| &linear.matrix);
        let matrices = layers.chain([&self.token_embd]).chain(output);
        matrices.chain(per_layer).map(Matrix::size_bytes).sum()
    }
}

impl LayerWeights {
    fn matrices(&self) -> Vec<&Matrix> {
        let mut linears = match &self.mixer {
            MixerWeights::Attention(weights) => {
                let kv = weights
                    .kv
                    .iter()
                    .flat_map(|kv| [Some(&kv.k), kv.v.as_ref()]);
                let kv = kv.flatten();
                let others = [&weights.q, &weights.attn_output];
                kv.chain(others).chain(&weights.gate).collect()
            }
            MixerWeights::ShortConv(weights) => weights.linears(),
            MixerWeights::DeltaNet(weights) => weights.linears(),
        };
        linears.extend(self.embedding.iter().flat_map(LayerEmbedding::linears));
        let mut matrices: Vec<&Matrix> = linears.iter().map(|linear| &linear.matrix).collect();
        match &self.ffn {
            Ffn::Dense(dense) => matrices.extend(dense.linears().map(|linear| &linear.matrix)),
            Ffn::Mixture(mixture) => matrices.extend(mixture.matrices()),
        }
        matrices
    }
}

/// Bytes that the tensors of a file take once they are packed (as they are, where they cannot be).
pub(crate) fn packed_bytes(gguf: &Gguf<'_>) -> u64 {
    let packed = |info: &TensorInfo<'_>| {
        if info.name.ends_with("conv.weight") || info.name.ends_with("conv1d.weight") {
            // factors of a convolution are no matrix
            return usize::try_from(info.n_elements())
                .ok()?
                .checked_mul(size_of::<f32>());
        }
        let (n_cols, n_rows, n_matrices) = match *info.shape.as_slice() {
            [n_cols, n_rows] => (n_cols, n_rows, 1),
            [n_cols, n_rows, n_matrices] => (n_cols, n_rows, n_matrices),
            _ => return None,
        };
        let quant_type = QuantType::from_id(info.tensor_type.id())?;
        Matrix::packed_bytes(quant_type, n_rows.try_into().ok()?, n_cols.try_into().ok()?)?
            .checked_mul(n_matrices.try_into().ok()?)
    };
    let sizes = gguf.tensors().iter();
    sizes
        .map(|info| packed(info).unwrap_or(info.size_bytes) as u64)
        .fold(0, u64::saturating_add)
}

/// Tensors that a file may have for others: encoders of images and sound, and blocks that draft tokens ahead.
const OTHERS: [&str; 4] = ["v.", "a.", "mm.", "mtp."];

/// Takes tensors out of a file, and knows which were taken.
pub(super) struct Loader<'a> {
    files: &'a [MappedFile],
    gguf: &'a Gguf<'a>,
    compute: &'a Compute,
    /// Names of the tensors that were asked for.
    used: RefCell<HashSet<&'a str>>,
    /// What was loaded to be multiplied with.
    targets: RefCell<Targets>,
    /// Told of what is packed.
    progress: Option<&'a LoadProgress>,
}

impl<'a> Loader<'a> {
    /// `gguf` is what `files` hold.
    pub(super) fn new(files: &'a [MappedFile], gguf: &'a Gguf<'a>, compute: &'a Compute) -> Self {
        Self {
            files,
            gguf,
            compute,
            used: RefCell::default(),
            targets: RefCell::default(),
            progress: None,
        }
    }

    /// The same, which tells how far it is.
    pub(super) fn telling(self, progress: Option<&'a LoadProgress>) -> Self {
        if let Some(progress) = progress {
            let sizes = self
                .gguf
                .tensors()
                .iter()
                .map(|info| info.size_bytes as u64);
            progress.begin(sizes.fold(0, u64::saturating_add));
        }
        Self { progress, ..self }
    }

    /// What was loaded so far that adapters can change.
    pub(super) fn take_targets(&self) -> Targets {
        self.targets.take()
    }

    /// Rows of a matrix of `n_cols` columns, where there is one of that name.
    pub(super) fn n_rows(&self, name: &str, n_cols: usize) -> Result<Option<usize>, LoadError> {
        let Some(info) = self.gguf.tensor(name) else {
            return Ok(None);
        };
        let n_rows = info.shape.get(1).copied().unwrap_or(1);
        self.shaped(name, &[n_cols as u64, n_rows])?;
        usize::try_from(n_rows).map(Some).map_err(|_| ragged(info))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// Notes that nothing needs this tensor, whether it is there or not.
    fn pass_over(&self, name: &str) {
        let info = self.gguf.tensor(name);
        self.used.borrow_mut().extend(info.map(|info| info.name));
    }

    /// A tensor that nothing asked for belongs to a computation that is not this one. Blocks behind the last one that
    /// the file counts but the decoder does not have are those that draft tokens.
    pub(super) fn refuse_unused(&self, n_layers: usize) -> Result<(), LoadError> {
        let used = self.used.borrow();
        let metadata = self.gguf.metadata();
        let architecture = metadata.string("general.architecture")?;
        let n_blocks = metadata.u32(&format!("{architecture}.block_count"))? as usize;
        let is_drafting = |name: &str| {
            let block = name.strip_prefix("blk.").and_then(|n| n.split_once('.'));
            let index = block.and_then(|(index, _)| index.parse::<usize>().ok());
            let is_behind = |i| (n_layers..n_blocks).contains(&i) || name.contains(".nextn.");
            index.is_some_and(|i| i >= n_layers && is_behind(i))
        };
        let is_unknown = |name: &str| {
            let is_others = OTHERS.iter().any(|prefix| name.starts_with(prefix));
            !used.contains(name) && !is_others && !is_drafting(name)
        };
        match self.gguf.tensors().iter().find(|t| is_unknown(t.name)) {
            None => Ok(()),
            Some(unknown) => Err(LoadError::Tensor {
                name: unknown.name.to_owned(),
                problem: "has no place in this architecture as it is known here, so that texts would be wrong without it".into(),
            }),
        }
    }

    fn layer(&self, spec: &DecoderSpec, il: usize) -> Result<LayerWeights, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let d = spec.hidden_size;
        let extras = &spec.extras;
        let norm = |is_there: bool, tensor: &str, len: usize| {
            let norm = is_there.then(|| self.vector(&name(&format!("{tensor}.weight")), len));
            norm.transpose()
        };
        let block = spec.block(il);
        let mixer = match block.mixer {
            Mixer::Attention(shape) => {
                MixerWeights::Attention(Box::new(self.attention(spec, &shape, il)?))
            }
            Mixer::ShortConv(n_taps) => {
                MixerWeights::ShortConv(Box::new(ShortConv::load(self, il, n_taps, d)?))
            }
            Mixer::DeltaNet(delta_net) => {
                MixerWeights::DeltaNet(Box::new(DeltaNet::load(self, il, &delta_net, d)?))
            }
        };
        Ok(LayerWeights {
            attn_norm: self.vector(&name("attn_norm.weight"), d)?,
            mixer,
            post_attention_norm: norm(extras.post_norms, "post_attention_norm", d)?,
            ffn_norm: self.vector(&name(&format!("{}.weight", spec.ffn_norm)), d)?,
            ffn: match &spec.experts {
                Some(experts) if self.is_mixture(il) => {
                    Ffn::Mixture(self.mixture(spec, experts, il)?)
                }
                _ => {
                    let [gate, up] = self.gate_up(spec, il)?;
                    Ffn::Dense(Dense {
                        gate,
                        up,
                        sub_norm: norm(extras.sub_norms, "ffn_sub_norm", block.ffn_size)?,
                        down: self.linear(&name("ffn_down"), d, block.ffn_size)?,
                    })
                }
            },
            post_ffw_norm: norm(extras.post_norms, "post_ffw_norm", d)?,
            embedding: LayerEmbedding::load(self, spec, il)?,
            output_scale: self.scalar(&name("layer_output_scale.weight"))?,
        })
    }

    fn attention(
        &self,
        spec: &DecoderSpec,
        shape: &AttentionShape,
        il: usize,
    ) -> Result<AttentionWeights, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let extras = &spec.extras;
        let head_norm = |tensor: &str| {
            let norm = extras
                .qk_norms
                .then(|| self.vector(&name(&format!("{tensor}.weight")), shape.head_dim));
            norm.transpose()
        };
        let heads = shape.n_heads * shape.v_head_dim;
        let QueryKeyValue { q, gate, kv } = self.qkv(spec, shape, il)?;
        let kv = match kv {
            Some((k, v)) => Some(KvWeights {
                k,
                v,
                k_norm: head_norm("attn_k_norm")?,
                v_norm: extras.value_norms.then(|| vec![1.0; shape.v_head_dim]),
            }),
            None => {
                // files may have those that training left behind
                for tensor in ["attn_k", "attn_k_norm", "attn_v"] {
                    self.pass_over(&name(&format!("{tensor}.weight")));
                }
                None
            }
        };
        let sub_norm = extras
            .sub_norms
            .then(|| self.vector(&name("attn_sub_norm.weight"), heads));
        Ok(AttentionWeights {
            q,
            kv,
            gate,
            q_norm: head_norm("attn_q_norm")?,
            attn_sub_norm: sub_norm.transpose()?,
            attn_output: self.linear(&name("attn_output"), spec.hidden_size, heads)?,
        })
    }

    fn qkv(
        &self,
        spec: &DecoderSpec,
        shape: &AttentionShape,
        il: usize,
    ) -> Result<QueryKeyValue, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let (d, extras) = (spec.hidden_size, &spec.extras);
        let k_rows = shape.n_kv_heads * shape.head_dim;
        let v_rows = shape.n_kv_heads * shape.v_head_dim;
        // the rows of a head, then those of its gate, as often as there are heads
        let head_rows = shape.head_dim * if extras.attention_gates { 2 } else { 1 };
        let q_rows = shape.n_heads * head_rows;
        let of_heads = |part: Range<usize>| {
            let heads = (0..shape.n_heads).map(move |head| head * head_rows);
            heads.map(move |first| first + part.start..first + part.end)
        };
        let q_parts = || match extras.attention_gates {
            false => vec![run(0..q_rows)],
            true => {
                let gate = shape.head_dim..2 * shape.head_dim;
                [0..shape.head_dim, gate]
                    .map(|part| of_heads(part).collect())
                    .into()
            }
        };
        let fused = self.gguf.tensor(&name("attn_qkv.weight")).is_some();
        let (mut parts, mut kv) = if fused {
            let (k_end, v_end) = (q_rows + k_rows, q_rows + k_rows + v_rows);
            let mut parts = q_parts();
            parts.extend([run(q_rows..k_end), run(k_end..v_end)]);
            let mut parts = self.parts(&name("attn_qkv"), v_end, d, &parts)?;
            let mut kv = parts.split_off(parts.len() - 2);
            let queries = parts.iter_mut().take(1);
            for (part, stem) in queries.chain(&mut kv).zip(["attn_q", "attn_k", "attn_v"]) {
                if part.bias.is_none() {
                    let bias = name(&format!("{stem}.bias"));
                    part.bias = self.opt_vector(&bias, part.matrix.n_rows())?;
                }
            }
            (parts, kv)
        } else {
            let parts = self.parts(&name("attn_q"), q_rows, d, &q_parts())?;
            let is_there = |tensor: &str| self.gguf.tensor(&name(tensor)).is_some();
            let mut kv = Vec::new();
            if shape.kv_of.is_none() {
                kv.push(self.linear(&name("attn_k"), k_rows, d)?);
                if !extras.value_norms || is_there("attn_v.weight") {
                    kv.push(self.linear(&name("attn_v"), v_rows, d)?);
                }
            }
            (parts, kv)
        };
        if extras.qkv_biases {
            let stems =
                ["attn_q", "attn_k", "attn_v"].map(|stem| if fused { "attn_qkv" } else { stem });
            let bare = |(linear, _): &(&Linear, &str)| linear.bias.is_none();
            if let Some((_, stem)) = parts.iter().chain(&kv).zip(stems).find(bare) {
                return Err(missing(&name(&format!("{stem}.bias"))));
            }
        }
        let v = (kv.len() > 1).then(|| kv.pop()).flatten();
        let k = kv.pop().filter(|_| shape.kv_of.is_none());
        let gate = (parts.len() > 1).then(|| parts.pop()).flatten();
        let Some(q) = parts.pop() else {
            unreachable!("the queries are the first part")
        };
        Ok(QueryKeyValue {
            q,
            gate,
            kv: k.map(|k| (k, v)),
        })
    }

    fn gate_up(&self, spec: &DecoderSpec, il: usize) -> Result<[Linear; 2], LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let (d, rows) = (spec.hidden_size, spec.block(il).ffn_size);
        if spec.extras.fused_gate_up {
            return self.fused(&name("ffn_up"), [rows; 2], d);
        }
        Ok([
            self.linear(&name("ffn_gate"), rows, d)?,
            self.linear(&name("ffn_up"), rows, d)?,
        ])
    }

    /// Of a model with experts, layers may be dense all the same: they have a gate and no router.
    fn is_mixture(&self, il: usize) -> bool {
        let has = |tensor: &str| self.gguf.tensor(&format!("blk.{il}.{tensor}")).is_some();
        has("ffn_gate_inp.weight") || !has("ffn_gate.weight")
    }

    fn mixture(
        &self,
        spec: &DecoderSpec,
        experts: &ExpertsSpec,
        il: usize,
    ) -> Result<Mixture, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.{tensor}");
        let (d, size) = (spec.hidden_size, experts.ffn_size);
        let n = experts.n_experts;
        let router = self.bare(&name("ffn_gate_inp.weight"), n, d)?;
        let fused = name("ffn_gate_up_exps");
        let [gate, up] = if self.gguf.tensor(&format!("{fused}.weight")).is_some() {
            self.stack(&fused, n, [size; 2], d)?
        } else {
            let [gate] = self.stack(&name("ffn_gate_exps"), n, [size], d)?;
            let [up] = self.stack(&name("ffn_up_exps"), n, [size], d)?;
            [gate, up]
        };
        let [down] = self.stack(&name("ffn_down_exps"), n, [d], size)?;
        let shared = match experts.shared_ffn_size {
            0 => None,
            size => Some(Dense {
                gate: self.linear(&name("ffn_gate_shexp"), size, d)?,
                up: self.linear(&name("ffn_up_shexp"), size, d)?,
                sub_norm: None,
                down: self.linear(&name("ffn_down_shexp"), d, size)?,
            }),
        };
        Ok(Mixture {
            router,
            gate,
            up,
            down,
            shared,
        })
    }

    pub(super) fn linear(
        &self,
        stem: &str,
        n_rows: usize,
        n_cols: usize,
    ) -> Result<Linear, LoadError> {
        Ok(Linear {
            scale: self.scale(stem)?,
            bias: self.opt_vector(&format!("{stem}.bias"), n_rows)?,
            ..self.bare(&format!("{stem}.weight"), n_rows, n_cols)?
        })
    }

    /// A matrix without scale and bias.
    fn bare(&self, name: &str, n_rows: usize, n_cols: usize) -> Result<Linear, LoadError> {
        let matrix = self.matrix(name, n_rows, n_cols)?;
        let parts = [(0, run(0..n_rows))];
        let slots = self.target(name, [1, n_rows, n_cols], parts);
        Ok(Linear {
            matrix,
            scale: None,
            bias: None,
            slot: slots[0],
        })
    }

    /// See [`Targets::add`].
    fn target(
        &self,
        name: &str,
        shape: [usize; 3],
        parts: impl IntoIterator<Item = (usize, Vec<Range<usize>>)>,
    ) -> Vec<Slot> {
        self.targets.borrow_mut().add(name, shape, parts)
    }

    fn scale(&self, stem: &str) -> Result<Option<f32>, LoadError> {
        self.scalar(&format!("{stem}.scale"))
    }

    /// The value of a tensor of one, if there is such.
    fn scalar(&self, name: &str) -> Result<Option<f32>, LoadError> {
        let values = self.opt_vector(name, 1)?;
        Ok(values.and_then(|values| values.first().copied()))
    }

    /// Splits one tensor into consecutive groups of rows.
    pub(super) fn fused<const N: usize>(
        &self,
        stem: &str,
        rows: [usize; N],
        n_cols: usize,
    ) -> Result<[Linear; N], LoadError> {
        let mut end = 0;
        let parts = rows.map(|n| {
            end += n;
            run(end - n..end)
        });
        let parts = self.parts(stem, end, n_cols, &parts)?;
        let Ok(parts) = <[Linear; N]>::try_from(parts) else {
            unreachable!("there is one part for each of the N groups")
        };
        Ok(parts)
    }

    /// Makes a matrix of each of `parts`, which are ranges of rows of one tensor.
    fn parts(
        &self,
        stem: &str,
        n_rows: usize,
        n_cols: usize,
        parts: &[Vec<Range<usize>>],
    ) -> Result<Vec<Linear>, LoadError> {
        let name = format!("{stem}.weight");
        let info = self.shaped(&name, &[n_cols as u64, n_rows as u64])?;
        let bias = self.opt_vector(&format!("{stem}.bias"), n_rows)?;
        let scale = self.scale(stem)?;
        let of_one = parts.iter().map(|ranges| (0, ranges.clone()));
        let slots = self.target(&name, [1, n_rows, n_cols], of_one);
        let part = |(ranges, slot): (&Vec<Range<usize>>, Slot)| {
            let bias = bias.as_ref().map(|bias| {
                let rows = ranges.iter().flat_map(|rows| &bias[rows.clone()]);
                rows.copied().collect()
            });
            let matrix = self.rows_of(info, ranges, n_cols)?;
            Ok(Linear {
                matrix,
                scale,
                bias,
                slot,
            })
        };
        parts.iter().zip(slots).map(part).collect()
    }

    /// Rows of a tensor of matrices of `n_cols` columns, as a matrix.
    fn rows_of(
        &self,
        info: &TensorInfo<'a>,
        ranges: &[Range<usize>],
        n_cols: usize,
    ) -> Result<Matrix, LoadError> {
        let quant_type = quant_type(info)?;
        let bytes = self.rows(info, quant_type, n_cols, ranges)?;
        let n_rows = ranges.iter().map(ExactSizeIterator::len).sum();
        self.pack(info, quant_type, n_rows, n_cols, &bytes)
    }

    /// The bytes of a tensor of some rows of another.
    fn rows(
        &self,
        info: &TensorInfo<'a>,
        quant_type: QuantType,
        n_cols: usize,
        ranges: &[Range<usize>],
    ) -> Result<Cow<'a, [u8]>, LoadError> {
        let data = self.gguf.tensor_data(info);
        let part = |rows: &Range<usize>| {
            let part = quant_type.part(data, rows.start * n_cols..rows.end * n_cols);
            part.ok_or_else(|| ragged(info))
        };
        match ranges {
            [rows] => part(rows),
            _ => {
                let mut all = Vec::new();
                for rows in ranges {
                    // what follows the blocks of a tensor comes once, at the very end
                    all.truncate(all.len().saturating_sub(quant_type.tail_bytes()));
                    all.extend_from_slice(&part(rows)?);
                }
                Ok(all.into())
            }
        }
    }

    /// Splits one tensor of `n` matrices into those, and the rows of each into consecutive groups.
    fn stack<const N: usize>(
        &self,
        stem: &str,
        n: usize,
        rows: [usize; N],
        n_cols: usize,
    ) -> Result<[Vec<Linear>; N], LoadError> {
        let n_rows: usize = rows.iter().sum();
        let shape = [n_cols as u64, n_rows as u64, n as u64];
        let name = format!("{stem}.weight");
        let info = self.shaped(&name, &shape)?;
        let scales = self.opt_vector(&format!("{stem}.scale"), n)?;
        let mut first = 0;
        let cuts = (0..n).flat_map(|i| rows.map(|n_rows| (i, n_rows)));
        let cuts = cuts.map(|(i, n_rows)| {
            first += n_rows;
            (i, run(first - n_rows..first))
        });
        let cuts: Vec<(usize, Vec<Range<usize>>)> = cuts.collect();
        let slots = self.target(&name, [n, n_rows, n_cols], cuts.iter().cloned());
        let mut parts = [const { Vec::new() }; N];
        for (k, ((i, rows), slot)) in cuts.into_iter().zip(slots).enumerate() {
            parts[k % N].push(Linear {
                matrix: self.rows_of(info, &rows, n_cols)?,
                scale: scales.as_ref().map(|scales| scales[i]),
                bias: None,
                slot,
            });
        }
        Ok(parts)
    }

    pub(super) fn matrix(
        &self,
        name: &str,
        n_rows: usize,
        n_cols: usize,
    ) -> Result<Matrix, LoadError> {
        let info = self.shaped(name, &[n_cols as u64, n_rows as u64])?;
        self.pack(
            info,
            quant_type(info)?,
            n_rows,
            n_cols,
            self.gguf.tensor_data(info),
        )
    }

    /// Rows of a tensor of `n_matrices` matrices of this shape, counted through all of them, as a matrix.
    pub(super) fn part(
        &self,
        name: &str,
        [n_matrices, n_rows, n_cols]: [usize; 3],
        ranges: &[Range<usize>],
    ) -> Result<Matrix, LoadError> {
        let shape = [n_cols as u64, n_rows as u64, n_matrices as u64];
        let n_dimensions = if n_matrices == 1 { 2 } else { 3 };
        let info = self.shaped(name, &shape[..n_dimensions])?;
        self.rows_of(info, ranges, n_cols)
    }

    fn pack(
        &self,
        info: &TensorInfo<'_>,
        quant_type: QuantType,
        n_rows: usize,
        n_cols: usize,
        bytes: &[u8],
    ) -> Result<Matrix, LoadError> {
        let packed = Matrix::pack(self.compute, quant_type, n_rows, n_cols, bytes);
        self.files.iter().for_each(|file| file.release(bytes));
        if let Some(progress) = self.progress {
            progress.add(bytes.len());
        }
        packed.map_err(|e| match e {
            PackError::OutOfMemory { size_bytes } => LoadError::OutOfMemory {
                needed_bytes: size_bytes as u64,
                available_bytes: memory::available_bytes().unwrap_or(0),
            },
            e => LoadError::Tensor {
                name: info.name.to_owned(),
                problem: e.to_string(),
            },
        })
    }

    /// A vector of `len` values, expanded to f32.
    pub(super) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.values(self.shaped(name, &[len as u64])?, len)
    }

    /// The taps of a convolution of each channel, `[n_taps, n_channels]`; the file has them channel by channel.
    pub(super) fn taps(
        &self,
        name: &str,
        n_taps: usize,
        n_channels: usize,
    ) -> Result<Vec<f32>, LoadError> {
        let info = self.shaped(name, &[n_taps as u64, n_channels as u64])?;
        let values = self.values(info, n_taps * n_channels)?;
        let tap = |tap| values.iter().skip(tap).step_by(n_taps);
        Ok((0..n_taps).flat_map(tap).copied().collect())
    }

    /// All `len` values of a tensor.
    fn values(&self, info: &TensorInfo<'_>, len: usize) -> Result<Vec<f32>, LoadError> {
        let quant_type = quant_type(info)?;
        if quant_type.row_bytes(len).is_none() {
            return Err(ragged(info));
        }
        let mut values = vec![0.0; len];
        dequantize(quant_type, self.gguf.tensor_data(info), &mut values);
        Ok(values)
    }

    pub(super) fn opt_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, LoadError> {
        self.gguf
            .tensor(name)
            .map(|_| self.vector(name, len))
            .transpose()
    }

    /// A vector to divide by.
    fn divisors(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let values = self.vector(name, len)?;
        match values.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            None => Ok(values),
            Some(bad) => Err(LoadError::Tensor {
                name: name.to_owned(),
                problem: format!("has the value {bad}, where only numbers above zero make sense"),
            }),
        }
    }

    /// The tensor called `name`, which must have this shape (fastest dimension first; trailing ones do not count).
    fn shaped(&self, name: &str, shape: &[u64]) -> Result<&'a TensorInfo<'a>, LoadError> {
        let info = self.gguf.tensor(name).ok_or_else(|| missing(name))?;
        self.used.borrow_mut().insert(info.name);
        let found = info
            .shape
            .strip_suffix(&[1])
            .filter(|s| s.len() >= shape.len())
            .unwrap_or(&info.shape);
        if found == shape {
            return Ok(info);
        }
        Err(LoadError::Tensor {
            name: name.to_owned(),
            problem: format!("has shape {:?} instead of {shape:?}", info.shape),
        })
    }
}

/// The projections of an attention layer's input.
struct QueryKeyValue {
    q: Linear,
    gate: Option<Linear>,
    /// `None`: those of another layer are used.
    kv: Option<(Linear, Option<Linear>)>,
}

/// Rows that follow each other.
fn run(rows: Range<usize>) -> Vec<Range<usize>> {
    Vec::from([rows])
}

pub(super) fn missing(name: &str) -> LoadError {
    LoadError::Tensor {
        name: name.to_owned(),
        problem: "is missing".to_owned(),
    }
}

fn quant_type(info: &TensorInfo<'_>) -> Result<QuantType, LoadError> {
    QuantType::from_id(info.tensor_type.id()).ok_or_else(|| LoadError::Tensor {
        name: info.name.to_owned(),
        problem: format!(
            "has type {}, which cannot be computed with yet",
            info.tensor_type.name()
        ),
    })
}

fn ragged(info: &TensorInfo<'_>) -> LoadError {
    LoadError::Tensor {
        name: info.name.to_owned(),
        problem: format!(
            "has rows that blocks of {} do not divide",
            info.tensor_type.name()
        ),
    }
}
