//! Keys and values of one layer of one sequence, in pages that sequences share, laid out for
//! [`attention`](crate::attention).
//!
//! A page holds [`PAGE_POSITIONS`] positions. Sixteen of them form a tile. Keys are `[kv head][tile][head_dim][16
//! positions]`: the scores of sixteen positions are the lanes of a vector. Values are `[kv head][v_head_dim / 16,
//! rounded up][position][16 dimensions]`: sixteen output dimensions are the lanes of a vector. Who computes with one head
//! reads both from end to end. Codes with scales lie as [`blocks`] says: `[kv head][tile][block of dimensions]` of keys,
//! `[kv head][block of dimensions][tile]` of values.
//!
//! A clone shares all pages. Whoever writes to a page that others have too gets a copy first. Pages that nobody has any
//! more go back to their [`KvPool`], so that a running system allocates nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod append;
mod blocks;
mod layout;
mod pool;

pub use append::KvAppend;
pub(crate) use blocks::{BLOCK_DIMS, Blocks, CODES, Q4, Q8};
pub(crate) use layout::Layout;
pub use pool::KvPool;
use pool::Page;

/// Positions of a tile.
pub(crate) const TILE_POSITIONS: usize = 16;
/// Positions of a page: what attention takes at once, what sequences share and what is let go at once.
pub const PAGE_POSITIONS: usize = 128;
/// Tiles of a page.
pub(crate) const PAGE_TILES: usize = PAGE_POSITIONS / TILE_POSITIONS;
/// Dimensions of a vector of values.
pub(crate) const VECTOR_DIMS: usize = 16;

/// Counts changes of how keys and values lie in a page.
const LAYOUT_VERSION: u32 = 3;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    F32,
    /// Codes of 8 bits with a scale for each 32 dimensions of a position's head, rounded as in the weight format of this
    /// name: 8.5 bits for a value.
    Q8_0,
    /// The same with codes of 4 bits: 4.5 bits for a value.
    Q4_0,
}

impl KvType {
    /// All, by falling precision.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8_0, Self::Q4_0];

    /// What it is called in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        let is_it = |kv_type: &Self| kv_type.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it).ok_or(UnknownKvType)
    }
}

/// A name that is no [`KvType`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys and values are stored as one of f32, f16, q8_0, q4_0")]
pub struct UnknownKvType;

/// A page that [`KvLayer::own_pages`] made sure of.
fn own(page: &mut Arc<Page>) -> &mut Page {
    Arc::get_mut(page).expect("just made, or nobody else's")
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
            layout: Layout::new(kv_type, n_kv_heads, head_dim, v_head_dim),
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

    /// Makes pages for the positions up to `end`, which lies behind the last one; those that are written to are nobody
    /// else's then.
    fn own_pages(&mut self, end: usize) {
        let at = self.len % PAGE_POSITIONS;
        if at > 0 {
            let last = self
                .pages
                .last_mut()
                .expect("a page holds the last position");
            if Arc::get_mut(last).is_none() {
                let mut copy = self.pool.page(self.layout.page_bytes());
                self.layout
                    .copy_positions(last.as_slice(), copy.as_mut_slice(), at);
                *last = Arc::new(copy);
            }
        }
        let n_pages = end.div_ceil(PAGE_POSITIONS) - self.n_let_go;
        while self.pages.len() < n_pages {
            self.pages
                .push(Arc::new(self.pool.page(self.layout.page_bytes())));
        }
    }

    /// The pages that are held, from the `page`th of all on.
    fn pages_from(&mut self, page: usize) -> &mut [Arc<Page>] {
        &mut self.pages[page - self.n_let_go..]
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

    /// The bytes of a page, all of whose positions are known and held, as [`KvLayer::push_page`] takes them.
    pub fn page_bytes(&self, page: usize) -> Option<&[u8]> {
        let is_full = page < self.len / PAGE_POSITIONS;
        let index = page.checked_sub(self.n_let_go).filter(|_| is_full)?;
        Some(self.pages.get(index)?.as_slice())
    }

    /// Adds the positions of a page whose bytes `fill` writes, all of [`KvLayer::page_size`]; none where it fails. They
    /// must be those of a layer with the same [`KvLayer::shape`]: nothing else is known about them here.
    ///
    /// # Errors
    /// That of `fill`.
    ///
    /// # Panics
    /// When the last page is not full, or the system has no memory to give.
    pub fn push_page<E>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        assert!(
            self.len.is_multiple_of(PAGE_POSITIONS),
            "a page begins where one ends"
        );
        let mut page = self.pool.page(self.layout.page_bytes());
        fill(page.as_mut_slice())?;
        self.pages.push(Arc::new(page));
        self.len += PAGE_POSITIONS;
        Ok(())
    }

    /// Makes an empty layer one that has let go of its first `n` pages.
    ///
    /// # Panics
    /// When it is not empty.
    pub fn skip_pages(&mut self, n: usize) {
        assert!(self.is_empty(), "only what is empty begins later");
        self.n_let_go = n;
        self.len = n * PAGE_POSITIONS;
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.layout.page_bytes()
    }

    /// What the bytes of a page mean: the same text for layers that can take each other's pages.
    pub fn shape(&self) -> String {
        let layout = &self.layout;
        format!(
            "{}, {} heads, {} and {} dimensions, layout {LAYOUT_VERSION}",
            layout.kv_type, layout.n_kv_heads, layout.head_dim, layout.v_head_dim
        )
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
