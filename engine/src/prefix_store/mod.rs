//! States of ended sequences on disk, for prompts that begin as they do, across restarts.
//!
//! A state is cut into pages of [`PAGE_POSITIONS`](slm_kernels::PAGE_POSITIONS) tokens. Each is a file (`page_file`), named
//! after the chain of everything that decides its contents (`chain`): the model's file, how keys and values are stored,
//! the salt, and the tokens up to its end. So a beginning that several states share is there once, and the longest known
//! beginning of a prompt is found by names alone. Threads of its own (`worker`) write, and keep the folder below its size
//! (`space`), and read, without waiting for what is being written: the engine thread never waits for the disk.
//!
//! Everything here may be lost at any time: what cannot be written is not, what cannot be read is computed.

mod chain;
mod page_file;
mod space;
mod worker;

use crate::{KvCache, TokenId, kv_cache::Owner};
use chain::{Chain, Link};
use slm_kernels::PAGE_POSITIONS;
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

/// A state shorter than so many pages is computed as quickly as it is read.
const LEAST_PAGES: usize = 2;
/// States that may wait to be written; others are not.
const QUEUE: usize = 4;
/// For how long what waits is still written when the store is closed: enough for a state on a quick disk.
const CLOSING: Duration = Duration::from_secs(2);

/// Where states of ended sequences are kept on disk, and how many bytes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixStoreOptions {
    /// A folder, which is made when it is missing, and which several models and processes may share.
    pub dir: PathBuf,
    /// What the model's file is known by: the same for the same contents alone.
    pub model_key: String,
    /// Bytes of all files in the folder at most.
    pub max_bytes: u64,
}

/// The links that have a file, as far as is known.
#[derive(Clone, Default)]
struct Index(Arc<Mutex<HashSet<Link>>>);

impl Index {
    fn links(&self) -> MutexGuard<'_, HashSet<Link>> {
        // every critical section leaves the set whole
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the states that were handed over and hold memory still.
#[derive(Default)]
struct Held(Arc<AtomicUsize>);

impl Held {
    fn one_more(&self) -> OneHeld {
        self.0.fetch_add(1, Ordering::Relaxed);
        OneHeld(Arc::clone(&self.0))
    }

    fn is_any(&self) -> bool {
        // whoever sees that one is gone sees that its memory is
        self.0.load(Ordering::Acquire) > 0
    }
}

/// One of them, until it is dropped.
struct OneHeld(Arc<AtomicUsize>);

impl Drop for OneHeld {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// When writing ends, once the store is being closed.
#[derive(Clone, Default)]
struct Closing(Arc<OnceLock<Instant>>);

impl Closing {
    fn begin(&self) {
        let _is_the_only_time = self.0.set(Instant::now() + CLOSING);
    }

    fn is_over(&self) -> bool {
        self.0.get().is_some_and(|end| Instant::now() >= *end)
    }
}

/// A state to be written.
struct Write {
    state: KvCache,
    links: Vec<Link>,
    /// Goes after the state.
    _held: OneHeld,
}

/// A state to be read.
struct Read {
    /// What the state is made of.
    empty: KvCache,
    found: Found,
    reply: SyncSender<Option<KvCache>>,
    /// The [`Reading`], while somebody has it.
    wanted: Weak<()>,
    /// Goes after the state was sent.
    _held: OneHeld,
}

/// A prompt's beginning that is on disk.
pub(crate) struct Found {
    tokens: Vec<TokenId>,
    links: Vec<Link>,
    is_long: bool,
}

impl Found {
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }
}

/// The handle of one model's states on disk. Dropping it waits until what was handed over is written, or until
/// [`CLOSING`] has passed and the page that is being written then is whole.
pub(crate) struct PrefixStore {
    chain: Chain,
    index: Index,
    held: Held,
    closing: Closing,
    /// `Some` until drop.
    orders: Option<Orders>,
    threads: Vec<JoinHandle<()>>,
}

/// To each thread what it is to do.
struct Orders {
    writes: SyncSender<Write>,
    reads: SyncSender<Read>,
}

/// A state on its way from disk; nobody reads on when it is dropped.
pub(crate) struct Reading {
    reply: Receiver<Option<KvCache>>,
    _wanted: Arc<()>,
}

impl Reading {
    /// `None` while it is being read; then the state, if there is one.
    pub(crate) fn poll(&self) -> Option<Option<KvCache>> {
        match self.reply.try_recv() {
            Ok(state) => Some(state),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(None),
        }
    }
}

impl PrefixStore {
    /// Opens the folder of the model whose sequences have states like the empty one `like`. `None`, with a line in the
    /// log, where that cannot be, and for models whose states cannot be cut.
    pub(crate) fn open(options: &PrefixStoreOptions, like: &KvCache) -> Option<Self> {
        if options.max_bytes == 0 || like.is_recurrent() {
            return None;
        }
        let chain = Chain::new(&options.model_key, like);
        let folder = options.dir.join(chain.folder());
        let index = Index::default();
        let closing = Closing::default();
        let worker = worker::Worker::open(folder, options, index.clone(), closing.clone());
        let worker = worker.inspect_err(|error| {
            tracing::warn!(dir = %options.dir.display(), %error, "prefixes are not kept on disk");
        });
        let writer = Arc::new(worker.ok()?);
        let reader = Arc::clone(&writer);
        let (writes, to_write) = sync_channel(QUEUE);
        let (reads, to_read) = sync_channel(1);
        let writing = Builder::new().name("slm-keep".into());
        let writing = writing.spawn(move || writer.write_all(&to_write));
        let reading = Builder::new().name("slm-restore".into());
        let reading = reading.spawn(move || reader.read_all(&to_read));
        Some(Self {
            chain,
            index,
            held: Held::default(),
            closing,
            orders: Some(Orders { writes, reads }),
            threads: vec![writing.ok()?, reading.ok()?],
        })
    }

