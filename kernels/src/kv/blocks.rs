//! Keys and values as small codes: 32 dimensions of a position's head share a scale.
//!
//! Scales and codes are those of the weight formats of the same names. Where a head is no multiple of 32 long its last
//! block has zeroes behind it. A block of the sixteen positions of a tile lies together: their scales, half floats, then
//! the codes, as [`Tier::dot16`](crate::tier::Tier::dot16) wants them. Of keys these are vectors of `[16 positions][4
//! dimensions]`, of values `[half of the dimensions][4 vectors of 4 positions][16 dimensions][4 positions]`. With codes of
//! 4 bits, a byte has those of dimensions `i` and `i + 16`, the latter above: four vectors of either. So a byte is one
//! position's alone.

use super::{TILE_POSITIONS, VECTOR_DIMS};
use crate::format::{Block, BlockQ4_0, BlockQ8_0, F16};
use crate::memory::LINE;

/// Dimensions of a block.
pub(crate) const BLOCK_DIMS: usize = 32;
/// Where the codes of a tile's block begin: behind its scales.
pub(crate) const CODES: usize = TILE_POSITIONS * size_of::<F16>();

/// A kind of blocks.
pub(crate) trait Blocks {
    /// Bytes of a block of all positions of a tile.
    const TILE_BYTES: usize;
    /// Writes the key of position `lane` to a tile's block; `values` are at most [`BLOCK_DIMS`].
    fn write_key(block: &mut [u8], lane: usize, values: &[f32]);
    /// Writes the value of position `lane`, likewise.
    fn write_value(block: &mut [u8], lane: usize, values: &[f32]);
}

/// Codes of 8 bits, stored with 128 added.
#[derive(Clone, Copy)]
pub(crate) struct Q8;

/// Codes of 4 bits, stored with 8 added.
#[derive(Clone, Copy)]
pub(crate) struct Q4;

impl Blocks for Q8 {
    const TILE_BYTES: usize = CODES + BLOCK_DIMS * TILE_POSITIONS;

    fn write_key(block: &mut [u8], lane: usize, values: &[f32]) {
        let BlockQ8_0 { d, qs } = rounded(values);
        let codes = write_scale(block, lane, values, d);
        write_lane(codes, lane, &qs.map(with_offset));
    }

    fn write_value(block: &mut [u8], lane: usize, values: &[f32]) {
        let BlockQ8_0 { d, qs } = rounded(values);
        let codes = write_scale(block, lane, values, d);
        let halves = codes.chunks_exact_mut(TILE_POSITIONS * VECTOR_DIMS);
        for (half, qs) in halves.zip(qs.chunks_exact(VECTOR_DIMS)) {
            write_column(half, lane, qs.iter().copied().map(with_offset));
        }
    }
}

fn with_offset(code: i8) -> u8 {
    code.cast_unsigned() ^ 128
}

impl Blocks for Q4 {
    const TILE_BYTES: usize = CODES + BLOCK_DIMS / 2 * TILE_POSITIONS;

    fn write_key(block: &mut [u8], lane: usize, values: &[f32]) {
        let BlockQ4_0 { d, qs } = rounded(values);
        let codes = write_scale(block, lane, values, d);
        write_lane(codes, lane, &qs);
    }

    fn write_value(block: &mut [u8], lane: usize, values: &[f32]) {
        let BlockQ4_0 { d, qs } = rounded(values);
        let codes = write_scale(block, lane, values, d);
        write_column(codes, lane, qs.into_iter());
    }
}

/// Writes what is position `lane`'s of vectors of `[16 positions][4 bytes]`.
fn write_lane(codes: &mut [u8], lane: usize, bytes: &[u8]) {
    let vectors = codes.chunks_exact_mut(TILE_POSITIONS * 4);
    for (vector, bytes) in vectors.zip(bytes.chunks_exact(4)) {
        vector[lane * 4..][..4].copy_from_slice(bytes);
    }
}

/// Writes what is position `lane`'s of vectors of `[16 dimensions][4 positions]`.
fn write_column(codes: &mut [u8], lane: usize, bytes: impl Iterator<Item = u8>) {
    let vector = &mut codes[lane / 4 * LINE..][..LINE];
    for (positions, byte) in vector.chunks_exact_mut(4).zip(bytes) {
        positions[lane % 4] = byte;
    }
}

fn rounded<B: Block>(values: &[f32]) -> B {
    match values.len() {
        BLOCK_DIMS => B::quantize(values),
        n => {
            let mut whole = [0.0; BLOCK_DIMS];
            whole[..n].copy_from_slice(values);
            B::quantize(&whole)
        }
    }
}

/// Writes the scale, and returns the codes of all positions. Of values that are not all finite the scale is NaN, so that
/// what was computed wrongly does not look right afterwards.
fn write_scale<'a>(block: &'a mut [u8], lane: usize, values: &[f32], scale: F16) -> &'a mut [u8] {
    let (scales, codes) = block.split_at_mut(CODES);
    let scales: &mut [F16] = bytemuck::cast_slice_mut(scales);
    scales[lane] = match values.iter().all(|value| value.is_finite()) {
        true => scale,
        false => F16::from_f32(f32::NAN),
    };
    codes
}
