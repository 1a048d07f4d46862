//! A model as data and arithmetic: what its file says ([`DecoderSpec`]), its packed weights, and the forward pass.
//!
//! [`ARCHITECTURES`] is the table of what is known: one line and one file per family. All of them share one decoder
//! ([`decoder`]) that reads the spec; there is no `match` on an architecture outside this folder. Families that only
//! make vectors stand in [`ENCODERS`] and share the [`encoder`].

mod bert;
mod bitnet;
mod decoder;
mod delta_net;
mod encoder;
mod gemma2;
mod gemma3;
mod gemma4;
mod gemma_embedding;
mod granite;
mod ignored;
mod lfm2;
mod llama;
mod loaded;
mod lora;
mod mixture;
mod nomic_bert;
mod per_layer;
mod phi3;
mod pooling;
mod projection;
mod qwen2;
mod qwen3;
mod qwen35;
mod qwen3moe;
mod rope;
mod shards;
mod short_conv;
mod smollm3;
mod spec;
mod weights;

pub use decoder::{Decoder, LogitsFor, Part, Scratch};
pub use encoder::{Encoder, EncoderSpec, Ffn, Positions};
pub use lora::{Adapter, Adapters};
pub use pooling::Pooling;
pub use shards::ModelFiles;
pub use spec::{
    AttentionShape, BlockSpec, DecoderSpec, DeltaNetSpec, ExpertsSpec, Extras, Gate, LongSpec,
    Mixer, RopeSpec, SlidingSpec, YarnSpec,
};

pub(crate) use encoder::Scratch as EncoderScratch;
pub(crate) use loaded::{EncoderModel, Loaded};
pub(crate) use lora::WeakAdapter;
pub(crate) use pooling::Pooled;
pub(crate) use weights::packed_bytes;

use crate::{LoadError, LoadOptions, Tokenizer, kv_cache::MAX_STEP, memory};
use pooling::VectorHead;
use slm_gguf::Gguf;
use slm_kernels::{AttentionScratch, Compute, GiveBack, KvType};
use spec::Hparams;
use std::path::Path;
use weights::{Loader, Weights};

/// Values of the widest buffer of a step: it bounds the chunk for models of outlandish shapes.
const WIDEST_BUFFER: usize = 16 << 20;

/// Reads what is special about one architecture.
type ReadSpec = fn(&Hparams<'_>) -> Result<DecoderSpec, LoadError>;

/// GGUF `general.architecture` → how it differs from the shared decoder. A new family is one line here.
const ARCHITECTURES: &[(&str, ReadSpec)] = &[
    ("llama", llama::spec),
    ("qwen3", qwen3::spec),
    ("qwen3moe", qwen3moe::spec),
    ("qwen2", qwen2::spec),
    ("gemma3", gemma3::spec),
    ("gemma2", gemma2::spec),
    ("smollm3", smollm3::spec),
    ("granite", granite::spec),
    ("granitemoe", granite::spec),
    ("phi3", phi3::spec),
    ("bitnet", bitnet::spec),
    ("bitnet-b1.58", bitnet::spec_b158),
    ("lfm2", lfm2::spec),
    ("qwen35", qwen35::spec),
    ("gemma4", gemma4::spec),
    ("gemma-embedding", gemma_embedding::spec),
];

/// Reads what is special about one architecture of encoders.
type ReadEncoderSpec = fn(&Hparams<'_>) -> Result<EncoderSpec, LoadError>;

/// The same for families that make vectors and no text.
const ENCODERS: &[(&str, ReadEncoderSpec)] =
    &[("bert", bert::spec), ("nomic-bert", nomic_bert::spec)];

/// Whether models of this `general.architecture` make vectors and no text.
pub fn is_encoder(architecture: &str) -> bool {
    matches!(reader(architecture), Some(Reader::Encoder(_)))
}

/// A loaded model that writes text: the synchronous core that the engine thread and the diagnostics share.
pub struct Model {
    decoder: Decoder,
    head: VectorHead,
    tokenizer: Tokenizer,
    chat_template: Option<String>,
    architecture: String,
    _last: GiveBack,
}

impl Model {
    /// Maps, checks and packs a GGUF file, with the others beside it where the model is split. The map is released
    /// before this returns: packed weights replace it.
    ///
    /// # Errors
    /// Whatever makes the file unusable or too large, or a model that makes vectors only; see [`LoadError`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        match Loaded::load(&ModelFiles::open(path)?, options)? {
            Loaded::Decoder(model) if model.decoder.spec().is_causal => Ok(*model),
            _ => Err(LoadError::NoText),
        }
    }

    /// Maps, checks and packs an adapter's GGUF file for this model, whose weights stay as they are.
    ///
    /// # Errors
    /// A file that is no adapter, or one that does not fit this model in every tensor; see [`LoadError`].
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, LoadError> {
        let base = lora::Base {
            architecture: &self.architecture,
            spec: self.decoder.spec(),
            targets: self.decoder.targets(),
            isa: self.decoder.compute().isa(),
        };
        Adapter::load(path, &base)
    }

    /// The forward pass.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The Jinja chat template that the file carries.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }
}

