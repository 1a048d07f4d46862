//! Loaded models: load on demand, keep for a while, evict for others.
//!
//! One engine per weights blob, whatever name it is asked for by. Loading is single-flight: one model after another, on
//! a blocking thread, and a load goes on when the client that asked for it leaves. A [`Lease`] keeps a model loaded;
//! when the last one ends the model's keep-alive begins. Where memory or places run out, the model that was idle for
//! longest goes first, and one in use is waited for. Adapters are loaded beside their model, and go with it.
//!
//! Not here: prompts and generations (see `inference`), and what a model is (see `catalog`).

mod adapters;
mod keep_alive;
mod prefix_store;
mod window;

pub(crate) use adapters::Wanted as WantedAdapter;
pub(crate) use keep_alive::KeepFor;
pub(crate) use window::Window;

use crate::{catalog::Record, config::Config, error::ApiError};
use slm_engine::{Adapters, Engine, KvType, LoadError, LoadOptions};
use slm_registry::Digest;
use std::{
    collections::HashMap,
    fmt, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{OwnedMutexGuard, Semaphore, watch},
    time::Instant,
};
use tracing::Instrument;

/// How long the memory of a model that was evicted may take to come back.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a load waits for models in use to become idle.
const ROOM_TIMEOUT: Duration = Duration::from_secs(300);
/// How far ahead "forever" is said to be.
const FOREVER: Duration = Duration::from_secs(300 * 365 * 24 * 3600);

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

/// A model in use. While it lives the model stays loaded.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    key: Digest,
    slot_id: u64,
    engine: Engine,
    adapters: Adapters,
    /// Time that this request waited for loading; zero when it was there.
    pub(crate) load_time: Duration,
}

impl Lease {
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
    /// The adapters that the request wants, loaded.
    pub(crate) fn adapters(&self) -> &Adapters {
        &self.adapters
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut slots = self.shared.slots();
        let slot = slots.get_mut(&self.key);
        if let Some(slot) = slot.filter(|slot| slot.id == self.slot_id) {
            slot.n_leases -= 1;
            slot.idle_since = Instant::now();
            slot.used_at = SystemTime::now();
        }
        drop(slots);
        self.shared.changed.send_modify(|n| *n += 1);
    }
}

/// One line of `ps`.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) record: Arc<Record>,
    pub(crate) size_bytes: u64,
    pub(crate) context_length: usize,
    pub(crate) expires_at: SystemTime,
}

struct Slot {
    /// Tells apart two loads of one model.
    id: u64,
    engine: Engine,
    adapters: adapters::Kept,
    record: Arc<Record>,
    n_threads: Option<usize>,
    n_leases: usize,
    /// Gives no more leases: a load waits for it to become idle.
    is_retiring: bool,
    keep: KeepFor,
    idle_since: Instant,
    used_at: SystemTime,
}

impl Slot {
    /// When it goes, as long as nobody uses it; `None` is never.
    fn deadline(&self) -> Option<Instant> {
        match self.keep {
            KeepFor::Span(span) if self.n_leases == 0 => Some(self.idle_since + span),
            _ => None,
        }
    }
    fn expires_at(&self) -> SystemTime {
        match self.keep {
            KeepFor::Forever => SystemTime::now() + FOREVER,
            KeepFor::Span(span) if self.n_leases == 0 => self.used_at + span,
            KeepFor::Span(span) => SystemTime::now() + span,
        }
    }
    fn serves(&self, demand: &Demand) -> bool {
        let trained = demand.record.gguf.context_length;
        self.engine.is_running()
            && !self.is_retiring
            && self.engine.context_length() >= demand.window.least(trained)
            && (demand.n_threads.is_none() || demand.n_threads == self.n_threads)
    }
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
    /// Held while an adapter is being loaded.
    adapter_loader: Arc<tokio::sync::Mutex<()>>,
    /// Requests that may wait for a model.
    waiting: Semaphore,
    max_loaded: usize,
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
            adapter_loader: Arc::default(),
            waiting: Semaphore::new(config.max_queue.min(Semaphore::MAX_PERMITS)),
            max_loaded: config.max_loaded_models,
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
        tokio::spawn(expire(
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
        }
        let idle = slots.get(key).is_some_and(|slot| slot.n_leases == 0);
        let gone = idle.then(|| slots.remove(key)).flatten();
        drop(slots);
        self.shared.let_go(gone.into_iter().collect());
    }

