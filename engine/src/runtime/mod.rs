//! A loaded model in use: requests in over a bounded inbox, results out over bounded channels, one engine thread.
//!
//! [`Engine`] is the handle that the async side holds. Behind it, `thread` runs `scheduler`, which steps all active
//! `sequence`s together, at the `pace` that suits prompts and answers, or with a `pause` of the answers, and with guesses
//! (`draft`, `draft_model`) at what follows, as far as they are `worth` it; states of ended ones stay in the `prefix_cache`, and on disk (`disk_tier`).
//! The engine thread never waits for a client: a sequence whose channel is full sits out its turn, and one whose receiver
//! is gone is dropped before its next step.

mod disk_tier;
mod draft;
mod draft_model;
mod embedding;
mod pace;
mod pause;
mod prefix_cache;
mod request;
mod scheduler;
mod sequence;
mod thread;
mod waiting;
mod worth;

pub use request::{
    Business, EmbedError, EmbedReply, EmbedRequest, EmbedStats, Embeddings, Finish,
    GenerateRequest, QueueFull, Stats, StepResult, StopReason,
};

pub(crate) use scheduler::GUESSED_TOGETHER;

use crate::{
    Adapter, Constraint, ConstraintError, Footprint, Grammar, LoadError, LoadProgress, ModelFiles,
    PrefixStoreOptions, Thoughts, Tokenizer,
    constraint::Guide,
    memory,
    model::{Loaded, WeakAdapter},
};
use disk_tier::DiskTier;
use draft_model::DraftModel;
use request::{Counters, Entry, Order};
use scheduler::Limits;
use slm_kernels::{KvPool, KvType};
use slm_machine::cores::{Cores, Threads};
use std::{
    cell::Cell,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc as inbox,
    },
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Generations that run together when nothing else is said.
const DEFAULT_PARALLEL: usize = 16;
/// Generations that wait when nothing else is said.
const DEFAULT_QUEUE: usize = 512;
/// Results that a client may lag behind before its sequence sits out.
const RESULTS_AHEAD: usize = 256;

/// How to load a model. Everything has a sensible default.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Compute threads; `None` takes the cores that affinity and cgroup allow and that are fast enough.
    pub n_threads: Option<usize>,
    /// Force a CPU tier by name (`portable`, `avx2`, `avx512-vnni`, …).
    pub cpu: Option<String>,
    /// Largest context of a sequence in tokens; `None` takes the model's own. Capped at the model's own.
    pub context_length: Option<usize>,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Generations that run at once, at least 1.
    pub n_parallel: usize,
    /// Bytes for the keys and values of all generations, and of those that ended and may be gone on from; `None` takes
    /// what suffices for `n_parallel` of them at the full context, or a quarter of the memory that is free, if less, but
    /// enough for one. See [`Engine::set_kv_limit`].
    pub kv_bytes: Option<u64>,
    /// Generations that may wait.
    pub max_queue: usize,
    /// A small model with the same vocabulary, which guesses at what follows; answers are the same without.
    pub draft: Option<PathBuf>,
    /// Where states of ended generations are kept across restarts.
    pub prefix_store: Option<PrefixStoreOptions>,
    /// Told how far the loading is.
    pub progress: Option<Arc<LoadProgress>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            n_threads: None,
            cpu: None,
            context_length: None,
            kv_type: KvType::F16,
            n_parallel: DEFAULT_PARALLEL,
            kv_bytes: None,
            max_queue: DEFAULT_QUEUE,
            draft: None,
            prefix_store: None,
            progress: None,
        }
    }
}

impl LoadOptions {
    /// How many threads compute: as many as were asked for, or what [`Cores`] makes of this machine.
    pub(crate) fn threads(&self) -> Threads {
        match self.n_threads {
            Some(n) => Threads {
                decode: n,
                prefill: n,
            },
            None => Cores::here().threads(),
        }
    }
}

/// A loaded model and its engine thread. Clones share it; when the last is dropped the thread ends and memory is freed.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    model: Arc<Loaded>,
    footprint: Footprint,
    context_length: usize,
    kv_limit: Arc<AtomicU64>,
    counters: Arc<Counters>,
    n_parallel: usize,
    max_queue: usize,
    /// Where the states of the model that guesses lie.
    draft_pool: Option<KvPool>,
    /// Those that were loaded and may still be there.
    adapters: Mutex<Vec<WeakAdapter>>,
    /// What constraints are made with, from the first one on.
    guide: OnceLock<Result<Guide, ConstraintError>>,
    thread: thread::EngineThread,
}

