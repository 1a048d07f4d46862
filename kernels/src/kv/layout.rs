//! Where keys and values lie in a page, and how they get there.

use super::{
    BLOCK_DIMS, Blocks, KvLayer, KvType, PAGE_POSITIONS, PAGE_TILES, Q4, Q8, TILE_POSITIONS,
    VECTOR_DIMS,
};
use crate::half_float::f16_bits;

/// The keys and the values of one head in a page.
pub(super) struct HeadMut<'a> {
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

    /// Dimensions of a value that lie together over all positions of a page.
    fn unit_dims(&self) -> usize {
        match self.kv_type {
            KvType::F16 | KvType::F32 => VECTOR_DIMS,
            KvType::Q8_0 | KvType::Q4_0 => BLOCK_DIMS,
        }
    }

    /// Bytes of one head's keys in a tile.
    pub(crate) fn keys_tile(&self) -> usize {
        self.tile_bytes(self.k_stride)
    }

    /// Bytes of a unit of one head's values in a tile.
    pub(crate) fn values_tile(&self) -> usize {
        self.tile_bytes(self.unit_dims())
    }

    /// Bytes of a unit of one head's values in a page.
    pub(crate) fn values_unit(&self) -> usize {
        PAGE_TILES * self.values_tile()
    }

    /// Bytes of one head's keys in a page.
    pub(crate) fn head_keys(&self) -> usize {
        PAGE_TILES * self.keys_tile()
    }

    /// Bytes of one head's values in a page.
    pub(crate) fn head_values(&self) -> usize {
        PAGE_TILES * self.tile_bytes(self.v_stride)
    }

    /// Bytes of all keys of a page: where its values begin.
    pub(crate) fn page_keys_bytes(&self) -> usize {
        self.n_kv_heads * self.head_keys()
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.page_keys_bytes() + self.n_kv_heads * self.head_values()
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
        let (from_keys, from_values) = from.split_at(self.page_keys_bytes());
        let (to_keys, to_values) = to.split_at_mut(self.page_keys_bytes());
        for (from, to, unit, tile) in [
            (from_keys, to_keys, self.head_keys(), self.keys_tile()),
            (
                from_values,
                to_values,
                self.values_unit(),
                self.values_tile(),
            ),
        ] {
            for (from, to) in from.chunks_exact(unit).zip(to.chunks_exact_mut(unit)) {
                to[..n_tiles * tile].copy_from_slice(&from[..n_tiles * tile]);
            }
        }
    }

    /// The heads of a page.
    pub(super) fn heads<'a>(
        &self,
        page: &'a mut [u8],
    ) -> impl Iterator<Item = HeadMut<'a>> + use<'a> {
        let (keys, values) = page.split_at_mut(self.page_keys_bytes());
        let keys = keys.chunks_exact_mut(self.head_keys());
        let values = values.chunks_exact_mut(self.head_values());
        keys.zip(values)
            .map(|(keys, values)| HeadMut { keys, values })
    }

    /// Writes the keys and values that `rows` gives, of one head, to the places of a page from `first` on.
    pub(super) fn write<'r>(
        &self,
        head: &mut HeadMut<'_>,
        first: usize,
        rows: impl Iterator<Item = (&'r [f32], &'r [f32])>,
    ) {
        match self.kv_type {
            KvType::F16 => self.write_plain(head, first, rows, f16_bits),
            KvType::F32 => self.write_plain(head, first, rows, |value| value),
            KvType::Q8_0 => self.write_blocks::<Q8>(head, first, rows),
            KvType::Q4_0 => self.write_blocks::<Q4>(head, first, rows),
        }
    }

    fn write_plain<'r, E: bytemuck::Pod>(
        &self,
        head: &mut HeadMut<'_>,
        first: usize,
        rows: impl Iterator<Item = (&'r [f32], &'r [f32])>,
        convert: impl Fn(f32) -> E,
    ) {
        let keys: &mut [E] = bytemuck::cast_slice_mut(head.keys);
        let values: &mut [E] = bytemuck::cast_slice_mut(head.values);
        let mut converted = [<E as bytemuck::Zeroable>::zeroed(); KvLayer::MAX_HEAD_DIM];
        let converted = &mut converted[..self.head_dim];
        for (at, (k, v)) in (first..).zip(rows) {
            for (to, from) in converted.iter_mut().zip(k) {
                *to = convert(*from);
            }
            let (tile, lane) = (at / TILE_POSITIONS, at % TILE_POSITIONS);
            let tile = &mut keys[tile * self.k_stride * TILE_POSITIONS..];
            let lanes = tile.chunks_exact_mut(TILE_POSITIONS);
            for (lanes, value) in lanes.zip(converted.iter()) {
                lanes[lane] = *value;
            }
            let units = values.chunks_exact_mut(PAGE_POSITIONS * VECTOR_DIMS);
            for (vectors, v) in units.zip(v.chunks(VECTOR_DIMS)) {
                for (to, from) in vectors[at * VECTOR_DIMS..].iter_mut().zip(v) {
                    *to = convert(*from);
                }
            }
        }
    }

    fn write_blocks<'r, B: Blocks>(
        &self,
        head: &mut HeadMut<'_>,
        first: usize,
        rows: impl Iterator<Item = (&'r [f32], &'r [f32])>,
    ) {
        for (at, (k, v)) in (first..).zip(rows) {
            let (tile, lane) = (at / TILE_POSITIONS, at % TILE_POSITIONS);
            let blocks = head.keys[tile * self.keys_tile()..].chunks_exact_mut(B::TILE_BYTES);
            for (block, k) in blocks.zip(k.chunks(BLOCK_DIMS)) {
                B::write_key(block, lane, k);
            }
            let units = head.values.chunks_exact_mut(self.values_unit());
            for (unit, v) in units.zip(v.chunks(BLOCK_DIMS)) {
                let block = &mut unit[tile * B::TILE_BYTES..][..B::TILE_BYTES];
                B::write_value(block, lane, v);
            }
        }
    }
}
