//! Attention over keys and values that are stored as codes with scales.
//!
//! Queries are rounded to codes of 8 bits too, with a scale for each 32 dimensions, as ggml does (its `vec_dot` of these
//! formats takes `q8_0`): scores are sums of whole numbers, which the scales come to once for each block of dimensions. Of
//! values, the probabilities are multiplied with the scales first; what comes of it, the weights of 32 dimensions of the
//! positions of a page, is rounded to parts of the largest, about a 32,000th, so that these sums are of whole numbers too.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::block::{Keys, Stored, Values};
use super::{BLOCK, FEW_ROWS};
use crate::kv::{BLOCK_DIMS, Blocks, CODES, PAGE_TILES, Q4, Q8, TILE_POSITIONS, VECTOR_DIMS};
use crate::memory::LINE;
use crate::tier::{ROUND, Tier};

/// Codes of this kind.
pub(super) struct Coded<B>(PhantomData<B>);

/// Vectors of `[16 positions][4 dimensions]` of a block of keys.
const KEY_VECTORS: usize = BLOCK_DIMS / 4;
/// The largest code of a query, or of a weight.
const MAX_CODE: f32 = 127.0;
/// Parts of a step of a weight's first code, that its second one counts.
const PARTS: i32 = 254;
/// How far ahead values are asked for: their tiles then follow those of the keys that are scored together.
const AHEAD_DIMS: usize = 2 * BLOCK_DIMS;
/// Weights of which the largest is less are nothing: the largest probability of a page is one.
const MIN_WEIGHT: f32 = 1e-30;

/// How codes are read.
pub(super) trait Codes: Blocks {
    /// The largest code, as stored.
    const MAX: i32;
    /// What codes are stored with.
    const OFFSET: i32;
    /// Whether a scale may be less than zero.
    const HAS_SIGNED_SCALES: bool;
    /// The vectors of a tile's block: of keys, those of the first or second 16 dimensions for all positions, of values,
    /// those of all positions for these dimensions.
    ///
    /// # Safety
    /// The CPU has the tier, and `codes` points to the codes of the block.
    unsafe fn half<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4];
    /// What sums of products are more than without the offset, for each unit of the other factor.
    #[inline(always)]
    fn offset<T: Tier>() -> i32 {
        match Self::MAX > 127 && T::SIGNED_BYTES {
            true => 0,
            false => Self::OFFSET,
        }
    }
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
    const MAX: i32 = 255;
    const OFFSET: i32 = 128;
    const HAS_SIGNED_SCALES: bool = false;

    #[inline(always)]
    unsafe fn half<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { load_vectors::<T>(codes.add(HALF * 4 * LINE)) }
    }
}

impl Codes for Q4 {
    const MAX: i32 = 15;
    const OFFSET: i32 = 8;
    const HAS_SIGNED_SCALES: bool = true;

