//! What goes to the engine thread and what comes back.

use crate::{Adapters, Constraint, SamplingParams, TokenId, TokenLogprobs, kv_cache::Owner};
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// One generation.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The prompt; must not be empty.
    pub prompt: Vec<TokenId>,
    /// How to choose tokens.
    pub sampling: SamplingParams,
    /// Texts that end the answer and are not part of it. A constrained answer ends where its grammar says, and they are
    /// not looked for.
    pub stop: Vec<String>,
    /// The form that the answer must have, made by [`super::Engine::constrain`] of the same engine.
    pub constraint: Option<Constraint>,
    /// Whether each token comes with how likely the model found it, and how many alternatives with it, at most 20.
    pub logprobs: Option<usize>,
    /// Whether the tokens of the prompt come with that, too. Nothing of it is then taken from memory, and it is read in
    /// small steps.
    pub prompt_logprobs: bool,
    /// Control tokens whose text shows all the same: marks of tool calls, say.
    pub shown: Vec<TokenId>,
    /// Most tokens to generate; `None` is until the context is full.
    pub max_tokens: Option<usize>,
    /// Whether the model's own end does not end an answer without a form, for measurements.
    pub ignore_eos: bool,
    /// Most tokens of prompt and answer together; capped at [`super::Engine::context_length`].
    pub context_length: usize,
    /// How many of the first tokens stay when the context is full and older ones make room for what follows; `None` ends
    /// the answer there.
    pub shift_after: Option<usize>,
    /// Who asks: where many wait, clients take turns.
    pub client: String,
    /// What the model's weights are changed by, loaded by [`super::Engine::load_adapter`] of the same engine.
    pub adapters: Adapters,
    /// Only generations with the same text here share what was computed for their prompts' beginnings.
    pub salt: Option<String>,
}

impl Default for GenerateRequest {
    /// Of no prompt, and without bounds.
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            sampling: SamplingParams::default(),
            stop: Vec::new(),
            constraint: None,
            logprobs: None,
            prompt_logprobs: false,
            shown: Vec::new(),
            max_tokens: None,
            ignore_eos: false,
            context_length: usize::MAX,
            shift_after: None,
            client: String::new(),
            adapters: Adapters::default(),
            salt: None,
        }
    }
}

/// What comes back, in order; the last is always `Finished` or `Failed`.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// How likely the model found the prompt's tokens from the second on, where the request asks for that; ahead of
    /// everything else.
    Prompt(Vec<TokenLogprobs>),
    /// A generated token and the text that is now certain (often empty inside a character).
    Token {
        /// The token.
        token: TokenId,
        /// Text delta.
        text: String,
        /// How likely the model found it, where the request asks for that.
        logprobs: Option<Box<TokenLogprobs>>,
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
    /// The stop string that ended it, if one did.
    pub stop: Option<String>,
    /// Counts and times.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it, a stop string appeared, or a grammar allows nothing more.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
}

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens of the prompt, cached ones included.
    pub n_prompt_tokens: usize,
    /// Of them, tokens whose KV state was still there.
    pub n_cached_tokens: usize,
    /// Generated tokens, an end-of-generation token included.
    pub n_generated_tokens: usize,
    /// Older tokens that made room for what followed.
    pub n_shifted_tokens: usize,
    /// Tokens that were guessed ahead, and how many of them were right.
    pub n_drafted: usize,
    /// See [`Stats::n_drafted`].
    pub n_drafted_right: usize,
    /// Time waiting for the engine thread.
    pub queued: Duration,
    /// Time from then to the first token.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
    /// Of all that, time for finding out which tokens a constraint allows.
    pub constraining: Duration,
}

/// Too many generations wait.
#[derive(Debug, thiserror::Error)]
#[error("server busy, please try again.  maximum pending requests exceeded")]
pub struct QueueFull {
    /// About how long until one that waits now would begin.
    pub wait: Duration,
}

/// What an engine has to do at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Business {
    /// Generations that are being computed, and requests for vectors.
    pub n_running: usize,
    /// Those that wait.
    pub n_waiting: usize,
    /// About how long one that joins now would wait.
    pub wait: Duration,
}

/// How much there is to do: the engine thread counts, everybody reads.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Requests that have not ended.
    n_inside: AtomicUsize,
    /// Of them, those that do not wait.
    n_running: AtomicUsize,
    /// How long a generation takes, on average.
    mean_millis: AtomicU64,
}