/// Loads a model of any kind.
fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let gguf = files.gguf()?;
    let (hparams, spec) = read_spec(&gguf)?;
    let pooling = Pooling::read(&hparams)?;
    let n_tokens = match &spec {
        Spec::Decoder(spec) if spec.spare_tokens => spec.vocab_size,
        _ => usize::MAX,
    };
    let tokenizer = Tokenizer::of_first(gguf.metadata(), n_tokens)?;
    let architecture = gguf.metadata().string("general.architecture")?.to_owned();
    let chat_template = gguf
        .metadata()
        .opt_string("tokenizer.chat_template")?
        .map(str::to_owned);
    memory::check(weights::packed_bytes(&gguf))?;
    let compute = compute(options)?;
    let loader =
        Loader::new(files.as_slice(), &gguf, &compute).telling(options.progress.as_deref());
    match spec {
        Spec::Decoder(spec) => {
            check_vocabulary(spec.vocab_size, &tokenizer)?;
            let weights = Weights::load(&loader, &spec)?;
            let targets = loader.take_targets();
            let last = pooling.unwrap_or(Pooling::Last);
            let head = VectorHead::load(&loader, last, spec.hidden_size)?;
            loader.refuse_unused(spec.n_layers)?;
            drop(loader);
            // a vector is read once: its texts' keys and values need not be small, but near to the reference
            let kv_type = pooling.map_or(options.kv_type, |_| KvType::F32);
            Ok(Loaded::Decoder(Box::new(Model {
                decoder: Decoder::new(*spec, weights, targets, compute, kv_type),
                head,
                tokenizer,
                chat_template,
                architecture,
                _last: GiveBack,
            })))
        }
        Spec::Encoder(spec) => {
            check_vocabulary(spec.vocab_size, &tokenizer)?;
            let weights = encoder::Weights::load(&loader, &spec)?;
            let pooling = pooling.unwrap_or_else(|| {
                tracing::warn!("the model does not say how to pool; taking the mean");
                Pooling::Mean
            });
            let head = VectorHead::load(&loader, pooling, spec.hidden_size)?;
            loader.refuse_unused(spec.n_layers)?;
            drop(loader);
            Ok(Loaded::Encoder(Box::new(EncoderModel {
                encoder: Encoder::new(spec, weights, compute),
                head,
                tokenizer,
                _last: GiveBack,
            })))
        }
    }
}

/// The shape of a model, from the head of its file.
pub(crate) enum Shape {
    Decoder {
        spec: Box<DecoderSpec>,
        /// Whether the file says how to pool: keys and values are not made small then.
        makes_vectors: bool,
    },
    Encoder {
        spec: EncoderSpec,
        /// Tokens of the longest text.
        longest: usize,
    },
}