    #[inline(always)]
    unsafe fn half<T: Tier, const HALF: usize>(codes: *const u8) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let low = T::splat_i(0x0f0f_0f0f);
            let mut vectors = load_vectors::<T>(codes);
            for pairs in &mut vectors {
                *pairs = match HALF {
                    0 => T::and(*pairs, low),
                    _ => T::and(T::shr::<4>(*pairs), low),
                };
            }
            vectors
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
                    MAX_CODE / largest
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
                    true => largest / MAX_CODE,
                    false => f32::NAN,
                };
                // SAFETY: vectors and blocks of the query.
                unsafe {
                    for (v, four) in rounded.chunks_exact(4).enumerate() {
                        let at = codes.add((block * KEY_VECTORS + v) * N + n);
                        at.cast::<[i8; 4]>()
                            .write([four[0], four[1], four[2], four[3]]);
                    }
                    scales.add(block * N + n).write(scale);
                    offsets.add(block * N + n).write(-B::offset::<T>() * sum);
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
                    let half = B::half::<T, 0>(keys.add(CODES));
                    for (n, acc) in acc.iter_mut().enumerate() {
                        let offset = T::splat_i(offsets.add(block * N + n).read());
                        *acc = T::dot16(B::MAX, offset, half, codes.add(n), N);
                    }
                    let half = B::half::<T, 1>(keys.add(CODES));
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = T::dot16(B::MAX, *acc, half, codes.add(4 * N + n), N);
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
    unsafe fn add_values<T: Tier, const N: usize, const P: usize>(
        values: Values,
        lanes: Range<usize>,
        probabilities: *const f32,
        out: *mut f32,
    ) {
        let mut weights = MaybeUninit::<Weights<N>>::uninit();
        let weights = weights.as_mut_ptr();
        for dim in (0..values.v_stride).step_by(BLOCK_DIMS) {
            // SAFETY: the caller's promise; weights are written before they are read.
            unsafe {
                let (start, next) = values.unit(BLOCK_DIMS, dim, AHEAD_DIMS);
                let unit = Values {
                    start,
                    next,
                    ..values
                };
                weigh::<T, B, N>(unit, lanes.clone(), probabilities, weights);
                let n_tiles = lanes.end.div_ceil(TILE_POSITIONS);
                let out = out.add(dim);
                if P > 1 {
                    let mut sums = [[[T::splat_i(0); 2]; N]; 2];
                    for tile in 0..n_tiles {
                        let codes = unit.start.add(tile * unit.tile_stride + CODES);
                        let weights = &(*weights).codes[tile];
                        add_tile::<T, B, N, 0>(codes, weights, &mut sums[0]);
                        add_tile::<T, B, N, 1>(codes, weights, &mut sums[1]);
                    }
                    store_sums::<T, N>(sums[0], weights, values.v_stride, out);
                    store_sums::<T, N>(sums[1], weights, values.v_stride, out.add(VECTOR_DIMS));
                } else {
                    // more than that does not fit the registers
                    add_half::<T, B, N, 0>(unit, n_tiles, weights, out);
                    add_half::<T, B, N, 1>(unit, n_tiles, weights, out.add(VECTOR_DIMS));
                }
            }
        }
    }
}

/// What the positions of a page weigh in 32 dimensions, for `N` rows.
#[repr(C, align(64))]
struct Weights<const N: usize> {
    /// Probabilities times scales, `[tile][row][position]`.
    products: [[[f32; TILE_POSITIONS]; N]; PAGE_TILES],
    /// Those in steps, rounded: whole steps, and parts of one.
    codes: [[[[i8; TILE_POSITIONS]; 2]; N]; PAGE_TILES],
    /// What a part of a step weighs.
    parts: [f32; N],
    /// What codes' offsets add to the sums, less than zero.
    offsets: [f32; N],
}

