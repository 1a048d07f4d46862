//! Loaded models: load on demand, keep for a while, evict for others.
//!
//! One engine per weights blob, whatever name it is asked for by. Loading is single-flight: one model after another, on
//! a blocking thread, and a load goes on when the client that asked for it leaves. A [`Lease`] keeps a model loaded;
//! when the last one ends the model's keep-alive begins. Adapters are loaded beside their model, and go with it.
//!
//! Memory is promised by bytes (`budget`): what a model takes is known before it is loaded. A request's context is a
//! share of the keys and values that its model may hold, so that another context never loads a model anew. Where memory
//! or places run out, the other models' limits for keys and values shrink first; then the model that was idle for
//! longest goes, never a pinned one, and one in use is waited for.
//!
//! Not here: prompts and generations (see `inference`), and what a model is (see `catalog`).

mod adapters;
mod budget;
mod keep_alive;
mod prefix_store;
mod window;

pub(crate) use adapters::Wanted as WantedAdapter;
pub(crate) use keep_alive::KeepFor;
pub(crate) use window::Window;

use crate::{catalog::Record, config::Config, error::ApiError};
use slm_engine::{
    Adapters, Business, Engine, Footprint, KvType, LoadError, LoadOptions, LoadProgress, MemoryUse,
    ModelFiles,
};
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
/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(2);
/// How long a load waits for models in use to become idle.
const ROOM_TIMEOUT: Duration = Duration::from_secs(300);
/// When to try again after that.
const RETRY_AFTER: Duration = Duration::from_secs(30);
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
    /// Tokens of prompt and answer together, at most.
    pub(crate) context_length: usize,
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
            if slot.is_idle() {
                slot.window_in_use = slot.window_at_first;
            }
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

/// Takes what is being loaded off the board when the load has ended, however it has.
struct OnBoard<'a>(&'a Shared);

impl Drop for OnBoard<'_> {
    fn drop(&mut self) {
        *self.0.loading() = None;
    }
}

