//! The adapters of the loaded models: loaded on demand, kept with their model, and shared by all requests.

use super::{Lease, Models, Shared, Slot};
use crate::error::ApiError;
use slm_engine::{Adapter, Adapters, LoadError};
use slm_registry::Digest;
use std::{path::PathBuf, sync::Arc};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// Adapters that a model keeps; the one that was not used for longest makes place.
const MAX_KEPT: usize = 16;

/// An adapter that a request wants, and the factor to apply it with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) path: PathBuf,
    /// Of the file, which is about what it takes in memory.
    pub(crate) size_bytes: u64,
    pub(crate) scale: f32,
}

/// The loaded adapters of one model, the last used last; at most [`MAX_KEPT`].
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(Digest, Adapter)>);

impl Kept {
    fn get(&mut self, digest: &Digest) -> Option<Adapter> {
        let at = self.0.iter().position(|(known, _)| known == digest)?;
        let found = self.0.remove(at);
        self.0.push(found);
        self.0.last().map(|(_, adapter)| adapter.clone())
    }

    fn put(&mut self, digest: Digest, adapter: Adapter) {
        if self.0.len() == MAX_KEPT {
            self.0.remove(0);
        }
        self.0.push((digest, adapter));
    }
}

impl Models {
    /// Gives a lease the adapters that its request wants, loading those that are not there.
    ///
    /// # Errors
    /// Too many wait, or an adapter does not fit, into memory or to the model.
    pub(super) async fn equip(&self, lease: &mut Lease, wanted: &[Wanted]) -> Result<(), ApiError> {
        let mut list = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let there = self.shared.kept(lease, &wanted.digest);
            let adapter = match there {
                Some(adapter) => adapter,
                None => self.load_adapter(lease, wanted).await?,
            };
            list.push((adapter, wanted.scale));
        }
        lease.adapters = Adapters::new(list);
        Ok(())
    }

    /// Loads an adapter, one after another. Loads of models have a turn of their own: they may be waiting for this very
    /// lease to end.
    async fn load_adapter(&self, lease: &mut Lease, wanted: &Wanted) -> Result<Adapter, ApiError> {
        let started = Instant::now();
        let _place = self
            .shared
            .waiting
            .try_acquire()
            .map_err(|_| ApiError::busy())?;
        let mut turn = Arc::clone(&self.shared.adapter_loader).lock_owned().await;
        let mut has_made_room = false;
        let adapter = loop {
            if let Some(adapter) = self.shared.kept(lease, &wanted.digest) {
                break adapter;
            }
            let (back, loaded) = self.shared.load_adapter(lease, wanted, turn).await?;
            turn = back;
            match loaded {
                Ok(adapter) => break adapter,
                Err(error @ LoadError::OutOfMemory { .. }) => {
                    if has_made_room || !self.shared.evict_all_idle().await {
                        return Err(error.into());
                    }
                    has_made_room = true;
                }
                Err(error) => return Err(ApiError::adapter(&wanted.digest, &error)),
            }
        };
        lease.load_time += started.elapsed();
        Ok(adapter)
    }
}

type Turn = OwnedMutexGuard<()>;

impl Shared {
    /// The adapter, if the leased model has it.
    fn kept(&self, lease: &Lease, digest: &Digest) -> Option<Adapter> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&lease.key);
        slot.filter(|slot| slot.id == lease.slot_id)?
            .adapters
            .get(digest)
    }

    /// Loads one. The work goes on and is kept when the request leaves; nobody else loads until it is done.
    async fn load_adapter(
        self: &Arc<Self>,
        lease: &Lease,
        wanted: &Wanted,
        turn: Turn,
    ) -> Result<(Turn, Result<Adapter, LoadError>), ApiError> {
        let (shared, engine) = (Arc::clone(self), lease.engine.clone());
        let (key, slot_id) = (lease.key, lease.slot_id);
        let (digest, path) = (wanted.digest, wanted.path.clone());
        let work = move || {
            let loaded = engine.load_adapter(&path);
            if let Ok(adapter) = &loaded {
                tracing::info!(%digest, size_bytes = adapter.size_bytes(), "loaded an adapter");
                let mut slots = shared.slots();
                let slot = slots.get_mut(&key);
                if let Some(slot) = slot.filter(|slot: &&mut Slot| slot.id == slot_id) {
                    slot.adapters.put(digest, adapter.clone());
                }
            }
            (turn, loaded)
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}