impl Shape {
    /// # Errors
    /// An architecture that is not known, or keys that are missing or contradict each other.
    pub(crate) fn read(gguf: &Gguf<'_>) -> Result<Self, LoadError> {
        let (hparams, spec) = read_spec(gguf)?;
        Ok(match spec {
            Spec::Decoder(spec) => Self::Decoder {
                spec,
                makes_vectors: Pooling::read(&hparams)?.is_some(),
            },
            Spec::Encoder(spec) => Self::Encoder {
                longest: loaded::longest_text(
                    spec.context_length,
                    spec.hidden_size.max(spec.ffn_size),
                ),
                spec,
            },
        })
    }

    pub(crate) fn vocab_size(&self) -> usize {
        match self {
            Self::Decoder { spec, .. } => spec.vocab_size,
            Self::Encoder { spec, .. } => spec.vocab_size,
        }
    }
}

/// Bytes that attention takes for itself, at most.
pub(crate) fn attention_scratch_bytes(spec: &DecoderSpec, n_threads: usize) -> usize {
    let shapes = (0..spec.n_layers).filter_map(|il| match spec.block(il).mixer {
        Mixer::Attention(shape) => Some(shape.v_head_dim),
        _ => None,
    });
    let most = shapes.max().unwrap_or(0);
    AttentionScratch::bytes_at(n_threads, spec.context_length, most)
}

/// Prompt tokens that a model of this shape takes at a step, at most: enough to use the weights well.
pub(crate) fn prefill_chunk(spec: &DecoderSpec) -> usize {
    MAX_STEP.min(WIDEST_BUFFER / spec.widest_row()).max(1)
}

fn check_vocabulary(n_rows: usize, tokenizer: &Tokenizer) -> Result<(), LoadError> {
    if n_rows >= tokenizer.vocab_size() {
        return Ok(());
    }
    Err(LoadError::Tensor {
        name: "token_embd.weight".into(),
        problem: format!(
            "has {n_rows} rows for a vocabulary of {}",
            tokenizer.vocab_size()
        ),
    })
}

/// The architectures that can be run, as people read them.
fn supported() -> String {
    let decoders = ARCHITECTURES.iter().map(|(name, _)| *name);
    let encoders = ENCODERS.iter().map(|(name, _)| *name);
    decoders.chain(encoders).collect::<Vec<_>>().join(", ")
}

/// What reads the shape of one architecture.
enum Reader {
    Decoder(ReadSpec),
    Encoder(ReadEncoderSpec),
}

fn reader(architecture: &str) -> Option<Reader> {
    let is_it = |name: &str| name == architecture;
    let decoder = ARCHITECTURES.iter().find(|(name, _)| is_it(name));
    let encoder = ENCODERS.iter().find(|(name, _)| is_it(name));
    decoder
        .map(|(_, read)| Reader::Decoder(*read))
        .or_else(|| encoder.map(|(_, read)| Reader::Encoder(*read)))
}

/// The shape of a model of any kind.
enum Spec {
    Decoder(Box<DecoderSpec>),
    Encoder(EncoderSpec),
}

fn read_spec<'a>(gguf: &'a Gguf<'a>) -> Result<(Hparams<'a>, Spec), LoadError> {
    let metadata = gguf.metadata();
    let found = metadata.string("general.architecture")?;
    let Some(reader) = reader(found) else {
        return Err(LoadError::UnknownArchitecture {
            found: found.to_owned(),
            supported: supported(),
        });
    };
    let hparams = Hparams::new(found, gguf);
    let spec = match reader {
        Reader::Decoder(read) => Spec::Decoder(Box::new(read(&hparams)?)),
        Reader::Encoder(read) => Spec::Encoder(read(&hparams)?),
    };
    ignored::refuse(&hparams)?;
    let activations = match &spec {
        Spec::Decoder(spec) => spec.gate.names(),
        Spec::Encoder(spec) => spec.ffn.activations(),
    };
    ignored::refuse_other_activations(&hparams, activations)?;
    Ok((hparams, spec))
}

fn compute(options: &LoadOptions) -> Result<Compute, LoadError> {
    let isa = options
        .cpu
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| LoadError::Cpu(format!("{e}")))?;
    let threads = options.threads();
    let compute = Compute::new(threads.prefill, isa).map_err(|e| LoadError::Cpu(e.to_string()))?;
    Ok(compute.with_narrow(threads.decode))
}
