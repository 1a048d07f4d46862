//! Loaded models: load on demand, keep for a while, evict for others.
//!
//! One engine per weights blob, whatever name it is asked for by. Loading is single-flight: one model after another, on
//! a blocking thread, and a load goes on when the client that asked for it leaves. A [`Lease`] keeps a model loaded;
//! when the last one ends the model's keep-alive begins. Adapters are loaded beside their model, and go with it.
//!
//! The public face is [`Models`]; `slot` has what is loaded and its leases, `load` how a model comes, `expiry` when it
//! goes, `room` what is done where memory or places run out.
//!
//! Memory is promised by bytes (`budget`): what a model takes is known before it is loaded. A request's context is a
//! share of the keys and values that its model may hold, so that another context never loads a model anew. Where memory
//! or places run out, the other models' limits for keys and values shrink first; then the model that was idle for
//! longest goes, never a pinned one, and one in use is waited for.
//!
//! Not here: prompts and generations (see `inference`), and what a model is (see `catalog`).

mod adapters;
mod budget;
mod expiry;
mod keep_alive;
mod load;
mod prefix_store;
mod room;
mod slot;
mod window;

pub(crate) use adapters::Wanted as WantedAdapter;
pub(crate) use keep_alive::KeepFor;
pub(crate) use slot::Lease;
pub(crate) use window::Window;

use crate::{catalog::Record, config::Config, error::ApiError};
use slm_engine::{Business, KvType, LoadOptions, LoadProgress, MemoryUse};
use slm_registry::Digest;
use slot::Slot;
use std::{
    collections::HashMap,
    fmt, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tracing::Instrument;

/// What a request needs of its model.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// The model.
    pub(crate) record: Arc<Record>,
    /// How large its context must be.
    pub(crate) window: Window,
    /// Compute threads, where the request says how many.
    pub(crate) n_threads: Option<usize>,
    /// How keys and values are stored, where somebody chose. It counts when the model is loaded.
    pub(crate) kv_type: Option<KvType>,
    /// Weights of a model that guesses for this one, likewise.
    pub(crate) draft: Option<PathBuf>,
    /// What the model's weights are changed by.
    pub(crate) adapters: Vec<WantedAdapter>,
    /// Idle time afterwards; `None` is the default.
    pub(crate) keep: Option<KeepFor>,
}

/// One line of `ps`.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) record: Arc<Record>,
    /// With keys and values of one sequence of `context_length`.
    pub(crate) size_bytes: u64,
    pub(crate) memory: MemoryUse,
    pub(crate) business: Business,
    pub(crate) context_length: usize,
    pub(crate) is_pinned: bool,
    pub(crate) expires_at: SystemTime,
}

/// A model that is being loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loading {
    pub(crate) record: Arc<Record>,
    /// Told nothing while the model waits until others have made room.
    pub(crate) progress: Arc<LoadProgress>,
}

/// The loaded models of this process.
#[derive(Clone)]
pub(crate) struct Models {
    shared: Arc<Shared>,
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").finish_non_exhaustive()
    }
}

struct Shared {
    slots: Mutex<HashMap<Digest, Slot>>,
    n_loads: AtomicU64,
    /// Counts changes of the slots; waiters watch it.
    changed: watch::Sender<u64>,
    /// Held while a model is being loaded.
    loader: Arc<tokio::sync::Mutex<()>>,
    /// That model, for whoever asks.
    loading: Mutex<Option<Loading>>,
    /// Held while an adapter is being loaded.
    adapter_loader: Arc<tokio::sync::Mutex<()>>,
    /// Requests that may wait for a model.
    waiting: Semaphore,
    max_loaded: usize,
    /// Bytes that all models may take together.
    memory: Option<u64>,
    default_keep: KeepFor,
    default_window: Option<usize>,
    options: LoadOptions,
    /// Bytes on disk for states of conversations; `None` chooses by what is free.
    prefix_cache: Option<u64>,
}

impl Models {
    /// No models yet.
    pub(crate) fn new(config: &Config) -> Self {
        let shared = Arc::new(Shared {
            slots: Mutex::default(),
            n_loads: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            loader: Arc::default(),
            loading: Mutex::default(),
            adapter_loader: Arc::default(),
            waiting: Semaphore::new(config.max_queue.min(Semaphore::MAX_PERMITS)),
            max_loaded: config.max_loaded_models,
            memory: config.memory,
            default_keep: config.keep_alive,
            default_window: config.context_length,
            options: LoadOptions {
                n_threads: config.n_threads,
                cpu: config.cpu.map(|isa| isa.to_string()),
                kv_type: config.kv_type,
                n_parallel: config.n_parallel,
                max_queue: config.max_queue.max(1),
                ..LoadOptions::default()
            },
            prefix_cache: config.prefix_cache,
        });
        Self { shared }
    }