/// Computes the weights of the positions `lanes`; all others of their tiles weigh nothing.
///
/// A step is the 127th part of a row's largest weight, which does not depend on what other rows see. Sums of products
/// with codes are at most `128 * (127 * 254 + 127) * 255` then, which is less than 2³¹.
///
/// # Safety
/// As for [`Stored::add_values`]; `unit` starts at the dimensions, `weights` can be written to.
#[inline(always)]
unsafe fn weigh<T: Tier, B: Codes, const N: usize>(
    unit: Values,
    lanes: Range<usize>,
    probabilities: *const f32,
    weights: *mut Weights<N>,
) {
    let n_tiles = lanes.end.div_ceil(TILE_POSITIONS);
    // SAFETY: the caller's promise; what is read was written before.
    unsafe {
        let zero = T::splat(0.0);
        let mut sums = [[zero; 2]; N];
        for tile in 0..n_tiles {
            let at = tile * unit.tile_stride;
            ask_for::<T, B, N>(unit.next.wrapping_add(at));
            let scales = T::load_f16(unit.start.add(at).cast());
            let first = tile * TILE_POSITIONS;
            let seen = lanes.start.max(first) - first..TILE_POSITIONS.min(lanes.end - first);
            for (n, [sum, largest]) in sums.iter_mut().enumerate() {
                let products = &raw mut (*weights).products[tile][n];
                let probabilities = T::load(probabilities.add(n * BLOCK + first));
                let mut product = T::mul(probabilities, scales);
                if seen.len() < TILE_POSITIONS {
                    // where nothing was written, scales are anything
                    T::store(products.cast(), product);
                    (&mut *products)[..seen.start].fill(0.0);
                    (&mut *products)[seen.end..].fill(0.0);
                    product = T::load(products.cast());
                }
                T::store(products.cast(), product);
                *sum = T::add(*sum, product);
                let magnitude = match B::HAS_SIGNED_SCALES {
                    true => T::abs(product),
                    false => product,
                };
                *largest = T::max(*largest, magnitude);
            }
        }
        for (n, [sum, largest]) in sums.into_iter().enumerate() {
            let largest = T::reduce_max(largest);
            let steps = match largest > MIN_WEIGHT {
                true => MAX_CODE / largest,
                false => 0.0,
            };
            for tile in 0..n_tiles {
                let product = T::load((&raw const (*weights).products[tile][n]).cast());
                // nearest integers, in the low bits
                let whole = T::mul_add(product, T::splat(steps), T::splat(ROUND));
                let less = T::sub(whole, T::splat(ROUND));
                let less = T::mul_add(product, T::splat(-steps), less);
                let parts = T::mul_add(less, T::splat(-(PARTS as f32)), T::splat(ROUND));
                let codes = (&raw mut (*weights).codes[tile][n]).cast::<u8>();
                T::store_low_bytes(codes, T::bits(whole));
                T::store_low_bytes(codes.add(TILE_POSITIONS), T::bits(parts));
            }
            (*weights).parts[n] = largest / (MAX_CODE * PARTS as f32);
            // what is no number makes what comes of it none either
            (*weights).offsets[n] = -B::offset::<T>() as f32 * T::reduce_add(sum);
        }
    }
}

/// Adds the products of a tile's positions: for each row, with the whole steps and with the parts.
///
/// # Safety
/// The CPU has the tier, and `codes` points to those of a block.
#[inline(always)]
unsafe fn add_tile<T: Tier, B: Codes, const N: usize, const HALF: usize>(
    codes: *const u8,
    weights: &[[[i8; TILE_POSITIONS]; 2]; N],
    sums: &mut [[T::I; 2]; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let half = B::half::<T, HALF>(codes);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = T::dot16(B::MAX, *sum, half, weights.as_ptr().cast(), 1);
            }
        }
    }
}

/// Adds up the first or second half of the dimensions of a block.
///
/// # Safety
/// As for [`Stored::add_values`]; `unit` starts at the dimensions; the weights of those tiles were computed.
#[inline(always)]
unsafe fn add_half<T: Tier, B: Codes, const N: usize, const HALF: usize>(
    unit: Values,
    n_tiles: usize,
    weights: *const Weights<N>,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    let mut sums = [[unsafe { T::splat_i(0) }; 2]; N];
    for tile in 0..n_tiles {
        // SAFETY: the caller's promise.
        unsafe {
            let codes = unit.start.add(tile * unit.tile_stride + CODES);
            add_tile::<T, B, N, HALF>(codes, &(*weights).codes[tile], &mut sums);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store_sums::<T, N>(sums, weights, unit.v_stride, out) };
}

/// Writes what sums of products stand for.
///
/// # Safety
/// As for [`Stored::add_values`]; the weights were computed.
#[inline(always)]
unsafe fn store_sums<T: Tier, const N: usize>(
    sums: [[T::I; 2]; N],
    weights: *const Weights<N>,
    v_stride: usize,
    out: *mut f32,
) {
    for (n, [whole, parts]) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let sum = T::add_i(T::mul_i(whole, T::splat_i(PARTS)), parts);
            let (part, offset) = (
                T::splat((*weights).parts[n]),
                T::splat((*weights).offsets[n]),
            );
            let sum = T::mul_add(T::to_float(sum), part, offset);
            T::store(out.add(n * v_stride), sum);
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
