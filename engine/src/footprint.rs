//! What a model takes of the memory, known before it is loaded: what is promised then is kept.

use crate::{
    KvCache, LoadError, LoadOptions, ModelFiles,
    model::{DecoderSpec, Scratch, Shape, attention_scratch_bytes, packed_bytes, prefill_chunk},
};
use slm_gguf::Gguf;
use slm_kernels::{KvPool, KvType, Matrix, format::QuantType};
use std::{collections::HashMap, fmt, path::Path};

/// Bytes of a tokenizer for each entry of the vocabulary, measured on vocabularies of 49k to 262k (55 to 72), and of
/// whatever else a loaded model has besides matrices and buffers.
const VOCABULARY_ENTRY: u64 = 80;
const SMALL_THINGS: u64 = 4 << 20;
/// Buffers of an encoder for each token, in rows of its widest layer.
const ENCODER_ROWS: u64 = 10;

/// What a model takes of the memory.
#[derive(Clone)]
pub struct Footprint {
    /// Packed weights.
    pub weights_bytes: u64,
    /// Buffers of the widest step, at most.
    pub scratch_bytes: u64,
    /// About what the tokenizer takes, and all that is small.
    pub other_bytes: u64,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// An empty state; `None` for encoders, which have none.
    state: Option<KvCache>,
    /// Of the model that guesses. Its fixed bytes are in those above.
    draft: Option<Box<Footprint>>,
}

impl Footprint {
    /// Reads the head of a model file, and those of the others beside it where the model is split.
    ///
    /// # Errors
    /// Whatever makes the file unusable, as far as its head shows; see [`LoadError`].
    pub fn read(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        Self::of(&ModelFiles::open(path)?, options)
    }

    /// The same of files that somebody has opened.
    ///
    /// # Errors
    /// As [`Footprint::read`].
    pub fn of(files: &ModelFiles, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut footprint = Self::alone(files, options)?;
        if let Some(path) = &options.draft {
            let draft = Self::alone(&ModelFiles::open(path)?, options)?;
            footprint.weights_bytes += draft.weights_bytes;
            footprint.scratch_bytes += draft.scratch_bytes;
            footprint.other_bytes += draft.other_bytes;
            footprint.draft = Some(Box::new(draft));
        }
        Ok(footprint)
    }

    fn alone(files: &ModelFiles, options: &LoadOptions) -> Result<Self, LoadError> {
        let gguf = &files.gguf()?;
        let weights_bytes = packed_bytes(gguf);
        let shape = Shape::read(gguf)?;
        let vocab_size = shape.vocab_size() as u64;
        let other_bytes = SMALL_THINGS + VOCABULARY_ENTRY * vocab_size;
        Ok(match shape {
            Shape::Decoder {
                spec,
                makes_vectors,
            } => {
                let n_threads = options.threads().prefill;
                let kv_type = if makes_vectors {
                    KvType::F32
                } else {
                    options.kv_type
                };
                Self {
                    weights_bytes,
                    scratch_bytes: scratch_bytes(gguf, &spec, options.n_parallel.max(1), n_threads),
                    other_bytes,
                    context_length: spec.context_length,
                    state: Some(KvCache::new(&spec, kv_type, &KvPool::default())),
                    draft: None,
                }
            }
            Shape::Encoder { spec, longest } => {
                let widest = spec.hidden_size.max(spec.ffn_size) as u64;
                Self {
                    weights_bytes,
                    scratch_bytes: 4 * ENCODER_ROWS * widest * longest as u64,
                    other_bytes,
                    context_length: spec.context_length,
                    state: None,
                    draft: None,
                }
            }
        })
    }

    /// Bytes of the keys and values, or of the other states, of a sequence of so many positions.
    pub fn kv_bytes(&self, n_positions: usize) -> u64 {
        let state = self.state.as_ref();
        let own = state.map_or(0, |state| state.bytes_at(n_positions));
        let draft = self.draft.as_ref();
        own.saturating_add(draft.map_or(0, |draft| draft.kv_bytes(n_positions)))
    }

    /// All but keys and values.
    pub fn fixed_bytes(&self) -> u64 {
        [self.weights_bytes, self.scratch_bytes, self.other_bytes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// The longest sequence whose state takes at most `kv_bytes`, of those that the model was trained for.
    pub fn longest_in(&self, kv_bytes: u64) -> usize {
        let lengths: Vec<usize> = (0..usize::BITS)
            .rev()
            .map(|bit| 1 << bit)
            .filter(|&step| step <= self.context_length)
            .collect();
        lengths.into_iter().fold(0, |len, step| {
            let longer = len + step;
            if longer <= self.context_length && self.kv_bytes(longer) <= kv_bytes {
                longer
            } else {
                len
            }
        })
    }
}

impl fmt::Debug for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Footprint")
            .field("weights_bytes", &self.weights_bytes)
            .field("scratch_bytes", &self.scratch_bytes)
            .field("other_bytes", &self.other_bytes)
            .field("context_length", &self.context_length)
            .finish_non_exhaustive()
    }
}

/// Buffers of a step with a full chunk of a prompt beside `n_parallel` answers.
fn scratch_bytes(gguf: &Gguf<'_>, spec: &DecoderSpec, n_parallel: usize, n_threads: usize) -> u64 {
    let n_logits = n_parallel.max(crate::runtime::GUESSED_TOGETHER);
    let n_tokens = if spec.is_causal {
        prefill_chunk(spec) + n_logits
    } else {
        spec.context_length
    };
    let n_used = spec.experts.as_ref().map_or(1, |experts| experts.n_used);
    // records of activations, by how matrices want them
    let mut records: HashMap<_, usize> = HashMap::new();
    for info in gguf.tensors() {
        let (Some(quant_type), Some(&n_cols)) = (
            QuantType::from_id(info.tensor_type.id()),
            info.shape.first(),
        ) else {
            continue;
        };
        let n_rows = match info.shape.len() {
            2 if ["output.weight", "token_embd.weight"].contains(&info.name) => n_logits,
            2 => n_tokens,
            3 => n_tokens * n_used,
            _ => continue,
        };
        let bytes = Matrix::activation_bytes(quant_type, n_cols as usize, n_rows);
        let most = records
            .entry(Matrix::activation_kind(quant_type))
            .or_default();
        *most = bytes.max(*most);
    }
    let values = n_tokens * Scratch::values_of_token(spec) + n_logits * spec.vocab_size;
    let partials = attention_scratch_bytes(spec, n_threads);
    (records.into_values().sum::<usize>() + values * size_of::<f32>() + partials) as u64
}