struct Slot {
    /// Tells apart two loads of one model.
    id: u64,
    engine: Engine,
    adapters: adapters::Kept,
    record: Arc<Record>,
    n_threads: Option<usize>,
    /// The largest context that a request got; of those that it works on, if any; and the one that it was loaded with.
    window: usize,
    window_in_use: usize,
    window_at_first: usize,
    /// Goes only when somebody says so.
    is_pinned: bool,
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
            KeepFor::Span(span) if self.is_idle() && !self.is_pinned => {
                Some(self.idle_since + span)
            }
            _ => None,
        }
    }
    fn is_idle(&self) -> bool {
        self.n_leases == 0
    }
    fn expires_at(&self) -> SystemTime {
        match self.keep {
            _ if self.is_pinned => SystemTime::now() + FOREVER,
            KeepFor::Forever => SystemTime::now() + FOREVER,
            KeepFor::Span(span) if self.n_leases == 0 => self.used_at + span,
            KeepFor::Span(span) => SystemTime::now() + span,
        }
    }
    /// Whether it can do what is demanded, given memory for the context.
    fn serves(&self, demand: &Demand) -> bool {
        self.engine.is_running()
            && !self.is_retiring
            && (demand.n_threads.is_none() || demand.n_threads == self.n_threads)
    }
    /// The context that a request gets within `kv_bytes`.
    fn window_in(&self, window: Window, kv_bytes: u64) -> Option<usize> {
        let footprint = self.engine.footprint();
        window.largest_that(self.engine.context_length(), |n| {
            footprint.kv_bytes(n) <= kv_bytes
        })
    }
    /// What keys and values need at least.
    fn kv_floor(&self) -> u64 {
        self.engine.footprint().kv_bytes(self.window_in_use)
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

    /// A lease of what is loaded, if it will do.
    fn lease(self: &Arc<Self>, demand: &Demand) -> Option<Lease> {
        let key = demand.record.weights_key;
        let mut slots = self.slots();
        let slot = slots.get_mut(&key).filter(|slot| slot.serves(demand))?;
        let window = slot.window_in(demand.window, slot.engine.memory().kv_bytes_limit)?;
        Some(self.take(slot, demand, window))
    }

    fn take(self: &Arc<Self>, slot: &mut Slot, demand: &Demand, window: usize) -> Lease {
        slot.n_leases += 1;
        slot.window = slot.window.max(window);
        slot.window_in_use = slot.window_in_use.max(window);
        slot.keep = demand.keep.unwrap_or(self.default_keep);
        slot.record = Arc::clone(&demand.record);
        Lease {
            shared: Arc::clone(self),
            key: demand.record.weights_key,
            slot_id: slot.id,
            engine: slot.engine.clone(),
            adapters: Adapters::default(),
            context_length: window,
            load_time: Duration::ZERO,
        }
    }

    async fn load(
        self: Arc<Self>,
        demand: Demand,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<Lease, ApiError> {
        let key = demand.record.weights_key;
        let progress = Arc::<LoadProgress>::default();
        *self.loading() = Some(Loading {
            record: Arc::clone(&demand.record),
            progress: Arc::clone(&progress),
        });
        let _on_board = OnBoard(&self);
        let mut options = LoadOptions {
            progress: Some(progress),
            n_threads: demand.n_threads.or(self.options.n_threads),
            kv_type: demand.kv_type.unwrap_or(self.options.kv_type),
            draft: demand.draft.clone(),
            prefix_store: prefix_store::options(self.prefix_cache, &key),
            ..self.options.clone()
        };
        let ready = async {
            if self.is_wide_enough_soon(&demand) {
                return self.widen(&demand).await.map(Ready::Widened);
            }
            let footprint = footprint(&demand, &options).await?;
            let was_pinned = self.retire(&key).await;
            self.make_place().await?;
            let window = self.make_room(&demand, &footprint).await?;
            Ok(Ready::Room(footprint, window, was_pinned))
        };
        let Ok(ready) = tokio::time::timeout(ROOM_TIMEOUT, ready).await else {
            if let Some(slot) = self.slots().get_mut(&key) {
                slot.is_retiring = false;
            }
            return Err(ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "the models in use leave no room for another one, and none became idle in time; try again later",
            )
            .retry_after(RETRY_AFTER));
        };
        let (footprint, window, was_pinned) = match ready? {
            Ready::Widened(lease) => return Ok(lease),
            Ready::Room(footprint, window, was_pinned) => (footprint, window, was_pinned),
        };
        let room = self.room();
        options.kv_bytes = Some(budget::kv_limit(
            &footprint,
            window,
            options.n_parallel,
            room,
        ));
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
            context_length = window,
            weights_mib = footprint.weights_bytes >> 20,
            kv_limit_mib = engine.memory().kv_bytes_limit >> 20,
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
            window,
            window_in_use: window,
            window_at_first: window,
            is_pinned: was_pinned,
            n_leases: 0,
            is_retiring: false,
            keep: self.default_keep,
            idle_since: Instant::now(),
            used_at: SystemTime::now(),
        };
        let lease = self.take(&mut slot, &demand, window);
        self.slots().insert(key, slot);
        Ok(lease)
    }

    async fn load_engine(
        &self,
        demand: &Demand,
        options: &LoadOptions,
    ) -> Result<Engine, LoadFailure> {
        let paths = demand.record.weights_paths.clone();
        let options = options.clone();
        let load = move || Engine::load_files(&ModelFiles::open_parts(&paths)?, &options);
        let loaded = tokio::task::spawn_blocking(load).await;
        match loaded {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error @ LoadError::OutOfMemory { .. })) => Err(LoadFailure::OutOfMemory(error)),
            Ok(Err(error)) => Err(LoadFailure::Other(ApiError::from(error))),
            Err(panic) => Err(LoadFailure::Other(ApiError::from(panic))),
        }
    }

    /// Waits until nobody uses the model of `key`, and unloads it: it must be loaded anew. Whether it was
    /// pinned.
    async fn retire(&self, key: &Digest) -> bool {
        let mut changes = self.changed.subscribe();
        loop {
            let gone = {
                let mut slots = self.slots();
                let Some(slot) = slots.get_mut(key) else {
                    return false;
                };
                slot.is_retiring = true;
                let is_idle = slot.is_idle() || !slot.engine.is_running();
                is_idle.then(|| slots.remove(key)).flatten()
            };
            if let Some(slot) = gone {
                let was_pinned = slot.is_pinned;
                self.let_go_and_wait(vec![slot]).await;
                return was_pinned;
            }
            if changes.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Evicts until one more model may be loaded.
    ///
    /// # Errors
    /// All places belong to pinned models.
    async fn make_place(&self) -> Result<(), ApiError> {
        let mut changes = self.changed.subscribe();
        while self.slots().len() >= self.max_loaded {
            if self.evict_one(None).await {
                continue;
            }
            if !self.somebody_may_leave(None) {
                return Err(ApiError::new(
                    http::StatusCode::SERVICE_UNAVAILABLE,
                    format!(
                        "the {} models that may be loaded at once are all pinned; stop one (`slm stop MODEL`), or raise SLM_MAX_LOADED_MODELS",
                        self.max_loaded
                    ),
                ));
            }
            if changes.changed().await.is_err() {
                return Err(ApiError::canceled());
            }
        }
        Ok(())
    }

    /// What may still be promised.
    fn room(&self) -> Option<u64> {
        let available = slm_engine::memory::available_bytes();
        let slots = self.slots();
        let models = slots.values().map(|slot| slot.engine.memory());
        budget::room(self.memory, available, models)
    }

    /// Makes room until the model fits, and chooses its window.
    async fn make_room(&self, demand: &Demand, footprint: &Footprint) -> Result<usize, ApiError> {
        let trained = footprint.context_length;
        let adapters = demand.adapters.iter().map(|adapter| adapter.size_bytes);
        let fixed = adapters.fold(footprint.fixed_bytes(), u64::saturating_add);
        let needed = |window| fixed.saturating_add(footprint.kv_bytes(window));
        let mut changes = self.changed.subscribe();
        loop {
            let Some(room) = self.room() else {
                return Ok(demand.window.preferred(trained));
            };
            let fits = |window: usize| needed(window) <= room;
            if let Some(window) = demand.window.largest_that(trained, fits) {
                return Ok(window);
            }
            if self.shrink(None).await || self.evict_one(None).await {
                continue;
            }
            if !self.somebody_may_leave(None) {
                let least = demand.window.least(trained);
                let n_parameters = demand.record.gguf.n_parameters;
                let advice = budget::advice(footprint, room, least, n_parameters);
                return Err(ApiError::too_large(needed(least), room, &advice));
            }
            if changes.changed().await.is_err() {
                return Err(ApiError::canceled());
            }
        }
    }

    /// Whether all that the demand lacks is a higher limit for keys and values.
    fn is_wide_enough_soon(&self, demand: &Demand) -> bool {
        let slots = self.slots();
        let slot = slots.get(&demand.record.weights_key);
        slot.is_some_and(|slot| slot.serves(demand))
    }

    /// Raises the limit for keys and values of a loaded model until the demand's window fits.
    async fn widen(self: &Arc<Self>, demand: &Demand) -> Result<Lease, ApiError> {
        let key = &demand.record.weights_key;
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(lease) = self.lease(demand) {
                return Ok(lease);
            }
            let room = self.room();
            {
                let mut slots = self.slots();
                let Some(slot) = slots.get_mut(key).filter(|slot| slot.serves(demand)) else {
                    return Err(ApiError::canceled());
                };
                let limit = slot.engine.memory().kv_bytes_limit;
                let reachable = room.map_or(u64::MAX, |room| limit.saturating_add(room));
                if let Some(window) = slot.window_in(demand.window, reachable) {
                    let needed = slot.engine.footprint().kv_bytes(window);
                    slot.engine.set_kv_limit(needed.max(limit));
                    tracing::info!(model = %slot.record.name, context_length = window, "raised the limit for keys and values");
                    return Ok(self.take(slot, demand, window));
                }
            }
            if self.shrink(Some(key)).await || self.evict_one(Some(key)).await {
                continue;
            }
            if !self.somebody_may_leave(Some(key)) {
                return Err(self.too_wide(demand, room.unwrap_or(0)));
            }
            if changes.changed().await.is_err() {
                return Err(ApiError::canceled());
            }
        }
    }

    /// The error of a context that a loaded model cannot be given.
    fn too_wide(&self, demand: &Demand, room: u64) -> ApiError {
        let slots = self.slots();
        let Some(slot) = slots.get(&demand.record.weights_key) else {
            return ApiError::canceled();
        };
        let footprint = slot.engine.footprint();
        let least = demand.window.least(slot.engine.context_length());
        let reachable = slot.engine.memory().kv_bytes_limit.saturating_add(room);
        ApiError::bad_request(format!(
            "a context of {least} tokens needs {} MiB for keys and values, and {} MiB can be had beside the weights; at most {} tokens would fit (num_ctx)",
            footprint.kv_bytes(least) >> 20,
            reachable >> 20,
            footprint.longest_in(reachable)
        ))
    }

    /// Lowers the limits for keys and values of all models but `except` to what their contexts need, and waits for the
    /// memory; `false` when they are there already.
    async fn shrink(&self, except: Option<&Digest>) -> bool {
        let mut lowered = Vec::new();
        for (key, slot) in self.slots().iter() {
            let floor = slot.kv_floor();
            if Some(key) != except && slot.engine.memory().kv_bytes_limit > floor {
                slot.engine.set_kv_limit(floor);
                lowered.push(slot.engine.clone());
            }
        }
        let has_settled = |engine: &Engine| {
            let memory = engine.memory();
            memory.kv_bytes_in_use <= memory.kv_bytes_limit
        };
        let until = Instant::now() + SETTLE_TIMEOUT;
        while !lowered.iter().all(has_settled) && Instant::now() < until {
            tokio::time::sleep(SETTLE_POLL).await;
        }
        !lowered.is_empty()
    }

    /// Gives models whose limits were lowered more again, once others have gone.
    fn spread(&self) {
        // a load that goes on needs the memory, and spreads what is left by itself
        let Ok(_turn) = self.loader.try_lock() else {
            return;
        };
        let keys: Vec<Digest> = self.slots().keys().copied().collect();
        for key in keys {
            let Some(room) = self.room() else { return };
            let slots = self.slots();
            let Some(slot) = slots.get(&key) else {
                continue;
            };
            let limit = slot.engine.memory().kv_bytes_limit;
            let footprint = slot.engine.footprint();
            let whole = footprint
                .fixed_bytes()
                .saturating_add(room)
                .saturating_add(limit);
            let window = slot.window_at_first;
            let fair = budget::kv_limit(footprint, window, self.options.n_parallel, Some(whole));
            if fair > limit {
                slot.engine.set_kv_limit(fair);
            }
        }
    }

    /// Whether a model other than `except` is in use and may go once it is not.
    fn somebody_may_leave(&self, except: Option<&Digest>) -> bool {
        let slots = self.slots();
        let mut others = slots.iter().filter(|(key, _)| Some(*key) != except);
        others.any(|(_, slot)| !slot.is_pinned)
    }

    /// Unloads the model that was idle for longest, neither a pinned one nor `except`; `false` when there is none.
    async fn evict_one(&self, except: Option<&Digest>) -> bool {
        let gone = {
            let mut slots = self.slots();
            let key = slots
                .iter()
                .filter(|(key, slot)| slot.is_idle() && !slot.is_pinned && Some(*key) != except)
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
        while self.evict_one(None).await {
            any = true;
        }
        any
    }

    /// Frees engines off the runtime: ending their threads takes a moment.
    fn let_go(self: &Arc<Self>, slots: Vec<Slot>) {
        if slots.is_empty() {
            return;
        }
        for slot in &slots {
            tracing::info!(model = %slot.record.name, "unloaded");
        }
        self.changed.send_modify(|n| *n += 1);
        let shared = Arc::clone(self);
        // where no thread can be had, the closure is dropped here, and the slots with it
        let _freed_here = std::thread::Builder::new().spawn(move || {
            drop(slots);
            shared.spread();
        });
    }

    async fn let_go_and_wait(&self, slots: Vec<Slot>) {
        let freed = tokio::task::spawn_blocking(move || drop(slots));
        if tokio::time::timeout(SETTLE_TIMEOUT, freed).await.is_err() {
            tracing::debug!("the memory of an unloaded model is slow to come back");
        }
        self.changed.send_modify(|n| *n += 1);
    }
}

/// What is done so that a model can be used.
enum Ready {
    /// It was there, and has more memory now.
    Widened(Lease),
    /// There is room for it, with such a context; and whether it was pinned until now.
    Room(Footprint, usize, bool),
}

async fn footprint(demand: &Demand, options: &LoadOptions) -> Result<Footprint, ApiError> {
    let (paths, options) = (demand.record.weights_paths.clone(), options.clone());
    let read = move || Footprint::of(&ModelFiles::open_parts(&paths)?, &options);
    Ok(tokio::task::spawn_blocking(read).await??)
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
