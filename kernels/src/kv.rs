//! Keys and values of one layer of one sequence, laid out for [`attention`](crate::attention).
//!
//! Sixteen positions form a tile. Keys are `[tile][kv head][head_dim][16 positions]`: the scores of sixteen positions
//! are the lanes of a vector. Values are `[tile][kv head][v_head_dim / 16, rounded up][16 positions][16 dimensions]`:
//! sixteen output dimensions are the lanes of a vector. Both are read from end to end.

use crate::half_float::f16_bits;

/// Positions of a tile.
pub(crate) const TILE_POSITIONS: usize = 16;
/// Positions of a block: what attention takes at once, and what is let go at once.
pub(crate) const BLOCK: usize = 128;
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

/// Keys and values of one layer of one sequence.
#[derive(Clone)]
pub struct KvLayer {
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) v_head_dim: usize,
    /// Positions appended and not truncated, those let go included.
    pub(crate) len: usize,
    /// The first position that is held; a multiple of [`BLOCK`].
    pub(crate) first: usize,
    pub(crate) store: Store,
}

/// The tiles of a [`KvLayer`].
#[derive(Clone)]
pub(crate) enum Store {
    F16(Tiles<u16>),
    F32(Tiles<f32>),
}

#[derive(Clone, Default)]
pub(crate) struct Tiles<E> {
    pub(crate) keys: Vec<E>,
    pub(crate) values: Vec<E>,
}

impl KvLayer {
    /// The longest head.
    pub const MAX_HEAD_DIM: usize = 1024;

    /// An empty cache.
    ///
    /// # Panics
    /// When a size is zero, or a head is longer than [`KvLayer::MAX_HEAD_DIM`].
    pub fn new(kv_type: KvType, n_kv_heads: usize, head_dim: usize, v_head_dim: usize) -> Self {
        assert!(n_kv_heads > 0, "a layer has heads");
        for dim in [head_dim, v_head_dim] {
            assert!(
                (1..=Self::MAX_HEAD_DIM).contains(&dim),
                "a head of {dim} dimensions"
            );
        }
        let store = match kv_type {
            KvType::F16 => Store::F16(Tiles::default()),
            KvType::F32 => Store::F32(Tiles::default()),
        };
        Self {
            n_kv_heads,
            head_dim,
            v_head_dim,
            len: 0,
            first: 0,
            store,
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
        match self.store {
            Store::F16(_) => KvType::F16,
            Store::F32(_) => KvType::F32,
        }
    }

    /// The first position that is held.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Forgets the positions from `len` on.
    ///
    /// # Panics
    /// When `len` lies among the positions that were let go, 0 apart.
    pub fn truncate(&mut self, len: usize) {
        assert!(len == 0 || len >= self.first, "position {len} was let go");
        self.len = self.len.min(len);
        self.first = self.first.min(len);
    }

    /// Lets go of positions before `position`, as many as blocks allow; nothing may look at them any more.
    pub fn let_go(&mut self, position: usize) {
        let first = position.min(self.len) / BLOCK * BLOCK;
        let Some(n_positions) = first.checked_sub(self.first).filter(|&n| n > 0) else {
            return;
        };
        let n_heads = n_positions / TILE_POSITIONS * self.n_kv_heads;
        let shape = self.shape();
        match &mut self.store {
            Store::F16(tiles) => tiles.let_go(shape, n_heads),
            Store::F32(tiles) => tiles.let_go(shape, n_heads),
        }
        self.first = first;
    }

    /// Adds `n_tokens` positions: `k` is `[n_tokens, n_kv_heads, head_dim]`, `v` is `[n_tokens, n_kv_heads, v_head_dim]`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn append(&mut self, n_tokens: usize, k: &[f32], v: &[f32]) {
        assert_eq!(
            k.len(),
            n_tokens * self.n_kv_heads * self.head_dim,
            "the keys' length"
        );
        assert_eq!(
            v.len(),
            n_tokens * self.n_kv_heads * self.v_head_dim,
            "the values' length"
        );
        let shape = self.shape();
        match &mut self.store {
            Store::F16(tiles) => {
                tiles.append(shape, self.len - self.first, n_tokens, k, v, f16_bits)
            }
            Store::F32(tiles) => {
                tiles.append(shape, self.len - self.first, n_tokens, k, v, |value| value)
            }
        }
        self.len += n_tokens;
    }

