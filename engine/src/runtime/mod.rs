//! The engine thread: one per loaded model. Requests come in over a bounded inbox, results leave over bounded channels.
use crate::{LoadError, SamplingParams, TokenId, Tokenizer};
use std::{path::Path, time::Duration};
use tokio::sync::mpsc;

/// How to load a model. Everything has a sensible default.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Compute threads; `None` takes what affinity and cgroup allow.
    pub n_threads: Option<usize>,
    /// Force a CPU tier by name (`portable`, `avx2`, `avx512-vnni`, …).
    pub cpu: Option<String>,
    /// Largest context of a sequence in tokens; `None` takes the model's own. Capped at the model's own.
    pub context_length: Option<usize>,
}

/// One generation.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The prompt; must not be empty.
    pub prompt: Vec<TokenId>,
    /// How to choose tokens.
    pub sampling: SamplingParams,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Most tokens to generate; `None` is until the context is full.
    pub max_tokens: Option<usize>,
    /// Most tokens of prompt and answer together; capped at [`Engine::context_length`].
    pub context_length: usize,
}

/// What comes back, in order; the last is always `Finished` or `Failed`.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// A generated token and the text that is now certain (often empty inside a character).
    Token {
        /// The token.
        token: TokenId,
        /// Text delta.
        text: String,
    },
    /// The end.
    Finished(Finish),
    /// The sequence cannot go on; one sentence.
    Failed(String),
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Text that was held back until now.
    pub text: String,
    /// Why it ended.
    pub reason: StopReason,
    /// Counts and times.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it, or a stop string appeared.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
}

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tokens of the prompt, cached ones included.
    pub n_prompt_tokens: usize,
    /// Of them, tokens whose KV state was still there.
    pub n_cached_tokens: usize,
    /// Generated tokens.
    pub n_generated_tokens: usize,
    /// Time waiting for the engine thread.
    pub queued: Duration,
    /// Time for the prompt.
    pub prefill: Duration,
    /// Time for the answer.
    pub decode: Duration,
}

/// The inbox is full: too many generations wait.
#[derive(Debug, thiserror::Error)]
#[error("server busy, please try again.  maximum pending requests exceeded")]
pub struct QueueFull;

/// A loaded model and its engine thread. Clones share it; when the last is dropped the thread ends and memory is freed.
#[derive(Clone, Debug)]
pub struct Engine {}

/// Facts about a loaded model.
#[derive(Clone, Debug)]
pub struct MemoryUse {
    /// Packed weights.
    pub weights_bytes: u64,
    /// KV cache at the full context of one sequence.
    pub kv_bytes: u64,
    /// Scratch buffers.
    pub scratch_bytes: u64,
}

impl Engine {
    /// Loads a model file. Blocks for as long as that takes: call it on a blocking thread.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(_path: &Path, _options: &LoadOptions) -> Result<Self, LoadError> {
        todo!()
    }
    /// Queues a generation. Dropping the receiver cancels it before the next step.
    ///
    /// # Errors
    /// [`QueueFull`] at once when the bounded inbox is full.
    pub fn generate(
        &self,
        _request: GenerateRequest,
    ) -> Result<mpsc::Receiver<StepResult>, QueueFull> {
        todo!()
    }
    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        todo!()
    }
    /// The model's own Jinja chat template.
    pub fn chat_template(&self) -> Option<&str> {
        todo!()
    }
    /// Largest context of a sequence in tokens.
    pub fn context_length(&self) -> usize {
        todo!()
    }
    /// Bytes in use.
    pub fn memory(&self) -> MemoryUse {
        todo!()
    }
    /// The CPU tier in use, such as `avx512-vnni`.
    pub fn cpu(&self) -> &'static str {
        todo!()
    }
}
