//! A model as data and arithmetic: what its file says ([`DecoderSpec`]), its packed weights, and the forward pass.
//!
//! [`ARCHITECTURES`] is the table of what is known: one line and one file per family. All of them share one decoder
//! ([`decoder`]) that reads the spec; there is no `match` on an architecture outside this folder.

mod bitnet;
mod decoder;
mod gemma2;
mod gemma3;
mod granite;
mod llama;
mod mixture;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3moe;
mod rope;
mod shards;
mod smollm3;
mod spec;
mod weights;

pub use decoder::{Decoder, LogitsFor, Scratch};
pub use spec::{DecoderSpec, ExpertsSpec, Extras, Gate, LongSpec, RopeSpec, SlidingSpec, YarnSpec};

use crate::{LoadError, LoadOptions, Tokenizer, memory};
use slm_gguf::Gguf;
use slm_kernels::Compute;
use spec::Hparams;
use std::path::Path;

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
];

/// A loaded model: the synchronous core that the engine thread and the diagnostics share.
pub struct Model {
    decoder: Decoder,
    tokenizer: Tokenizer,
    chat_template: Option<String>,
}

impl Model {
    /// Maps, checks and packs a GGUF file, with the others beside it where the model is split. The map is released before this returns: packed weights replace it.
    ///
    /// # Errors
    /// Whatever makes the file unusable or too large; see [`LoadError`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let files = shards::open(path)?;
        let gguf = shards::join(&files)?;
        let spec = read_spec(&gguf)?;
        let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
        let chat_template = gguf
            .metadata()
            .opt_string("tokenizer.chat_template")?
            .map(str::to_owned);
        memory::check(weights::packed_bytes(&gguf))?;
        let compute = compute(options)?;
        let decoder = Decoder::load(&files, &gguf, spec, compute, options.kv_type)?;
        if decoder.spec().vocab_size < tokenizer.vocab_size() {
            return Err(LoadError::Tensor {
                name: "token_embd.weight".into(),
                problem: format!(
                    "has {} rows for a vocabulary of {}",
                    decoder.spec().vocab_size,
                    tokenizer.vocab_size()
                ),
            });
        }
        Ok(Self {
            decoder,
            tokenizer,
            chat_template,
        })
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

/// The architectures that can be run, as people read them.
fn supported() -> String {
    ARCHITECTURES
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn read_spec(gguf: &Gguf<'_>) -> Result<DecoderSpec, LoadError> {
    let metadata = gguf.metadata();
    let found = metadata.string("general.architecture")?;
    let Some((name, read)) = ARCHITECTURES.iter().find(|(name, _)| *name == found) else {
        return Err(LoadError::UnknownArchitecture {
            found: found.to_owned(),
            supported: supported(),
        });
    };
    read(&Hparams::new(name, gguf))
}

fn compute(options: &LoadOptions) -> Result<Compute, LoadError> {
    let isa = options
        .cpu
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| LoadError::Cpu(format!("{e}")))?;
    let n_threads = options
        .n_threads
        .unwrap_or_else(slm_kernels::available_threads);
    Compute::new(n_threads, isa).map_err(|e| LoadError::Cpu(e.to_string()))
}