    /// Bytes that one more position costs.
    pub fn bytes_per_position(&self) -> usize {
        let element = match self.store {
            Store::F16(_) => 2,
            Store::F32(_) => 4,
        };
        let shape = self.shape();
        self.n_kv_heads * (shape.head_dim + shape.v_stride) * element
    }

    pub(crate) fn shape(&self) -> TileShape {
        TileShape {
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
            v_head_dim: self.v_head_dim,
            v_stride: self.v_head_dim.next_multiple_of(VECTOR_DIMS),
        }
    }
}

/// Sizes of the tiles of a layer.
#[derive(Clone, Copy)]
pub(crate) struct TileShape {
    n_kv_heads: usize,
    head_dim: usize,
    v_head_dim: usize,
    /// Dimensions of a value, rounded up to whole vectors.
    pub(crate) v_stride: usize,
}

impl TileShape {
    /// Elements of one head's keys in a tile.
    pub(crate) fn head_keys(&self) -> usize {
        self.head_dim * TILE_POSITIONS
    }

    /// Elements of one head's values in a tile.
    pub(crate) fn head_values(&self) -> usize {
        self.v_stride * TILE_POSITIONS
    }
}

impl<E: Copy + Default> Tiles<E> {
    /// Removes so many heads of tiles at the front.
    fn let_go(&mut self, shape: TileShape, n_heads: usize) {
        self.keys.drain(..n_heads * shape.head_keys());
        self.values.drain(..n_heads * shape.head_values());
    }

    /// Adds `n_tokens` positions behind the `len` that are held.
    fn append(
        &mut self,
        shape: TileShape,
        len: usize,
        n_tokens: usize,
        k: &[f32],
        v: &[f32],
        convert: impl Fn(f32) -> E,
    ) {
        let n_tiles = (len + n_tokens).div_ceil(TILE_POSITIONS);
        let n_heads = n_tiles * shape.n_kv_heads;
        if self.keys.len() < n_heads * shape.head_keys() {
            self.keys.resize(n_heads * shape.head_keys(), E::default());
            self.values
                .resize(n_heads * shape.head_values(), E::default());
        }
        let mut converted = [E::default(); KvLayer::MAX_HEAD_DIM];
        for row in 0..n_tokens * shape.n_kv_heads {
            let (position, head) = (len + row / shape.n_kv_heads, row % shape.n_kv_heads);
            let (tile, lane) = (position / TILE_POSITIONS, position % TILE_POSITIONS);
            let head = tile * shape.n_kv_heads + head;

            let converted = &mut converted[..shape.head_dim];
            for (to, from) in converted.iter_mut().zip(&k[row * shape.head_dim..]) {
                *to = convert(*from);
            }
            let keys = &mut self.keys[head * shape.head_keys()..][..shape.head_keys()];
            for (lanes, value) in keys.chunks_exact_mut(TILE_POSITIONS).zip(converted) {
                lanes[lane] = *value;
            }

            let values = &mut self.values[head * shape.head_values()..][..shape.head_values()];
            let vectors = values.chunks_exact_mut(TILE_POSITIONS * VECTOR_DIMS);
            let v = &v[row * shape.v_head_dim..][..shape.v_head_dim];
            for (vectors, v) in vectors.zip(v.chunks(VECTOR_DIMS)) {
                for (to, from) in vectors[lane * VECTOR_DIMS..].iter_mut().zip(v) {
                    *to = convert(*from);
                }
            }
        }
    }
}