impl Counters {
    /// A place for one more request, unless there are `n_most`.
    pub(super) fn enter(self: &Arc<Self>, n_most: usize) -> Option<Place> {
        let one_more = |n: usize| (n < n_most).then_some(n + 1);
        let entered = self.n_inside.fetch_update(Relaxed, Relaxed, one_more);
        entered.ok().map(|_| Place(Arc::clone(self)))
    }

    pub(super) fn run(&self, n_running: usize) {
        self.n_running.store(n_running, Relaxed);
    }

    /// Learns how long a generation took.
    pub(super) fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_millis())
            .unwrap_or(u64::MAX / 8)
            .min(u64::MAX / 8);
        let mean = match self.mean_millis.load(Relaxed) {
            0 => took,
            mean => (7 * mean.min(u64::MAX / 8) + took) / 8,
        };
        self.mean_millis.store(mean, Relaxed);
    }

    /// With `n_parallel` places.
    pub(super) fn business(&self, n_parallel: usize) -> Business {
        let n_inside = self.n_inside.load(Relaxed);
        let n_running = self.n_running.load(Relaxed).min(n_inside);
        let n_ahead = (n_inside + 1).saturating_sub(n_parallel);
        let mean = Duration::from_millis(self.mean_millis.load(Relaxed));
        // whoever finds a free place does not wait
        Business {
            n_running,
            n_waiting: n_inside - n_running,
            wait: mean.mul_f64(n_ahead as f64 / n_parallel as f64),
        }
    }
}

/// The place of a request, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Counters>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.n_inside.fetch_sub(1, Relaxed);
    }
}

/// Texts to be turned into vectors.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// Tokens of each text as [`crate::Tokenizer::frame`] leaves them; none is empty or longer than
    /// [`super::Engine::context_length`].
    pub texts: Vec<Vec<TokenId>>,
    /// How many values of a vector to keep; `None` is all.
    pub dimensions: Option<usize>,
    /// Whether to make every vector's length 1, after cutting it.
    pub normalize: bool,
    /// What the model's weights are changed by, loaded by [`super::Engine::load_adapter`] of the same engine.
    pub adapters: Adapters,
}

/// What became of a request for vectors.
pub type EmbedReply = Result<Embeddings, EmbedError>;

/// One vector for each text, in order.
#[derive(Clone, Debug, Default)]
pub struct Embeddings {
    /// The vectors, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// Counts and times.
    pub stats: EmbedStats,
}

/// Counts and times of one request for vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedStats {
    /// Tokens of all texts.
    pub n_tokens: usize,
    /// Time waiting for the engine thread.
    pub queued: Duration,
    /// Time from then to the last vector.
    pub computing: Duration,
}

/// Why there are no vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The numbers overflowed.
    #[error("embedding contains NaN or Inf values")]
    Unusable,
    /// A text that cannot be computed, or a fault of the engine; one sentence.
    #[error("{0}")]
    Failed(String),
}

/// What goes to the engine thread.
#[derive(Debug)]
pub(super) enum Order {
    Generate(Box<Entry>),
    /// Keeps to the budget, which has become smaller, and gives free memory back.
    Trim,
    Embed {
        request: EmbedRequest,
        /// Tokens of the longest text.
        n_context: usize,
        reply: oneshot::Sender<EmbedReply>,
        queued_at: Instant,
        place: Place,
    },
}

impl Order {
    /// Answers with a failure.
    pub(super) fn fail(self, why: &str) {
        match self {
            Self::Generate(entry) => entry.fail(why),
            Self::Trim => {}
            Self::Embed { reply, .. } => {
                let failed = Err(EmbedError::Failed(why.to_owned()));
                let _receiver_may_be_gone = reply.send(failed);
            }
        }
    }
}

/// A generation on its way to the engine thread.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request: GenerateRequest,
    pub(super) results: mpsc::Sender<StepResult>,
    pub(super) queued_at: Instant,
    pub(super) place: Place,
    /// Whether more of its beginning was looked for on disk.
    pub(super) is_looked_up: Cell<bool>,
}

impl Entry {
    /// Whose its state is.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            adapters: self.request.adapters.clone(),
            salt: self.request.salt.as_deref().map(Arc::from),
        }
    }

    /// Answers with a failure. There is room: nothing was sent yet.
    pub(super) fn fail(self, why: &str) {
        let _receiver_may_be_gone = self.results.try_send(StepResult::Failed(why.to_owned()));
    }
}
