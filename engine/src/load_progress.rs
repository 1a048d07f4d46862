//! How far the loading of a model is, for whoever waits for it: bytes of weights that are read and packed, of those in the
//! file. Small tensors, which take no time, are not counted, so that the end is near the whole and not the whole.

use std::sync::atomic::{AtomicU64, Ordering};

/// Written by the thread that loads, read by anybody.
#[derive(Debug, Default)]
pub struct LoadProgress {
    total: AtomicU64,
    packed: AtomicU64,
}

impl LoadProgress {
    /// Bytes of the weights in the file; 0 until they are looked at.
    pub fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Of those, what is packed; never more.
    pub fn packed_bytes(&self) -> u64 {
        self.packed.load(Ordering::Relaxed).min(self.total_bytes())
    }

    /// The weights are read from here on.
    pub(crate) fn begin(&self, total_bytes: u64) {
        self.packed.store(0, Ordering::Relaxed);
        self.total.store(total_bytes, Ordering::Relaxed);
    }

    /// So much more is packed.
    pub(crate) fn add(&self, n_bytes: usize) {
        self.packed.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }
}
