//! Room for models: places and memory are made by lowering the limits of others for keys and values, then by letting idle
//! models go; what is left over goes back to those that stay.
//!
//! How many bytes that is about is the arithmetic of `budget`; here is who gives and who gets.

use super::{
    Demand, Shared, budget,
    slot::{Lease, Slot},
};
use crate::error::ApiError;
use slm_engine::{Engine, Footprint};
use slm_registry::Digest;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long the memory of a model that was evicted may take to come back.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(2);

impl Shared {
    /// Evicts until one more model may be loaded.
    ///
    /// # Errors
    /// All places belong to pinned models.
    pub(super) async fn make_place(&self) -> Result<(), ApiError> {
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
    pub(super) fn room(&self) -> Option<u64> {
        let available = slm_engine::memory::available_bytes();
        let slots = self.slots();
        let models = slots.values().map(|slot| slot.engine.memory());
        budget::room(self.memory, available, models)
    }

    /// Makes room until the model fits, and chooses its window.
    pub(super) async fn make_room(
        &self,
        demand: &Demand,
        footprint: &Footprint,
    ) -> Result<usize, ApiError> {
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
    pub(super) fn is_wide_enough_soon(&self, demand: &Demand) -> bool {
        let slots = self.slots();
        let slot = slots.get(&demand.record.weights_key);
        slot.is_some_and(|slot| slot.serves(demand))
    }

    /// Raises the limit for keys and values of a loaded model until the demand's window fits.
    pub(super) async fn widen(self: &Arc<Self>, demand: &Demand) -> Result<Lease, ApiError> {
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

    pub(super) async fn evict_all_idle(&self) -> bool {
        let mut any = false;
        while self.evict_one(None).await {
            any = true;
        }
        any
    }

    /// Frees engines off the runtime: ending their threads takes a moment.
    pub(super) fn let_go(self: &Arc<Self>, slots: Vec<Slot>) {
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

    pub(super) async fn let_go_and_wait(&self, slots: Vec<Slot>) {
        let freed = tokio::task::spawn_blocking(move || drop(slots));
        if tokio::time::timeout(SETTLE_TIMEOUT, freed).await.is_err() {
            tracing::debug!("the memory of an unloaded model is slow to come back");
        }
        self.changed.send_modify(|n| *n += 1);
    }
}
