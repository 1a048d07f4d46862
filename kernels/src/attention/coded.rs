//! Attention over keys and values that are stored as codes with scales.
//!
//! Queries are rounded to codes of 8 bits too, with a scale for each 32 dimensions, as ggml does (its `vec_dot` of these
//! formats takes `q8_0`): scores are sums of whole numbers, which the scales come to once for each block of dimensions. Of
//! values, the probabilities are multiplied with the scales first: for a block of 32 dimensions once.

use std::marker::PhantomData;
use std::ops::Range;

use super::{BLOCK, FEW_ROWS, Keys, Stored, Values};
use crate::kv::{BLOCK_DIMS, Blocks, CODES, Q4, Q8, TILE_POSITIONS, VECTOR_DIMS};
use crate::memory::LINE;
use crate::tier::Tier;

/// Codes of this kind.
pub(super) struct Coded<B>(PhantomData<B>);

/// Vectors of `[16 positions][4 dimensions]` of a block of keys.
const KEY_VECTORS: usize = BLOCK_DIMS / 4;
/// The largest code of a query.
const MAX_QUERY: f32 = 127.0;
/// Vectors of values computed together at most.
const MAX_VECTORS: usize = 4;

/// How codes are read.
///
/// # Safety of all methods
/// The CPU has the tier, and `codes` points to the codes of a tile's block.
pub(super) trait Codes: Blocks {
    /// The largest code of a key, as stored.
    const MAX_KEY: i32;
    /// What codes of keys are stored with.
    const KEY_OFFSET: i32;
    /// What codes of values are stored with.
    const VALUE_OFFSET: f32;
    /// Vectors of a block of keys: the first or second half of them.
    unsafe fn keys<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4];
    /// The codes of the first or second 16 dimensions of the value of position `lane`, as stored.
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F;
}

/// Four vectors.
///
/// # Safety
/// The CPU has the tier, and `codes` points to them.
#[inline(always)]
unsafe fn load_vectors<T: Tier>(codes: *const u8) -> [T::I; 4] {
    // SAFETY: the caller's promise.
    [0, 1, 2, 3].map(|v| unsafe { T::load_i(codes.add(v * LINE)) })
}

impl Codes for Q8 {
    const MAX_KEY: i32 = 255;
    const KEY_OFFSET: i32 = 128;
    const VALUE_OFFSET: f32 = 0.0;

    #[inline(always)]
    unsafe fn keys<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { load_vectors::<T>(codes.add(HALF * 4 * LINE)) }
    }

    #[inline(always)]
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F {
        let at = (HALF * TILE_POSITIONS + lane) * VECTOR_DIMS;
        // SAFETY: the caller's promise.
        unsafe { T::to_float(T::widen_i8(codes.add(at).cast())) }
    }
}

impl Codes for Q4 {
    const MAX_KEY: i32 = 15;
    const KEY_OFFSET: i32 = 8;
    const VALUE_OFFSET: f32 = 8.0;

    #[inline(always)]
    unsafe fn keys<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let low = T::splat_i(0x0f0f_0f0f);
            load_vectors::<T>(codes).map(|pairs| match HALF {
                0 => T::and(pairs, low),
                _ => T::and(T::shr::<4>(pairs), low),
            })
        }
    }

    #[inline(always)]
    unsafe fn value<T: Tier, const HALF: usize>(codes: *const u8, lane: usize) -> T::F {
        // SAFETY: the caller's promise.
        unsafe {
            let pairs = T::widen_u8(codes.add(lane * VECTOR_DIMS));
            T::to_float(match HALF {
                0 => T::and(pairs, T::splat_i(15)),
                _ => T::shr::<4>(pairs),
            })
        }
    }
}

/// Where the codes, scales and offsets of `N` packed queries begin: `[vector][N]` of four codes, `[block][N]` of `f32`,
/// `[block][N]` of `i32`.
///
/// # Safety
/// `packed` has room for `N * k_stride` floats.
#[inline(always)]
unsafe fn parts<const N: usize>(
    packed: *mut f32,
    k_stride: usize,
) -> (*mut i32, *mut f32, *mut i32) {
    // SAFETY: a quarter, and two parts of 32, of those floats.
    unsafe {
        let scales = packed.add(N * k_stride / 4);
        let offsets = scales.add(N * k_stride / BLOCK_DIMS);
        (packed.cast(), scales, offsets.cast())
    }
}