    /// Unloads everything. Running generations keep their engines until they end.
    pub(crate) fn unload_all(&self) {
        let gone = mem::take(&mut *self.shared.slots());
        self.shared.let_go(gone.into_values().collect());
    }

    /// The loaded models, the longest remaining time first.
    pub(crate) fn running(&self) -> Vec<Running> {
        let mut running: Vec<Running> = self
            .shared
            .slots()
            .values()
            .map(|slot| {
                let memory = slot.engine.memory();
                Running {
                    record: Arc::clone(&slot.record),
                    size_bytes: memory.weights_bytes + memory.kv_bytes,
                    context_length: slot.engine.context_length(),
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

    /// A lease of what is loaded, if it will do.
    fn lease(self: &Arc<Self>, demand: &Demand) -> Option<Lease> {
        let key = demand.record.weights.digest;
        let mut slots = self.slots();
        let slot = slots.get_mut(&key).filter(|slot| slot.serves(demand))?;
        Some(self.take(slot, demand))
    }

    fn take(self: &Arc<Self>, slot: &mut Slot, demand: &Demand) -> Lease {
        slot.n_leases += 1;
        slot.keep = demand.keep.unwrap_or(self.default_keep);
        slot.record = Arc::clone(&demand.record);
        Lease {
            shared: Arc::clone(self),
            key: demand.record.weights.digest,
            slot_id: slot.id,
            engine: slot.engine.clone(),
            adapters: Adapters::default(),
            load_time: Duration::ZERO,
        }
    }

    async fn load(
        self: Arc<Self>,
        demand: Demand,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<Lease, ApiError> {
        let key = demand.record.weights.digest;
        let ready = async {
            self.retire(&key).await;
            self.make_place().await;
            self.make_room(&demand).await
        };
        let Ok(context_length) = tokio::time::timeout(ROOM_TIMEOUT, ready).await else {
            if let Some(slot) = self.slots().get_mut(&key) {
                slot.is_retiring = false;
            }
            return Err(ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "the models in use leave no room for another one, and none became idle in time; try again later",
            ));
        };
        let context_length = context_length?;
        let options = LoadOptions {
            context_length: Some(context_length),
            n_threads: demand.n_threads.or(self.options.n_threads),
            kv_type: demand.kv_type.unwrap_or(self.options.kv_type),
            draft: demand.draft.clone(),
            prefix_store: prefix_store::options(self.prefix_cache, &key),
            ..self.options.clone()
        };
        let started = Instant::now();
        let engine = match self.load_engine(&demand, &options).await {
            Err(LoadFailure::OutOfMemory(error)) if self.evict_all_idle().await => {
                tracing::info!(%error, "trying once more with other models unloaded");
                self.load_engine(&demand, &options).await
            }
            first => first,
        };
        let engine = engine.map_err(ApiError::from)?;
        tracing::info!(
            model = %demand.record.name,
            context_length = engine.context_length(),
            cpu = %engine.cpu(),
            threads = engine.n_threads(),
            load_ms = started.elapsed().as_millis() as u64,
            "loaded"
        );
        let mut slot = Slot {
            id: self.n_loads.fetch_add(1, Ordering::Relaxed),
            engine,
            adapters: adapters::Kept::default(),
            record: Arc::clone(&demand.record),
            n_threads: demand.n_threads,
            n_leases: 0,
            is_retiring: false,
            keep: self.default_keep,
            idle_since: Instant::now(),
            used_at: SystemTime::now(),
        };
        let lease = self.take(&mut slot, &demand);
        self.slots().insert(key, slot);
        Ok(lease)
    }

    async fn load_engine(
        &self,
        demand: &Demand,
        options: &LoadOptions,
    ) -> Result<Engine, LoadFailure> {
        let path = demand.record.weights_path.clone();
        let options = options.clone();
        let loaded = tokio::task::spawn_blocking(move || Engine::load(&path, &options)).await;
        match loaded {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error @ LoadError::OutOfMemory { .. })) => Err(LoadFailure::OutOfMemory(error)),
            Ok(Err(error)) => Err(LoadFailure::Other(ApiError::from(error))),
            Err(panic) => Err(LoadFailure::Other(ApiError::from(panic))),
        }
    }

    /// Waits until nobody uses the model of `key`, and unloads it: it must be loaded anew.
    async fn retire(&self, key: &Digest) {
        let mut changes = self.changed.subscribe();
        loop {
            let gone = {
                let mut slots = self.slots();
                let Some(slot) = slots.get_mut(key) else {
                    return;
                };
                slot.is_retiring = true;
                let is_idle = slot.n_leases == 0 || !slot.engine.is_running();
                is_idle.then(|| slots.remove(key)).flatten()
            };
            if let Some(slot) = gone {
                self.let_go_and_wait(vec![slot]).await;
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Evicts until one more model may be loaded.
    async fn make_place(&self) {
        let mut changes = self.changed.subscribe();
        while self.slots().len() >= self.max_loaded {
            if !self.evict_one().await && changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Evicts until the model fits, and chooses its window.
    async fn make_room(&self, demand: &Demand) -> Result<usize, ApiError> {
        let gguf = &demand.record.gguf;
        let adapters = demand.adapters.iter().map(|adapter| adapter.size_bytes);
        let adapters_bytes = adapters.fold(0, u64::saturating_add);
        let needed = |window| gguf.needed_bytes(window).saturating_add(adapters_bytes);
        let mut changes = self.changed.subscribe();
        loop {
            let Some(available) = slm_engine::memory::available_bytes() else {
                return Ok(demand.window.preferred(gguf.context_length));
            };
            let fits = |window: usize| needed(window) <= available;
            if let Some(window) = demand.window.largest_that(gguf.context_length, fits) {
                return Ok(window);
            }
            if self.evict_one().await {
                continue;
            }
            if self.slots().is_empty() {
                let least = demand.window.least(gguf.context_length);
                return Err(ApiError::too_large(needed(least), available));
            }
            if changes.changed().await.is_err() {
                return Err(ApiError::canceled());
            }
        }
    }

    /// Unloads the model that was idle for longest; `false` when none is idle.
    async fn evict_one(&self) -> bool {
        let gone = {
            let mut slots = self.slots();
            let key = slots
                .iter()
                .filter(|(_, slot)| slot.n_leases == 0)
                .min_by_key(|(_, slot)| slot.idle_since)
                .map(|(key, _)| *key);
            key.and_then(|key| slots.remove(&key))
        };
        let Some(slot) = gone else { return false };
        tracing::info!(model = %slot.record.name, "evicted to make room");
        self.let_go_and_wait(vec![slot]).await;
        true
    }

    async fn evict_all_idle(&self) -> bool {
        let mut any = false;
        while self.evict_one().await {
            any = true;
        }
        any
    }

    /// Frees engines off the runtime: ending their threads takes a moment.
    fn let_go(&self, slots: Vec<Slot>) {
        if slots.is_empty() {
            return;
        }
        for slot in &slots {
            tracing::info!(model = %slot.record.name, "unloaded");
        }
        self.changed.send_modify(|n| *n += 1);
        // where no thread can be had, the closure is dropped here, and the slots with it
        let _freed_here = std::thread::Builder::new().spawn(move || drop(slots));
    }

    async fn let_go_and_wait(&self, slots: Vec<Slot>) {
        let freed = tokio::task::spawn_blocking(move || drop(slots));
        if tokio::time::timeout(SETTLE_TIMEOUT, freed).await.is_err() {
            tracing::debug!("the memory of an unloaded model is slow to come back");
        }
        self.changed.send_modify(|n| *n += 1);
    }
}

/// Why an engine did not come up.
enum LoadFailure {
    /// Worth another try when something else goes.
    OutOfMemory(LoadError),
    Other(ApiError),
}

impl From<LoadFailure> for ApiError {
    fn from(failure: LoadFailure) -> Self {
        match failure {
            LoadFailure::OutOfMemory(error) => Self::from(error),
            LoadFailure::Other(error) => error,
        }
    }
}

/// Unloads idle models when their time is over, until [`Models`] is gone.
async fn expire(shared: Weak<Shared>, mut changes: watch::Receiver<u64>) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let now = Instant::now();
            let mut slots = shared.slots();
            let over: Vec<Digest> = slots
                .iter()
                .filter(|(_, slot)| slot.deadline().is_some_and(|deadline| deadline <= now))
                .map(|(key, _)| *key)
                .collect();
            let gone: Vec<Slot> = over.iter().filter_map(|key| slots.remove(key)).collect();
            let next = slots.values().filter_map(Slot::deadline).min();
            drop(slots);
            shared.let_go(gone);
            next
        };
        let changed = match next {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => Ok(()),
                changed = changes.changed() => changed,
            },
            None => changes.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
