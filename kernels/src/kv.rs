//! Keys and values of one layer of one sequence, in pages that sequences share, laid out for
//! [`attention`](crate::attention).
//!
//! A page holds [`PAGE_POSITIONS`] positions. Sixteen of them form a tile. Keys are `[tile][kv head][head_dim][16
//! positions]`: the scores of sixteen positions are the lanes of a vector. Values are `[tile][kv head][v_head_dim / 16,
//! rounded up][16 positions][16 dimensions]`: sixteen output dimensions are the lanes of a vector. Both are read from
//! end to end.
//!
//! A clone shares all pages. Whoever writes to a page that others have too gets a copy first. Pages that nobody has any
//! more go back to their [`KvPool`], so that a running system allocates nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::half_float::f16_bits;
use crate::memory::AlignedBytes;

/// Positions of a tile.
pub(crate) const TILE_POSITIONS: usize = 16;
/// Positions of a page: what attention takes at once, what sequences share and what is let go at once.
pub const PAGE_POSITIONS: usize = 128;
/// Dimensions of a vector of values.
pub(crate) const VECTOR_DIMS: usize = 16;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    F32,
}

impl KvType {
    fn element_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Where the pages of a model's caches come from and go back to; clones are the same pool.
#[derive(Clone, Default)]
pub struct KvPool(Arc<Pages>);

#[derive(Default)]
struct Pages {
    bytes_in_use: AtomicUsize,
    /// Pages that nobody has, by size.
    free: Mutex<HashMap<usize, Vec<AlignedBytes>>>,
}

impl KvPool {
    /// Bytes of the pages that caches have; what several share counts once.
    pub fn bytes_in_use(&self) -> usize {
        self.0.bytes_in_use.load(Ordering::Relaxed)
    }

    /// Bytes of the pages that are kept for the next use.
    pub fn bytes_free(&self) -> usize {
        let free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.iter().map(|(bytes, pages)| bytes * pages.len()).sum()
    }

    /// Gives the free pages back to the system.
    pub fn trim(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.clear();
    }

    /// # Panics
    /// When the system has no memory to give.
    fn page(&self, layout: &Layout) -> Page {
        let size = layout.page_bytes();
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let used = free.get_mut(&size).and_then(Vec::pop);
        drop(free);
        let bytes = used.or_else(|| AlignedBytes::zeroed(size));
        let bytes = bytes.expect("memory for a page of keys and values, which was counted before");
        self.0.bytes_in_use.fetch_add(size, Ordering::Relaxed);
        Page {
            bytes: Some(bytes),
            pool: self.clone(),
        }
    }
}

/// Keys, then values, of [`PAGE_POSITIONS`] positions. What lies at positions that were never written is anything.
pub(crate) struct Page {
    /// `Some` until drop.
    bytes: Option<AlignedBytes>,
    pool: KvPool,
}

impl Page {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], AlignedBytes::as_slice)
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes
            .as_mut()
            .map_or(&mut [], AlignedBytes::as_mut_slice)
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
        free.entry(bytes.len()).or_default().push(bytes);
    }
}

/// Keys and values of one layer of one sequence. A clone shares the pages.
#[derive(Clone)]
pub struct KvLayer {
    pub(crate) layout: Layout,
    /// Positions appended and not truncated, those let go included.
    pub(crate) len: usize,
    /// The pages from that of the first position that is held.
    pages: Vec<Arc<Page>>,
    /// Pages that were let go.
    n_let_go: usize,
    pool: KvPool,
}

impl KvLayer {
    /// The longest head.
    pub const MAX_HEAD_DIM: usize = 1024;

    /// An empty cache.
    ///
    /// # Panics
    /// When a size is zero, or a head is longer than [`KvLayer::MAX_HEAD_DIM`].
    pub fn new(
        pool: &KvPool,
        kv_type: KvType,
        n_kv_heads: usize,
        head_dim: usize,
        v_head_dim: usize,
    ) -> Self {
        assert!(n_kv_heads > 0, "a layer has heads");
        for dim in [head_dim, v_head_dim] {
            assert!(
                (1..=Self::MAX_HEAD_DIM).contains(&dim),
                "a head of {dim} dimensions"
            );
        }
        Self {
            layout: Layout {
                kv_type,
                n_kv_heads,
                head_dim,
                v_head_dim,
                v_stride: v_head_dim.next_multiple_of(VECTOR_DIMS),
            },
            len: 0,
            pages: Vec::new(),
            n_let_go: 0,
            pool: pool.clone(),
        }
    }

