//! Attention over keys and values that are stored as codes with scales.
//!
//! Of keys, the products of a block's 32 dimensions are added up and then multiplied with the scales of the positions. Of
//! values, the probabilities are multiplied with the scales first: for a block of 32 dimensions once.

use std::marker::PhantomData;
use std::ops::Range;

use super::{BLOCK, Stored, Values};
use crate::kv::{BLOCK_DIMS, Blocks, CODES, Q4, Q8, TILE_POSITIONS, VECTOR_DIMS};
use crate::tier::Tier;

/// Codes of this kind.
pub(super) struct Coded<B>(PhantomData<B>);

/// Vectors of values computed together at most.
const MAX_VECTORS: usize = 4;

/// How codes are read.
///
/// # Safety of all methods
/// The CPU has the tier, and `codes` points to the codes of a tile's block.
pub(super) trait Codes: Blocks {
    /// Dimensions of a key that lie in the same 16 bytes, [`VECTOR_DIMS`] apart.
    const TOGETHER: usize;
    /// The codes of 16 positions: of dimension `line` of keys, and of those that lie with it.
    unsafe fn keys<T: Tier>(codes: *const u8, line: usize) -> [T::F; 2];
    /// The codes of the first or second 16 dimensions of the value of position `lane`.
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F;
}

impl Codes for Q8 {
    const TOGETHER: usize = 1;

    #[inline(always)]
    unsafe fn keys<T: Tier>(codes: *const u8, line: usize) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::to_float(T::widen_i8(codes.add(line * TILE_POSITIONS).cast())); 2] }
    }

    #[inline(always)]
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F {
        let at = (HALF * TILE_POSITIONS + lane) * VECTOR_DIMS;
        // SAFETY: the caller's promise.
        unsafe { T::to_float(T::widen_i8(codes.add(at).cast())) }
    }
}

impl Codes for Q4 {
    const TOGETHER: usize = 2;

    #[inline(always)]
    unsafe fn keys<T: Tier>(codes: *const u8, line: usize) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let pairs = T::widen_u8(codes.add(line * TILE_POSITIONS));
            [nibble::<T, 0>(pairs), nibble::<T, 1>(pairs)]
        }
    }

    #[inline(always)]
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { nibble::<T, HALF>(T::widen_u8(codes.add(lane * VECTOR_DIMS))) }
    }
}

/// The lower or upper four bits of bytes, less the 8 that they are stored with.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
unsafe fn nibble<T: Tier, const HALF: usize>(pairs: T::I) -> T::F {
    // SAFETY: the caller's promise.
    unsafe {
        let code = match HALF {
            0 => T::and(pairs, T::splat_i(15)),
            _ => T::shr::<4>(pairs),
        };
        T::to_float(T::add_i(code, T::splat_i(-8)))
    }
}

impl<B: Codes> Stored for Coded<B> {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    unsafe fn score_tiles<T: Tier, const N: usize, const P: usize>(
        queries: *const f32,
        k_stride: usize,
        keys: *const u8,
        tile_stride: usize,
        scores: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[T::splat(0.0); N]; P];
            for block in 0..k_stride / BLOCK_DIMS {
                let queries = queries.add(block * BLOCK_DIMS * N);
                let keys = keys.add(block * B::TILE_BYTES);
                let mut acc = [[T::splat(0.0); N]; P];
                for line in 0..BLOCK_DIMS / B::TOGETHER {
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let keys = B::keys::<T>(keys.add(p * tile_stride + CODES), line);
                        for (half, keys) in keys.into_iter().take(B::TOGETHER).enumerate() {
                            let queries = queries.add((line + half * VECTOR_DIMS) * N);
                            for (n, acc) in acc.iter_mut().enumerate() {
                                *acc = T::mul_add(keys, T::splat(queries.add(n).read()), *acc);
                            }
                        }
                    }
                }
                for (p, (sums, acc)) in sums.iter_mut().zip(acc).enumerate() {
                    let scales = T::load_f16(keys.add(p * tile_stride).cast());
                    for (sum, acc) in sums.iter_mut().zip(acc) {
                        *sum = T::mul_add(acc, scales, *sum);
                    }
                }
            }
            for (p, sums) in sums.into_iter().enumerate() {
                for (n, sum) in sums.into_iter().enumerate() {
                    T::store(scores.add(n * BLOCK + p * TILE_POSITIONS), sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_dims<T: Tier, const N: usize, const P: usize>(
        values: Values,
        dim: usize,
        lanes: Range<usize>,
        probabilities: *const f32,
        out: *mut f32,
    ) {
        const { assert!(P <= MAX_VECTORS, "room for their probabilities") };
        let values = Values {
            // SAFETY: the dimension is one of the head's.
            start: unsafe { values.start.add(dim / BLOCK_DIMS * B::TILE_BYTES) },
            ..values
        };
        // SAFETY: the caller's promise.
        unsafe {
            // several vectors begin where a block does
            if P == 1 && !dim.is_multiple_of(BLOCK_DIMS) {
                add_from::<T, B, N, P, 1>(values, lanes, probabilities, out);
            } else {
                add_from::<T, B, N, P, 0>(values, lanes, probabilities, out);
            }
        }
    }
}

/// [`Stored::add_dims`] from the first half of the dimensions of a block on, or from the second.
///
/// # Safety
/// As there; `values` starts at the block.
#[inline(always)]
unsafe fn add_from<T: Tier, B: Codes, const N: usize, const P: usize, const HALF: usize>(
    values: Values,
    lanes: Range<usize>,
    probabilities: *const f32,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[T::splat(0.0); P]; N];
        // probabilities times scales
        let mut scaled = [[[0.0f32; TILE_POSITIONS]; N]; MAX_VECTORS / 2];
        let mut lane = lanes.start;
        while lane < lanes.end {
            let first = lane - lane % TILE_POSITIONS;
            let blocks = values
                .start
                .add(first / TILE_POSITIONS * values.tile_stride);
            for (block, scaled) in scaled.iter_mut().take(P.div_ceil(2)).enumerate() {
                let scales = T::load_f16(blocks.add(block * B::TILE_BYTES).cast());
                for (n, scaled) in scaled.iter_mut().enumerate() {
                    let probabilities = T::load(probabilities.add(n * BLOCK + first));
                    T::store(scaled.as_mut_ptr(), T::mul(probabilities, scales));
                }
            }
            let end = lanes.end.min(first + TILE_POSITIONS);
            while lane < end {
                let at = lane % TILE_POSITIONS;
                let mut v = [T::splat(0.0); P];
                for (p, v) in v.iter_mut().enumerate() {
                    let codes = blocks.add(p / 2 * B::TILE_BYTES + CODES);
                    *v = match (HALF + p) % 2 {
                        0 => B::value::<T, 0>(codes, at),
                        _ => B::value::<T, 1>(codes, at),
                    };
                }
                for (n, acc) in acc.iter_mut().enumerate() {
                    for (p, (acc, v)) in acc.iter_mut().zip(v).enumerate() {
                        let probability = *scaled
                            .get_unchecked(p / 2)
                            .get_unchecked(n)
                            .get_unchecked(at);
                        *acc = T::mul_add(T::splat(probability), v, *acc);
                    }
                }
                lane += 1;
            }
        }
        for (n, acc) in acc.into_iter().enumerate() {
            for (p, acc) in acc.into_iter().enumerate() {
                T::store(out.add(n * values.v_stride + 16 * p), acc);
            }
        }
    }
}
