//! A loaded model and its leases: who may use it, for which context, and until when it stays.

use super::{Demand, KeepFor, Shared, Window, adapters};
use crate::catalog::Record;
use slm_engine::{Adapters, Engine};
use slm_registry::Digest;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How far ahead "forever" is said to be.
const FOREVER: Duration = Duration::from_secs(300 * 365 * 24 * 3600);

/// A model in use. While it lives the model stays loaded.
pub(crate) struct Lease {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Digest,
    pub(super) slot_id: u64,
    pub(super) engine: Engine,
    pub(super) adapters: Adapters,
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

/// A loaded model, with what it is kept and used for.
pub(super) struct Slot {
    /// Tells apart two loads of one model.
    pub(super) id: u64,
    pub(super) engine: Engine,
    pub(super) adapters: adapters::Kept,
    pub(super) record: Arc<Record>,
    pub(super) n_threads: Option<usize>,
    /// The largest context that a request got; of those that it works on, if any; and the one that it was loaded with.
    pub(super) window: usize,
    pub(super) window_in_use: usize,
    pub(super) window_at_first: usize,
    /// Goes only when somebody says so.
    pub(super) is_pinned: bool,
    pub(super) n_leases: usize,
    /// Gives no more leases: a load waits for it to become idle.
    pub(super) is_retiring: bool,
    pub(super) keep: KeepFor,
    pub(super) idle_since: Instant,
    pub(super) used_at: SystemTime,
}

impl Slot {
    /// When it goes, as long as nobody uses it; `None` is never.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.keep {
            KeepFor::Span(span) if self.is_idle() && !self.is_pinned => {
                Some(self.idle_since + span)
            }
            _ => None,
        }
    }
    pub(super) fn is_idle(&self) -> bool {
        self.n_leases == 0
    }
    pub(super) fn expires_at(&self) -> SystemTime {
        match self.keep {
            _ if self.is_pinned => SystemTime::now() + FOREVER,
            KeepFor::Forever => SystemTime::now() + FOREVER,
            KeepFor::Span(span) if self.n_leases == 0 => self.used_at + span,
            KeepFor::Span(span) => SystemTime::now() + span,
        }
    }
    /// Whether it can do what is demanded, given memory for the context.
    pub(super) fn serves(&self, demand: &Demand) -> bool {
        self.engine.is_running()
            && !self.is_retiring
            && (demand.n_threads.is_none() || demand.n_threads == self.n_threads)
    }
    /// The context that a request gets within `kv_bytes`.
    pub(super) fn window_in(&self, window: Window, kv_bytes: u64) -> Option<usize> {
        let footprint = self.engine.footprint();
        window.largest_that(self.engine.context_length(), |n| {
            footprint.kv_bytes(n) <= kv_bytes
        })
    }
    /// What keys and values need at least.
    pub(super) fn kv_floor(&self) -> u64 {
        self.engine.footprint().kv_bytes(self.window_in_use)
    }
}

impl Shared {
    /// A lease of what is loaded, if it will do.
    pub(super) fn lease(self: &Arc<Self>, demand: &Demand) -> Option<Lease> {
        let key = demand.record.weights_key;
        let mut slots = self.slots();
        let slot = slots.get_mut(&key).filter(|slot| slot.serves(demand))?;
        let window = slot.window_in(demand.window, slot.engine.memory().kv_bytes_limit)?;
        Some(self.take(slot, demand, window))
    }

    pub(super) fn take(self: &Arc<Self>, slot: &mut Slot, demand: &Demand, window: usize) -> Lease {
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
}