    /// Positions so far, those let go included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How keys and values are stored.
    pub fn kv_type(&self) -> KvType {
        self.layout.kv_type
    }

    /// The first position that is held; a multiple of [`PAGE_POSITIONS`].
    pub fn first(&self) -> usize {
        self.n_let_go * PAGE_POSITIONS
    }

    /// Forgets the positions from `len` on.
    ///
    /// # Panics
    /// When `len` lies among the positions that were let go, 0 apart.
    pub fn truncate(&mut self, len: usize) {
        assert!(len == 0 || len >= self.first(), "position {len} was let go");
        if len == 0 {
            self.n_let_go = 0;
            self.pages.clear();
        }
        self.len = self.len.min(len);
        let n_pages = self.len.div_ceil(PAGE_POSITIONS);
        self.pages.truncate(n_pages - self.n_let_go.min(n_pages));
    }

    /// Lets go of positions before `position`, as many as pages allow; nothing may look at them any more.
    pub fn let_go(&mut self, position: usize) {
        let n_let_go = position.min(self.len) / PAGE_POSITIONS;
        if n_let_go > self.n_let_go {
            self.pages.drain(..n_let_go - self.n_let_go);
            self.n_let_go = n_let_go;
        }
    }

    /// Adds `n_tokens` positions: `k` is `[n_tokens, n_kv_heads, head_dim]`, `v` is `[n_tokens, n_kv_heads, v_head_dim]`.
    ///
    /// # Panics
    /// When the lengths disagree, or the system has no memory to give.
    pub fn append(&mut self, n_tokens: usize, k: &[f32], v: &[f32]) {
        let layout = self.layout;
        let (k_row, v_row) = (layout.k_row(), layout.v_row());
        assert_eq!(k.len(), n_tokens * k_row, "the keys' length");
        assert_eq!(v.len(), n_tokens * v_row, "the values' length");
        let mut done = 0;
        while done < n_tokens {
            let at = self.len % PAGE_POSITIONS;
            let n = (PAGE_POSITIONS - at).min(n_tokens - done);
            let k = &k[done * k_row..][..n * k_row];
            let v = &v[done * v_row..][..n * v_row];
            let page = self.last_page(at);
            match layout.kv_type {
                KvType::F16 => layout.write(page, at, k, v, f16_bits),
                KvType::F32 => layout.write(page, at, k, v, |value| value),
            }
            self.len += n;
            done += n;
        }
    }

    /// The page that the next position goes to, as its place `at`: a new one, or the last, nobody else's.
    fn last_page(&mut self, at: usize) -> &mut Page {
        if at == 0 {
            self.pages.push(Arc::new(self.pool.page(&self.layout)));
        }
        let last = self.pages.last_mut().expect("a page holds this position");
        if Arc::get_mut(last).is_none() {
            let mut copy = self.pool.page(&self.layout);
            self.layout.copy_positions(last, &mut copy, at);
            *last = Arc::new(copy);
        }
        Arc::get_mut(last).expect("just made, or nobody else's")
    }

    /// Keys and values of the positions `block * PAGE_POSITIONS ..`, from which on `n_positions` must be held.
    ///
    /// # Panics
    /// When they are not.
    pub(crate) fn page(&self, block: usize, n_positions: usize) -> &Page {
        assert!(
            n_positions <= PAGE_POSITIONS && block * PAGE_POSITIONS + n_positions <= self.len,
            "the cache has these positions"
        );
        let index = block.checked_sub(self.n_let_go);
        index
            .and_then(|index| self.pages.get(index))
            .expect("the cache holds these positions")
    }

    /// Bytes that one more position costs, over many.
    pub fn bytes_per_position(&self) -> usize {
        self.layout.page_bytes() / PAGE_POSITIONS
    }

    /// Bytes of the pages that are held, shared ones included.
    pub fn held_bytes(&self) -> usize {
        self.pages.len() * self.layout.page_bytes()
    }