    /// Starts the task that unloads models whose time is over. Needs a runtime.
    pub(crate) fn start_expiry(&self) {
        tokio::spawn(expiry::expire(
            Arc::downgrade(&self.shared),
            self.shared.changed.subscribe(),
        ));
    }

    /// The model, loaded, and its adapters. Waits its turn where loading is needed; dropping the future gives the place
    /// up.
    ///
    /// # Errors
    /// Too many wait, or the model or an adapter does not fit or cannot be loaded.
    pub(crate) async fn acquire(&self, demand: Demand) -> Result<Lease, ApiError> {
        let wanted = demand.adapters.clone();
        let mut lease = self.acquire_model(demand).await?;
        self.equip(&mut lease, &wanted).await?;
        Ok(lease)
    }

    async fn acquire_model(&self, demand: Demand) -> Result<Lease, ApiError> {
        if let Some(lease) = self.shared.lease(&demand) {
            return Ok(lease);
        }
        let started = Instant::now();
        let _place = self
            .shared
            .waiting
            .try_acquire()
            .map_err(|_| ApiError::busy())?;
        let turn = Arc::clone(&self.shared.loader).lock_owned().await;
        if let Some(lease) = self.shared.lease(&demand) {
            return Ok(lease);
        }
        // a task of its own: a load that has begun ends well even when the client has left
        let load = Arc::clone(&self.shared).load(demand, turn);
        let load = tokio::spawn(load.in_current_span());
        let mut lease = load.await??;
        lease.load_time = started.elapsed();
        Ok(lease)
    }

    /// The window that a request without one gets.
    pub(crate) fn default_window(&self) -> Option<usize> {
        self.shared.default_window
    }

    /// Unloads the model of `key` as soon as nobody uses it.
    pub(crate) fn unload(&self, key: &Digest) {
        let mut slots = self.shared.slots();
        if let Some(slot) = slots.get_mut(key) {
            slot.keep = KeepFor::Span(Duration::ZERO);
            slot.is_pinned = false;
        }
        let idle = slots.get(key).is_some_and(Slot::is_idle);
        let gone = idle.then(|| slots.remove(key)).flatten();
        drop(slots);
        self.shared.let_go(gone.into_iter().collect());
    }

    /// Makes the model ready, and then lets the others go that are not pinned, each when its last request has ended.
    /// Returns those.
    ///
    /// # Errors
    /// As [`Models::acquire`].
    pub(crate) async fn swap(
        &self,
        demand: Demand,
        is_pinned: Option<bool>,
    ) -> Result<Vec<Arc<Record>>, ApiError> {
        let key = demand.record.weights_key;
        let lease = self.acquire(demand).await?;
        let others: Vec<(Digest, Arc<Record>)> = {
            let mut slots = self.shared.slots();
            if let (Some(slot), Some(is_pinned)) = (slots.get_mut(&key), is_pinned) {
                slot.is_pinned = is_pinned;
            }
            let others = slots
                .iter()
                .filter(|(other, slot)| **other != key && !slot.is_pinned);
            others
                .map(|(key, slot)| (*key, Arc::clone(&slot.record)))
                .collect()
        };
        drop(lease);
        for (key, _) in &others {
            self.unload(key);
        }
        Ok(others.into_iter().map(|(_, record)| record).collect())
    }

    /// Unloads everything. Running generations keep their engines until they end.
    pub(crate) fn unload_all(&self) {
        let gone = mem::take(&mut *self.shared.slots());
        self.shared.let_go(gone.into_values().collect());
    }

    /// The model that is being loaded, if one is.
    pub(crate) fn loading(&self) -> Option<Loading> {
        self.shared.loading().clone()
    }

    /// The loaded models, the longest remaining time first.
    pub(crate) fn running(&self) -> Vec<Running> {
        let mut running: Vec<Running> = self
            .shared
            .slots()
            .values()
            .map(|slot| {
                let memory = slot.engine.memory();
                let fixed = memory.weights_bytes + memory.scratch_bytes + memory.other_bytes;
                Running {
                    record: Arc::clone(&slot.record),
                    size_bytes: fixed + slot.engine.footprint().kv_bytes(slot.window),
                    memory,
                    business: slot.engine.business(),
                    context_length: slot.window,
                    is_pinned: slot.is_pinned,
                    expires_at: slot.expires_at(),
                }
            })
            .collect();
        running.sort_by_key(|row| std::cmp::Reverse(row.expires_at));
        running
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, HashMap<Digest, Slot>> {
        // every critical section leaves the map whole
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loading(&self) -> MutexGuard<'_, Option<Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