    /// Hands over what is worth keeping of a state, if it is not there yet; not when too many wait.
    pub(crate) fn keep(&self, state: &KvCache) {
        let n_pages = state.len() / PAGE_POSITIONS;
        if n_pages < LEAST_PAGES || !state.owner().adapters.is_empty() {
            return;
        }
        let tokens = &state.tokens()[..n_pages * PAGE_POSITIONS];
        let links = self.chain.links(state.owner(), state.is_long(), tokens);
        // the unfinished last page stays the sequence's own
        let mut state = state.clone();
        let is_whole = state.rewind(n_pages * PAGE_POSITIONS) == n_pages * PAGE_POSITIONS;
        if let Some(orders) = self.orders.as_ref().filter(|_| is_whole) {
            let _too_many_may_wait = orders.writes.try_send(Write {
                state,
                links,
                _held: self.held.one_more(),
            });
        }
    }

    /// Whether states that wait to be written, or are being written or read, hold memory.
    pub(crate) fn is_busy(&self) -> bool {
        self.held.is_any()
    }

    /// The longest known beginning of `owner`'s `prompt` without its last token, whose logits are wanted; nothing that is
    /// not longer by a page than the `n_known` tokens that need not be read.
    pub(crate) fn find(
        &self,
        owner: &Owner,
        prompt: &[TokenId],
        is_long: bool,
        n_known: usize,
    ) -> Option<Found> {
        let n_pages = prompt.len().saturating_sub(1) / PAGE_POSITIONS;
        let tokens = &prompt[..n_pages * PAGE_POSITIONS];
        if !owner.adapters.is_empty() || tokens.len() < n_known + PAGE_POSITIONS {
            return None;
        }
        let mut links = self.chain.links(owner, is_long, tokens);
        let index = self.index.links();
        let n_pages = links
            .iter()
            .take_while(|link| index.contains(*link))
            .count();
        drop(index);
        links.truncate(n_pages);
        let n_tokens = n_pages * PAGE_POSITIONS;
        let is_worth_it = n_pages >= LEAST_PAGES && n_tokens >= n_known + PAGE_POSITIONS;
        is_worth_it.then(|| Found {
            tokens: tokens[..n_tokens].to_vec(),
            links,
            is_long,
        })
    }

    /// Begins to make a state of `empty`, which is the owner's, and of what was found. `None` when too much waits.
    pub(crate) fn read(&self, found: Found, empty: KvCache) -> Option<Reading> {
        let (reply, answer) = sync_channel(1);
        let wanted = Arc::new(());
        let order = Read {
            empty,
            found,
            reply,
            wanted: Arc::downgrade(&wanted),
            _held: self.held.one_more(),
        };
        self.orders.as_ref()?.reads.try_send(order).ok()?;
        Some(Reading {
            reply: answer,
            _wanted: wanted,
        })
    }
}

impl Drop for PrefixStore {
    fn drop(&mut self) {
        self.closing.begin();
        drop(self.orders.take());
        for thread in self.threads.drain(..) {
            let _a_panic_was_logged = thread.join();
        }
    }
}
