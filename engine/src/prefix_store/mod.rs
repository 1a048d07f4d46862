//! States of ended sequences on disk, for prompts that begin as they do, across restarts.
//!
//! A state is cut into pages of [`PAGE_POSITIONS`](slm_kernels::PAGE_POSITIONS) tokens. Each is a file (`page_file`), named
//! after the chain of everything that decides its contents (`chain`): the model's file, how keys and values are stored,
//! the salt, and the tokens up to its end. So a beginning that several states share is there once, and the longest known
//! beginning of a prompt is found by names alone. A thread of its own (`worker`) writes and reads, and keeps the folder
//! below its size (`space`): the engine thread never waits for the disk.
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
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

/// A state shorter than so many pages is computed as quickly as it is read.
const LEAST_PAGES: usize = 2;
/// States that may wait to be written; others are not.
const QUEUE: usize = 4;

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

enum Order {
    Write {
        state: Box<KvCache>,
        links: Vec<Link>,
    },
    Read {
        /// Empty; gets the state.
        state: Box<KvCache>,
        found: Found,
        reply: SyncSender<Option<KvCache>>,
    },
}

/// A prompt's beginning that is on disk.
pub(crate) struct Found {
    tokens: Vec<TokenId>,
    links: Vec<Link>,
    is_long: bool,
}

impl Found {
    pub(crate) fn n_tokens(&self) -> usize {
        self.tokens.len()
    }
}

/// The handle of one model's states on disk. Dropping it waits until what was handed over is written.
pub(crate) struct PrefixStore {
    chain: Chain,
    index: Index,
    /// `Some` until drop.
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// A state on its way from disk.
pub(crate) struct Reading(Receiver<Option<KvCache>>);

impl Reading {
    /// `None` while it is being read; then the state, if there is one.
    pub(crate) fn poll(&self) -> Option<Option<KvCache>> {
        match self.0.try_recv() {
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
        let worker = worker::Worker::open(folder, options, Index::default());
        let worker = worker.inspect_err(|error| {
            tracing::warn!(dir = %options.dir.display(), %error, "prefixes are not kept on disk");
        });
        let worker = worker.ok()?;
        let index = worker.index().clone();
        let (orders, inbox) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("slm-prefixes".into())
            .spawn(move || worker.run(&inbox))
            .ok()?;
        Some(Self {
            chain,
            index,
            orders: Some(orders),
            thread: Some(thread),
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
        if state.rewind(n_pages * PAGE_POSITIONS) == n_pages * PAGE_POSITIONS {
            let state = Box::new(state);
            self.send(Order::Write { state, links });
        }
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

    /// Begins to read what was found into `state`, which is empty and the owner's. `None` when too much waits.
    pub(crate) fn read(&self, found: Found, state: KvCache) -> Option<Reading> {
        let (reply, reading) = sync_channel(1);
        let is_sent = self.send(Order::Read {
            state: Box::new(state),
            found,
            reply,
        });
        is_sent.then_some(Reading(reading))
    }

    fn send(&self, order: Order) -> bool {
        let orders = self.orders.as_ref();
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

impl Drop for PrefixStore {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_logged = thread.join();
        }
    }
}