    /// Bytes of pages that [`KvLayer::append`] of `n_tokens` takes from the pool.
    pub fn growth_bytes(&self, n_tokens: usize) -> usize {
        let n_pages = |len: usize| len.div_ceil(PAGE_POSITIONS);
        let is_partly_full = !self.len.is_multiple_of(PAGE_POSITIONS);
        let is_shared = self
            .pages
            .last()
            .is_some_and(|last| Arc::strong_count(last) > 1);
        let n_copies = usize::from(n_tokens > 0 && is_partly_full && is_shared);
        let n_new = n_pages(self.len.saturating_add(n_tokens)) - n_pages(self.len);
        (n_new + n_copies).saturating_mul(self.layout.page_bytes())
    }

    /// Bytes of the pages that `n_positions` take when none was let go.
    pub fn bytes_at(&self, n_positions: usize) -> usize {
        n_positions
            .div_ceil(PAGE_POSITIONS)
            .saturating_mul(self.layout.page_bytes())
    }
}

/// Sizes of a layer's pages.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) kv_type: KvType,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) v_head_dim: usize,
    /// Dimensions of a value, rounded up to whole vectors.
    pub(crate) v_stride: usize,
}

impl Layout {
    /// Elements of one head's keys in a tile.
    pub(crate) fn head_keys(&self) -> usize {
        self.head_dim * TILE_POSITIONS
    }

    /// Elements of one head's values in a tile.
    pub(crate) fn head_values(&self) -> usize {
        self.v_stride * TILE_POSITIONS
    }

    /// Bytes of all keys of a page: where its values begin.
    pub(crate) fn page_keys_bytes(&self) -> usize {
        PAGE_POSITIONS * self.n_kv_heads * self.head_dim * self.kv_type.element_bytes()
    }

    pub(crate) fn page_bytes(&self) -> usize {
        let values = PAGE_POSITIONS * self.n_kv_heads * self.v_stride;
        self.page_keys_bytes() + values * self.kv_type.element_bytes()
    }

    /// Floats of one position's keys.
    fn k_row(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Floats of one position's values.
    fn v_row(&self) -> usize {
        self.n_kv_heads * self.v_head_dim
    }

    /// Copies the first `n_positions`, and what else is in their tiles.
    fn copy_positions(&self, from: &Page, to: &mut Page, n_positions: usize) {
        let n_tiles = n_positions.div_ceil(TILE_POSITIONS);
        let element = self.kv_type.element_bytes();
        let tile_keys = self.n_kv_heads * self.head_keys() * element;
        let tile_values = self.n_kv_heads * self.head_values() * element;
        for (start, len) in [
            (0, n_tiles * tile_keys),
            (self.page_keys_bytes(), n_tiles * tile_values),
        ] {
            to.as_mut_slice()[start..][..len].copy_from_slice(&from.as_slice()[start..][..len]);
        }
    }

    /// Writes whole positions from place `at` of `page` on.
    fn write<E: bytemuck::Pod>(
        &self,
        page: &mut Page,
        at: usize,
        k: &[f32],
        v: &[f32],
        convert: impl Fn(f32) -> E,
    ) {
        let (keys, values) = page.as_mut_slice().split_at_mut(self.page_keys_bytes());
        let keys: &mut [E] = bytemuck::cast_slice_mut(keys);
        let values: &mut [E] = bytemuck::cast_slice_mut(values);
        let mut converted = [<E as bytemuck::Zeroable>::zeroed(); KvLayer::MAX_HEAD_DIM];
        let heads = k
            .chunks_exact(self.head_dim)
            .zip(v.chunks_exact(self.v_head_dim));
        for (row, (k, v)) in heads.enumerate() {
            let (position, head) = (at + row / self.n_kv_heads, row % self.n_kv_heads);
            let (tile, lane) = (position / TILE_POSITIONS, position % TILE_POSITIONS);
            let head = tile * self.n_kv_heads + head;

            let converted = &mut converted[..self.head_dim];
            for (to, from) in converted.iter_mut().zip(k) {
                *to = convert(*from);
            }
            let keys = &mut keys[head * self.head_keys()..][..self.head_keys()];
            for (lanes, value) in keys.chunks_exact_mut(TILE_POSITIONS).zip(converted) {
                lanes[lane] = *value;
            }

            let values = &mut values[head * self.head_values()..][..self.head_values()];
            let vectors = values.chunks_exact_mut(TILE_POSITIONS * VECTOR_DIMS);
            for (vectors, v) in vectors.zip(v.chunks(VECTOR_DIMS)) {
                for (to, from) in vectors[lane * VECTOR_DIMS..].iter_mut().zip(v) {
                    *to = convert(*from);
                }
            }
        }
    }
}
