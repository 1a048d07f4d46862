//! Loading a model: room is made or more given to one that is there, then the files are read and an engine comes up.
//!
//! One load at a time, in a task of its own, which goes on when the client has left.

use super::{
    Demand, Loading, Shared, adapters, budget, prefix_store,
    slot::{Lease, Slot},
};
use crate::error::ApiError;
use slm_engine::{Engine, Footprint, LoadError, LoadOptions, LoadProgress, ModelFiles};
use slm_registry::Digest;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// How long a load waits for models in use to become idle.
const ROOM_TIMEOUT: Duration = Duration::from_secs(300);
/// When to try again after that.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Takes what is being loaded off the board when the load has ended, however it has.
struct OnBoard<'a>(&'a Shared);

impl Drop for OnBoard<'_> {
    fn drop(&mut self) {
        *self.0.loading() = None;
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

impl Shared {
    pub(super) async fn load(
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
}