impl Shared {
    fn adapters(&self) -> MutexGuard<'_, Vec<WeakAdapter>> {
        // every critical section leaves the list whole
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("context_length", &self.shared.context_length)
            .finish_non_exhaustive()
    }
}

/// Bytes that a loaded model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Packed weights, those of adapters included.
    pub weights_bytes: u64,
    /// Buffers of a step, at most.
    pub scratch_bytes: u64,
    /// About what the tokenizer takes, and all that is small.
    pub other_bytes: u64,
    /// KV cache of one sequence at the full context.
    pub kv_bytes: u64,
    /// What the states of all sequences may take.
    pub kv_bytes_limit: u64,
    /// What keys and values take now, those of ended sequences that may be gone on from included.
    pub kv_bytes_in_use: u64,
}

impl Engine {
    /// Loads a model file. Blocks for as long as that takes: call it on a blocking thread.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        Self::load_files(&ModelFiles::open(path)?, options)
    }

    /// Loads a model whose files somebody has opened, as [`Engine::load`] does.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_files(files: &ModelFiles, options: &LoadOptions) -> Result<Self, LoadError> {
        let footprint = Footprint::of(files, options)?;
        memory::check(footprint.fixed_bytes())?;
        let model = Arc::new(Loaded::load(files, options)?);
        let longest = model.context_length();
        let wanted = options.context_length.filter(|_| model.writes_text());
        let context_length = wanted.map_or(longest, |n| n.clamp(1, longest));
        let n_parallel = options.n_parallel.max(1);
        let max_queue = options.max_queue.max(1);
        let kv_limit = options.kv_bytes.unwrap_or_else(|| {
            let of_one = footprint.kv_bytes(context_length);
            let of_all = of_one.saturating_mul(n_parallel as u64);
            let quarter = memory::available_bytes().map_or(of_all, |bytes| bytes / 4);
            of_all.min(quarter).max(of_one)
        });
        let kv_limit = Arc::new(AtomicU64::new(kv_limit));
        let limits = Limits {
            n_parallel,
            kv_bytes: Arc::clone(&kv_limit),
        };
        let counters = Arc::<Counters>::default();
        let draft = match (&options.draft, &*model) {
            (Some(path), Loaded::Decoder(target)) if model.writes_text() => {
                Some(DraftModel::load(path, target, options)?)
            }
            _ => None,
        };
        let draft_pool = draft.as_ref().map(|draft| draft.kv_pool().clone());
        let disk = DiskTier::open(&model, options.prefix_store.as_ref());
        let thread = thread::EngineThread::spawn(
            Arc::clone(&model),
            (limits, Arc::clone(&counters)),
            disk,
            draft,
            // one more for what is no request
            n_parallel.saturating_add(max_queue).saturating_add(1),
        )?;
        Ok(Self {
            shared: Arc::new(Shared {
                model,
                footprint,
                context_length,
                kv_limit,
                counters,
                n_parallel,
                max_queue,
                draft_pool,
                adapters: Mutex::default(),
                guide: OnceLock::new(),
                thread,
            }),
        })
    }

    /// Loads an adapter for this model, whose weights stay as they are. Blocks for as long as that takes: call it on a
    /// blocking thread. Generations go on meanwhile.
    ///
    /// # Errors
    /// A file that is no adapter or does not fit this model; see [`LoadError`].
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, LoadError> {
        let adapter = self.shared.model.load_adapter(path)?;
        let mut adapters = self.shared.adapters();
        adapters.retain(|known| known.size_bytes().is_some());
        adapters.push(adapter.downgrade());
        Ok(adapter)
    }

    /// Compiles a grammar for this model's vocabulary; what it constrains begins behind `thoughts`. Takes milliseconds,
    /// for a model's first one about a second: call it on a blocking thread. Generations go on meanwhile.
    ///
    /// # Errors
    /// A grammar with a mistake, one that cannot be enforced or is too large, a vocabulary that cannot be constrained.
    pub fn constrain(
        &self,
        grammar: &Grammar,
        thoughts: Option<Thoughts>,
    ) -> Result<Constraint, ConstraintError> {
        let guide = self
            .shared
            .guide
            .get_or_init(|| Guide::new(self.tokenizer()));
        let guide = guide.as_ref().map_err(Clone::clone)?;
        Constraint::new(guide, grammar, thoughts, self.tokenizer())
    }

    /// Queues a generation. Dropping the receiver cancels it before the next step.
    ///
    /// The context of the request is capped at [`Engine::context_length`], and the prompt must leave room for at least
    /// one token in it; else the only result is [`StepResult::Failed`].
    ///
    /// # Errors
    /// [`QueueFull`] at once when too many wait.
    pub fn generate(
        &self,
        mut request: GenerateRequest,
    ) -> Result<mpsc::Receiver<StepResult>, QueueFull> {
        request.context_length = request.context_length.min(self.shared.context_length);
        let (results, receiver) = mpsc::channel(RESULTS_AHEAD);
        let entry = Entry {
            request,
            results,
            queued_at: Instant::now(),
            place: self.place()?,
            is_looked_up: Cell::default(),
        };
        self.send(Order::Generate(Box::new(entry)));
        Ok(receiver)
    }

    /// Queues texts to be turned into vectors. Dropping the receiver cancels the work before the next text, or before
    /// the next part of a long one.
    ///
    /// # Errors
    /// [`QueueFull`] at once when too many wait.
    pub fn embed(&self, request: EmbedRequest) -> Result<oneshot::Receiver<EmbedReply>, QueueFull> {
        let (reply, receiver) = oneshot::channel();
        self.send(Order::Embed {
            request,
            n_context: self.shared.context_length,
            reply,
            queued_at: Instant::now(),
            place: self.place()?,
        });
        Ok(receiver)
    }

    fn place(&self) -> Result<request::Place, QueueFull> {
        let Shared {
            n_parallel,
            max_queue,
            ..
        } = *self.shared;
        let place = self
            .shared
            .counters
            .enter(n_parallel.saturating_add(max_queue));
        place.ok_or_else(|| QueueFull {
            wait: self.business().wait,
        })
    }

    fn send(&self, order: Order) {
        // the inbox has room for all that have a place
        if let Err(inbox::TrySendError::Full(order) | inbox::TrySendError::Disconnected(order)) =
            self.shared.thread.inbox().try_send(order)
        {
            order.fail("the engine thread has stopped after an internal error; the model must be loaded again");
        }
    }

    /// What there is to do at the moment.
    pub fn business(&self) -> Business {
        self.shared.counters.business(self.shared.n_parallel)
    }

    /// What the model takes of the memory.
    pub fn footprint(&self) -> &Footprint {
        &self.shared.footprint
    }

    /// Sets what the keys and values of all generations may take together, in bytes. Takes effect before the next step:
    /// where less is left than they have, states of ended generations go, then those of the youngest running ones.
    pub fn set_kv_limit(&self, bytes: u64) {
        let before = self.shared.kv_limit.swap(bytes, Relaxed);
        if bytes < before {
            // a full inbox means steps, which keep to it anyway
            let _is_awake = self.shared.thread.inbox().try_send(Order::Trim);
        }
    }

    /// Whether the engine thread still runs. It stops only by a bug: then the model has to be loaded again.
    pub fn is_running(&self) -> bool {
        self.shared.thread.is_running()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.shared.model.tokenizer()
    }

    /// The model's own Jinja chat template.
    pub fn chat_template(&self) -> Option<&str> {
        self.shared.model.chat_template()
    }

    /// Whether the model can write text; all can make vectors.
    pub fn writes_text(&self) -> bool {
        self.shared.model.writes_text()
    }

    /// Largest context of a sequence in tokens, and the longest text that a vector can be made of.
    pub fn context_length(&self) -> usize {
        self.shared.context_length
    }

    /// Bytes in use.
    pub fn memory(&self) -> MemoryUse {
        let model = &self.shared.model;
        let adapters = self.shared.adapters();
        let adapters = adapters.iter().filter_map(WeakAdapter::size_bytes);
        let draft = self.shared.draft_pool.as_ref();
        let draft = draft.map_or(0, KvPool::bytes_in_use);
        let weights_bytes = self.shared.footprint.weights_bytes + adapters.sum::<usize>() as u64;
        MemoryUse {
            weights_bytes,
            scratch_bytes: self.shared.footprint.scratch_bytes,
            other_bytes: self.shared.footprint.other_bytes,
            kv_bytes: self.shared.footprint.kv_bytes(self.shared.context_length),
            kv_bytes_limit: self.shared.kv_limit.load(Relaxed),
            kv_bytes_in_use: (model.kv_bytes_in_use() + draft) as u64,
        }
    }

    /// The CPU tier in use, such as `avx512-vnni`.
    pub fn cpu(&self) -> String {
        self.shared.model.compute().isa().to_string()
    }

    /// Compute threads in use.
    pub fn n_threads(&self) -> usize {
        self.shared.model.compute().n_threads()
    }
}
