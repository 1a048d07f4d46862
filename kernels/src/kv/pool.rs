//! Where pages come from and go back to.
//!
//! The first ones are made one by one, so that little takes little. Whoever has many gets them from slabs of huge pages,
//! cut to size: attention reads all that is there once for each token, and would otherwise look up an address for every
//! 64 lines that it reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::{GiveBack, HAS_HUGE_PAGES, HUGE_PAGE, Part};

/// Huge pages of a slab at most.
const SLAB_PAGES: usize = 8;
/// A part of so many of a slab may be left over.
const LEFT_OVER: usize = 32;

/// Where the pages of a model's caches come from and go back to; clones are the same pool.
#[derive(Clone, Default)]
pub struct KvPool(Arc<Pages>);

#[derive(Default)]
struct Pages {
    bytes_in_use: AtomicUsize,
    /// By size.
    free: Mutex<HashMap<usize, Free>>,
    _last: GiveBack,
}

/// Pages of one size that nobody has.
#[derive(Default)]
struct Free {
    /// Those whose memory is kept for the next use.
    kept: Vec<Part>,
    /// Those whose memory was given back, beside others of their slab that are used.
    away: Vec<Part>,
    /// Pages that there are, used ones included.
    n_pages: usize,
}

impl KvPool {
    /// Bytes of the pages that caches have; what several share counts once.
    pub fn bytes_in_use(&self) -> usize {
        self.0.bytes_in_use.load(Ordering::Relaxed)
    }

    /// Bytes of the pages that are kept for the next use.
    pub fn bytes_free(&self) -> usize {
        let free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = free.iter();
        sizes.map(|(bytes, free)| bytes * free.kept.len()).sum()
    }

    /// Gives the memory of free pages back to the system.
    pub fn trim(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.values_mut().for_each(Free::trim);
        free.retain(|_, free| free.n_pages > 0);
        drop(GiveBack);
    }

    /// A page of `size` bytes, whatever they are.
    ///
    /// # Panics
    /// When the system has no memory to give.
    pub(super) fn page(&self, size: usize) -> Page {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = free.entry(size).or_default().take(size);
        drop(free);
        let bytes = bytes.expect("memory for a page of keys and values, which was counted before");
        self.0.bytes_in_use.fetch_add(size, Ordering::Relaxed);
        Page {
            bytes: Some(bytes),
            pool: self.clone(),
        }
    }
}

impl Free {
    /// `None` when the system has no memory to give.
    fn take(&mut self, size: usize) -> Option<Part> {
        if let Some(page) = self.kept.pop().or_else(|| self.away.pop()) {
            return Some(page);
        }
        let slab = match self.n_pages * size {
            many if many >= HUGE_PAGE && HAS_HUGE_PAGES => slab_bytes(size),
            _ => size,
        };
        let mut pages = Part::cut(slab, size)?;
        let page = pages.next();
        let n_before = self.kept.len();
        self.kept.extend(pages);
        // as they lie, from the first on
        self.kept[n_before..].reverse();
        self.n_pages += 1 + self.kept.len() - n_before;
        page
    }

    fn trim(&mut self) {
        let mut n_free = HashMap::<*const u8, usize>::new();
        for page in self.kept.iter().chain(&self.away) {
            *n_free.entry(page.block().0).or_default() += 1;
        }
        // counted before any is dropped
        let is_used = |page: &Part| {
            let (block, n_parts) = page.block();
            n_free[&block] < n_parts
        };
        let (used, unused): (Vec<Part>, Vec<Part>) = self
            .kept
            .drain(..)
            .chain(self.away.drain(..))
            .partition(is_used);
        self.n_pages -= unused.len();
        drop(unused);
        for mut page in used {
            match page.give_back() {
                true => self.away.push(page),
                false => self.kept.push(page),
            }
        }
    }
}

/// Bytes of a slab for pages of `size`: that of the fewest huge pages of which little is left over.
fn slab_bytes(size: usize) -> usize {
    let slabs = (1..=SLAB_PAGES).map(|n| n * HUGE_PAGE);
    let left_over = |slab: &usize| match slab / size {
        0 => *slab,
        _ => slab % size,
    };
    let little = slabs
        .clone()
        .find(|slab| left_over(slab) <= slab / LEFT_OVER);
    let least = || slabs.min_by_key(left_over).filter(|slab| *slab >= size);
    little.or_else(least).unwrap_or(size)
}

/// Keys, then values, of [`PAGE_POSITIONS`](super::PAGE_POSITIONS) positions. What lies at positions that were never
/// written is anything.
pub(crate) struct Page {
    /// `Some` until drop.
    bytes: Option<Part>,
    pool: KvPool,
}

impl Page {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], Part::as_slice)
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.as_mut().map_or(&mut [], Part::as_mut_slice)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let Some(bytes) = self.bytes.take() else {
            return;
        };
        let pages = &self.pool.0;
        pages.bytes_in_use.fetch_sub(bytes.len(), Ordering::Relaxed);
        let mut free = pages.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(bytes.len()).or_default().kept.push(bytes);
    }
}
