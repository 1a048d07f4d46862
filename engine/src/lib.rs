//! A model from weights to tokens: architectures, tokenizer, KV cache, sampler, and the thread they run on.
//!
//! [`Engine`] is the facade: load a GGUF, queue generations, read results from a bounded channel, or turn texts into
//! vectors. [`Model`] is the synchronous core for diagnostics and tests. Knows no HTTP, no wire type and no async
//! runtime (channels aside): tokens and parameters in, tokens and timings out.

pub mod bench;
mod constraint;
mod error;
pub mod eval;
mod footprint;
mod kv_cache;
mod load_progress;
mod mapped_file;
pub mod memory;
pub mod model;
mod prefix_store;
pub mod quantize;
mod runtime;
pub mod sampler;
pub mod text_stream;
pub mod tokenizer;

pub use constraint::{Constraint, ConstraintError, FromStart, Grammar, Thoughts};
pub use error::LoadError;
pub use footprint::Footprint;
pub use kv_cache::KvCache;
pub use load_progress::LoadProgress;
pub use mapped_file::MappedFile;
pub use model::{Adapter, Adapters, Model, ModelFiles};
pub use prefix_store::PrefixStoreOptions;
pub use runtime::{
    Business, EmbedError, EmbedReply, EmbedRequest, EmbedStats, Embeddings, Engine, Finish,
    GenerateRequest, LoadOptions, MemoryUse, QueueFull, Stats, StepResult, StopReason,
};
pub use sampler::{SamplingParams, TokenLogprobs};
pub use slm_kernels::KvType;
pub use tokenizer::{Special, TokenId, Tokenizer};
