//! Where keys and values lie in a page, and how they get there.

use super::{
    BLOCK_DIMS, Blocks, KvLayer, KvType, PAGE_POSITIONS, Q4, Q8, TILE_POSITIONS, VECTOR_DIMS,
};
use crate::half_float::f16_bits;

/// The keys and the values of all heads in one tile.
pub(super) struct TileMut<'a> {
    keys: &'a mut [u8],
    values: &'a mut [u8],
}

/// Sizes of a layer's pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) kv_type: KvType,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) v_head_dim: usize,
    /// Dimensions of a key, rounded up to whole blocks where keys are stored in such.
    pub(crate) k_stride: usize,
    /// Dimensions of a value, rounded up to whole vectors, or to whole blocks.
    pub(crate) v_stride: usize,
}

impl Layout {
    pub(super) fn new(
        kv_type: KvType,
        n_kv_heads: usize,
        head_dim: usize,
        v_head_dim: usize,
    ) -> Self {
        let (k_unit, v_unit) = match kv_type {
            KvType::F16 | KvType::F32 => (1, VECTOR_DIMS),
            KvType::Q8_0 | KvType::Q4_0 => (BLOCK_DIMS, BLOCK_DIMS),
        };
        Self {
            kv_type,
            n_kv_heads,
            head_dim,
            v_head_dim,
            k_stride: head_dim.next_multiple_of(k_unit),
            v_stride: v_head_dim.next_multiple_of(v_unit),
        }
    }

    /// Bytes of so many dimensions of the positions of a tile.
    fn tile_bytes(&self, n_dims: usize) -> usize {
        match self.kv_type {
            KvType::F16 => n_dims * TILE_POSITIONS * 2,
            KvType::F32 => n_dims * TILE_POSITIONS * 4,
            KvType::Q8_0 => n_dims / BLOCK_DIMS * Q8::TILE_BYTES,
            KvType::Q4_0 => n_dims / BLOCK_DIMS * Q4::TILE_BYTES,
        }
    }

    /// Bytes of one head's keys in a tile.
    pub(crate) fn head_keys(&self) -> usize {
        self.tile_bytes(self.k_stride)
    }

    /// Bytes of one head's values in a tile.
    pub(crate) fn head_values(&self) -> usize {
        self.tile_bytes(self.v_stride)
    }

    /// Bytes of all keys of a page: where its values begin.
    pub(crate) fn page_keys_bytes(&self) -> usize {
        PAGE_POSITIONS / TILE_POSITIONS * self.n_kv_heads * self.head_keys()
    }

    pub(crate) fn page_bytes(&self) -> usize {
        let values = PAGE_POSITIONS / TILE_POSITIONS * self.n_kv_heads * self.head_values();
        self.page_keys_bytes() + values
    }

    /// Floats of one position's keys.
    pub(super) fn k_row(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Floats of one position's values.
    pub(super) fn v_row(&self) -> usize {
        self.n_kv_heads * self.v_head_dim
    }

    /// Copies the first `n_positions` of a page, and what else is in their tiles.
    pub(super) fn copy_positions(&self, from: &[u8], to: &mut [u8], n_positions: usize) {
        let n_tiles = n_positions.div_ceil(TILE_POSITIONS);
        let tile_keys = self.n_kv_heads * self.head_keys();
        let tile_values = self.n_kv_heads * self.head_values();
        for (start, len) in [
            (0, n_tiles * tile_keys),
            (self.page_keys_bytes(), n_tiles * tile_values),
        ] {
            to[start..][..len].copy_from_slice(&from[start..][..len]);
        }
    }

    /// The tiles of a page.
    pub(super) fn tiles<'a>(
        &self,
        page: &'a mut [u8],
    ) -> impl Iterator<Item = TileMut<'a>> + use<'a> {
        let (keys, values) = page.split_at_mut(self.page_keys_bytes());
        let keys = keys.chunks_exact_mut(self.n_kv_heads * self.head_keys());
        let values = values.chunks_exact_mut(self.n_kv_heads * self.head_values());
        keys.zip(values)
            .map(|(keys, values)| TileMut { keys, values })
    }

    /// Writes whole positions of a tile, from its place `lane` on.
    pub(super) fn write(&self, tile: &mut TileMut<'_>, lane: usize, k: &[f32], v: &[f32]) {
        match self.kv_type {
            KvType::F16 => self.write_plain(tile, lane, k, v, f16_bits),
            KvType::F32 => self.write_plain(tile, lane, k, v, |value| value),
            KvType::Q8_0 => self.write_blocks::<Q8>(tile, lane, k, v),
            KvType::Q4_0 => self.write_blocks::<Q4>(tile, lane, k, v),
        }
    }

    /// Calls `write` with the bytes of keys and values of a head, the position in the tile, the key and the value, for all
    /// heads of whole positions from place `lane` on.
    fn for_heads(
        &self,
        tile: &mut TileMut<'_>,
        lane: usize,
        k: &[f32],
        v: &[f32],
        mut write: impl FnMut(&mut [u8], &mut [u8], usize, &[f32], &[f32]),
    ) {
        let heads = k
            .chunks_exact(self.head_dim)
            .zip(v.chunks_exact(self.v_head_dim));
        for (row, (k, v)) in heads.enumerate() {
            let (lane, head) = (lane + row / self.n_kv_heads, row % self.n_kv_heads);
            let keys = &mut tile.keys[head * self.head_keys()..][..self.head_keys()];
            let values = &mut tile.values[head * self.head_values()..][..self.head_values()];
            write(keys, values, lane, k, v);
        }
    }

    fn write_plain<E: bytemuck::Pod>(
        &self,
        tile: &mut TileMut<'_>,
        lane: usize,
        k: &[f32],
        v: &[f32],
        convert: impl Fn(f32) -> E,
    ) {
        let mut converted = [<E as bytemuck::Zeroable>::zeroed(); KvLayer::MAX_HEAD_DIM];
        let converted = &mut converted[..self.head_dim];
        self.for_heads(tile, lane, k, v, |keys, values, lane, k, v| {
            let keys: &mut [E] = bytemuck::cast_slice_mut(keys);
            let values: &mut [E] = bytemuck::cast_slice_mut(values);
            for (to, from) in converted.iter_mut().zip(k) {
                *to = convert(*from);
            }
            let lanes = keys.chunks_exact_mut(TILE_POSITIONS);
            for (lanes, value) in lanes.zip(converted.iter()) {
                lanes[lane] = *value;
            }
            let vectors = values.chunks_exact_mut(TILE_POSITIONS * VECTOR_DIMS);
            for (vectors, v) in vectors.zip(v.chunks(VECTOR_DIMS)) {
                for (to, from) in vectors[lane * VECTOR_DIMS..].iter_mut().zip(v) {
                    *to = convert(*from);
                }
            }
        });
    }

    fn write_blocks<B: Blocks>(&self, tile: &mut TileMut<'_>, lane: usize, k: &[f32], v: &[f32]) {
        self.for_heads(tile, lane, k, v, |keys, values, lane, k, v| {
            let blocks = keys.chunks_exact_mut(B::TILE_BYTES);
            for (block, k) in blocks.zip(k.chunks(BLOCK_DIMS)) {
                B::write_key(block, lane, k);
            }
            let blocks = values.chunks_exact_mut(B::TILE_BYTES);
            for (block, v) in blocks.zip(v.chunks(BLOCK_DIMS)) {
                B::write_value(block, lane, v);
            }
        });
    }
}
