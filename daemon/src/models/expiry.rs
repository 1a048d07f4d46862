//! The task that lets idle models go when their keep-alive is over.

use super::{Shared, slot::Slot};
use slm_registry::Digest;
use std::sync::Weak;
use tokio::{sync::watch, time::Instant};

/// Unloads idle models when their time is over, until [`super::Models`] is gone.
pub(super) async fn expire(shared: Weak<Shared>, mut changes: watch::Receiver<u64>) {
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