impl<B: Codes> Stored for Coded<B> {
    #[inline(always)]
    unsafe fn pack<'q, T: Tier, const N: usize>(
        k_stride: usize,
        queries: impl Iterator<Item = &'q [f32]>,
        packed: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        let (codes, scales, offsets) = unsafe { parts::<N>(packed, k_stride) };
        for (n, query) in queries.take(N).enumerate() {
            for (block, values) in query.chunks(BLOCK_DIMS).enumerate() {
                let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                let inverse = if largest > 0.0 {
                    MAX_QUERY / largest
                } else {
                    0.0
                };
                let mut rounded = [0i8; BLOCK_DIMS];
                for (code, value) in rounded.iter_mut().zip(values) {
                    *code = (value * inverse).round_ties_even() as i8;
                }
                let sum: i32 = rounded.iter().copied().map(i32::from).sum();
                // what was computed wrongly does not look right afterwards
                let scale = match values.iter().all(|value| value.is_finite()) {
                    true => largest / MAX_QUERY,
                    false => f32::NAN,
                };
                let offset = if B::MAX_KEY > 127 && T::SIGNED_BYTES {
                    0
                } else {
                    B::KEY_OFFSET
                };
                // SAFETY: vectors and blocks of the query.
                unsafe {
                    for (v, four) in rounded.chunks_exact(4).enumerate() {
                        let at = codes.add((block * KEY_VECTORS + v) * N + n);
                        at.cast::<[i8; 4]>()
                            .write([four[0], four[1], four[2], four[3]]);
                    }
                    scales.add(block * N + n).write(scale);
                    offsets.add(block * N + n).write(-offset * sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn score_tiles<T: Tier, const N: usize, const P: usize>(
        queries: *const f32,
        k_stride: usize,
        keys: Keys,
        scores: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let (codes, scales, offsets) = parts::<N>(queries.cast_mut(), k_stride);
            let mut sums = [[T::splat(0.0); N]; P];
            for block in 0..k_stride / BLOCK_DIMS {
                let codes = codes.add(block * KEY_VECTORS * N);
                for (p, sums) in sums.iter_mut().enumerate() {
                    let at = p * keys.tile_stride + block * B::TILE_BYTES;
                    ask_for::<T, B, N>(keys.next.wrapping_add(at));
                    let keys = keys.start.add(at);
                    let mut acc = [T::splat_i(0); N];
                    let half = B::keys::<T, 0>(keys.add(CODES));
                    for (n, acc) in acc.iter_mut().enumerate() {
                        let offset = T::splat_i(offsets.add(block * N + n).read());
                        *acc = T::dot16(B::MAX_KEY, offset, half, codes.add(n), N);
                    }
                    let half = B::keys::<T, 1>(keys.add(CODES));
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = T::dot16(B::MAX_KEY, *acc, half, codes.add(4 * N + n), N);
                    }
                    let key_scales = T::load_f16(keys.cast());
                    for (n, (sum, acc)) in sums.iter_mut().zip(acc).enumerate() {
                        let scale = T::splat(scales.add(block * N + n).read());
                        *sum = T::mul_add(T::to_float(acc), T::mul(key_scales, scale), *sum);
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
        // SAFETY: the caller's promise.
        unsafe {
            let (start, next) = values.unit(BLOCK_DIMS, dim, P * VECTOR_DIMS);
            let values = Values {
                start,
                next,
                ..values
            };
            // several vectors begin where a block does
            if P == 1 && !dim.is_multiple_of(BLOCK_DIMS) {
                add_from::<T, B, N, P, 1>(values, lanes, probabilities, out);
            } else {
                add_from::<T, B, N, P, 0>(values, lanes, probabilities, out);
            }
        }
    }
}

/// With few rows, asks for the tile's block at `block`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
unsafe fn ask_for<T: Tier, B: Codes, const N: usize>(block: *const u8) {
    if N <= FEW_ROWS {
        for line in 0..B::TILE_BYTES.div_ceil(LINE) {
            // SAFETY: the caller's promise.
            unsafe { T::prefetch(block.wrapping_add(line * LINE)) };
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
        // what the codes' offset adds: the sum of probabilities times scales, by lanes
        let mut weights = [[T::splat(0.0); N]; MAX_VECTORS / 2];
        // probabilities times scales
        let mut scaled = [[[0.0f32; TILE_POSITIONS]; N]; MAX_VECTORS / 2];
        let mut lane = lanes.start;
        while lane < lanes.end {
            let first = lane - lane % TILE_POSITIONS;
            let at = first / TILE_POSITIONS * values.tile_stride;
            let blocks = values.start.add(at);
            for (block, scaled) in scaled.iter_mut().take(P.div_ceil(2)).enumerate() {
                ask_for::<T, B, N>(values.next.wrapping_add(block * values.unit_stride + at));
                let scales = T::load_f16(blocks.add(block * values.unit_stride).cast());
                for (n, scaled) in scaled.iter_mut().enumerate() {
                    let probabilities = T::load(probabilities.add(n * BLOCK + first));
                    T::store(scaled.as_mut_ptr(), T::mul(probabilities, scales));
                }
            }
            let end = lanes.end.min(first + TILE_POSITIONS);
            if B::VALUE_OFFSET != 0.0 {
                let is_whole = end - lane == TILE_POSITIONS;
                for (weights, scaled) in weights.iter_mut().zip(&mut scaled).take(P.div_ceil(2)) {
                    for (weight, scaled) in weights.iter_mut().zip(scaled) {
                        if !is_whole {
                            // where nothing was written, scales are anything
                            scaled[..lane - first].fill(0.0);
                            scaled[end - first..].fill(0.0);
                        }
                        *weight = T::add(*weight, T::load(scaled.as_ptr()));
                    }
                }
            }
            while lane < end {
                let at = lane % TILE_POSITIONS;
                let mut v = [T::splat(0.0); P];
                for (p, v) in v.iter_mut().enumerate() {
                    let codes = blocks.add(p / 2 * values.unit_stride + CODES);
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
            for (p, mut acc) in acc.into_iter().enumerate() {
                if B::VALUE_OFFSET != 0.0 {
                    let [first, second] = weights;
                    let weight = T::reduce_add(if p < 2 { first[n] } else { second[n] });
                    acc = T::mul_add(T::splat(weight), T::splat(-B::VALUE_OFFSET), acc);
                }
                T::store(out.add(n * values.v_stride + 16 * p), acc);
            }
        }
    }
}
