//! Blocks of eight chunks with integer scales: sums stay integers over all of a block, as in the reference.

use super::{Blocks, prefetch};
use crate::activations::{BLOCK256_FIELDS, PAIR_OF_SUMS, RecordKind, SCALE};
use crate::layout::{CHUNK, TILE_ROWS};
use crate::memory::LINE;
use crate::tier::Tier;
use crate::unpack::{CodeVectors, Format, IntegerScales, ScaleVectors};

/// Chunks of a block.
const CHUNKS: usize = 256 / CHUNK;
/// Vectors of a chunk's scales in a panel: of each half of the chunk, and what the sums of activations count.
const CHUNK_VECTORS: usize = 3;

/// `acc += (d · d_x) · Σ s · (Σ codes · x − offset · Σ x)  [− (dmin · d_x) · Σ m · Σ x]`, where `s` and `m` are of a
/// chunk or of half a chunk.
///
/// Integers do not overflow: codes and scales of the formats keep `256 · |s · code| · 127` below 2³¹.
pub(crate) struct Block256;

/// Whether sums of activations are used: for minima, or for an offset that [`Tier::dot16`] does not take off.
const fn uses_sums<T: Tier, F: Format>() -> bool {
    F::Scales::HAS_MIN || !(F::OFFSET == 0 || F::OFFSET == 128 && T::SIGNED_BYTES)
}

/// What the sums of activations of a chunk's halves are multiplied with, as pairs of 16 bits: minima, or scales times
/// the negative offset.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
unsafe fn weights_of_sums<T: Tier, F: Format>(scales: [T::I; 2], mins: [T::I; 2]) -> T::I {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = if F::Scales::HAS_MIN {
            mins
        } else {
            let offset = T::splat_i(-F::OFFSET);
            [T::mul_i(scales[0], offset), T::mul_i(scales[1], offset)]
        };
        pair::<T>(first, second)
    }
}

/// Two numbers of 16 bits in each lane.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
unsafe fn pair<T: Tier>(first: T::I, second: T::I) -> T::I {
    // SAFETY: the caller's promise.
    unsafe { T::or(T::and(first, T::splat_i(0xffff)), T::shl::<16>(second)) }
}

impl<F: Format> Blocks<F> for Block256
where
    F::Scales: IntegerScales,
{
    const RECORDS: RecordKind = RecordKind::Block256;
    const SCALE_VECTORS: usize = CHUNKS * CHUNK_VECTORS + 2;

    #[inline(always)]
    unsafe fn unpack_scales<T: Tier>(block: *const u8, scales: *mut u8) {
        // SAFETY: the caller's promise of all vectors.
        unsafe {
            for chunk in 0..CHUNKS {
                let vectors = scales.add(chunk * CHUNK_VECTORS * LINE);
                let (subs, mins) = F::Scales::integers::<T>(block, chunk);
                T::store_i(vectors, T::scale_of_panel(subs[0]));
                T::store_i(vectors.add(LINE), T::scale_of_panel(subs[1]));
                if uses_sums::<T, F>() {
                    let weights = weights_of_sums::<T, F>(subs, mins);
                    T::store_i(vectors.add(2 * LINE), weights);
                }
            }
            let [d, m] = F::Scales::block::<T>(block);
            let floats = scales.add(CHUNKS * CHUNK_VECTORS * LINE).cast::<f32>();
            T::store(floats, d);
            T::store(floats.add(TILE_ROWS), m);
        }
    }

    #[inline(always)]
    unsafe fn add_of_panel<T: Tier, const N: usize>(
        acc: &mut [T::F; N],
        codes: *const u8,
        scales: *const u8,
        record: *const u32,
    ) {
        // SAFETY: the caller's promise; what was not unpacked is not read.
        unsafe {
            let mut of_sums = [T::splat_i(0); N];
            if uses_sums::<T, F>() {
                for chunk in 0..CHUNKS {
                    let weights = T::load_i(scales.add((chunk * CHUNK_VECTORS + 2) * LINE));
                    let record = record.add(chunk * BLOCK256_FIELDS * N);
                    add_sums::<T, N>(&mut of_sums, weights, record);
                }
            }
            let [mut totals, of_mins] = if F::Scales::HAS_MIN {
                [[T::splat_i(0); N], of_sums]
            } else {
                [of_sums, [T::splat_i(0); N]]
            };
            for chunk in 0..CHUNKS {
                let scales = scales.add(chunk * CHUNK_VECTORS * LINE);
                let codes = codes.add(chunk * super::slot_vectors::<T, F>() * LINE);
                let x = record.add(chunk * BLOCK256_FIELDS * N).cast::<i32>();
                if F::Scales::SUBS == 1 {
                    T::dot_scaled::<8, N>(F::Codes::MAX, &mut totals, codes, x, scales);
                } else {
                    T::dot_scaled::<4, N>(F::Codes::MAX, &mut totals, codes, x, scales);
                    let (codes, x) = (codes.add(4 * LINE), x.add(4 * N));
                    T::dot_scaled::<4, N>(F::Codes::MAX, &mut totals, codes, x, scales.add(LINE));
                }
            }
            let floats = scales.add(CHUNKS * CHUNK_VECTORS * LINE).cast::<f32>();
            let floats = [T::load(floats), T::load(floats.add(TILE_ROWS))];
            add::<T, F, N>(acc, totals, of_mins, floats, record);
        }
    }

    #[inline(always)]
    unsafe fn add_of_tile<T: Tier>(
        acc: T::F,
        codes: *const u8,
        scales: *const u8,
        record: *const u32,
    ) -> T::F {
        // SAFETY: the caller's promise.
        unsafe {
            let mut total = T::splat_i(0);
            let mut of_sums = [T::splat_i(0)];
            for chunk in 0..CHUNKS {
                let codes = codes.add(chunk * F::Codes::BYTES);
                prefetch::<T>(codes, F::Codes::BYTES);
                let record = record.add(chunk * BLOCK256_FIELDS);
                let (subs, mins) = F::Scales::integers::<T>(scales, chunk);
                if uses_sums::<T, F>() {
                    let weights = weights_of_sums::<T, F>(subs, mins);
                    add_sums::<T, 1>(&mut of_sums, weights, record);
                }
                let mut sum = T::splat_i(0);
                for (half, scale) in subs.into_iter().enumerate() {
                    let x = record.add(4 * half).cast();
                    let codes = F::Codes::half::<T>(codes, half);
                    sum = T::dot16(F::Codes::MAX, sum, codes, x, 1);
                    if half + 1 == 2 || F::Scales::SUBS == 2 {
                        total = T::add_i(total, T::mul_i(sum, scale));
                        sum = T::splat_i(0);
                    }
                }
            }
            let [of_sums] = of_sums;
            let (total, of_mins) = if F::Scales::HAS_MIN {
                (total, of_sums)
            } else {
                (T::add_i(total, of_sums), of_sums)
            };
            let mut acc = [acc];
            let floats = F::Scales::block::<T>(scales);
            add::<T, F, 1>(&mut acc, [total], [of_mins], floats, record);
            acc[0]
        }
    }
}

/// Adds what the sums of a chunk's activations count.
///
/// # Safety
/// The CPU has the tier; `record` is of `N` columns.
#[inline(always)]
unsafe fn add_sums<T: Tier, const N: usize>(
    of_sums: &mut [T::I; N],
    weights: T::I,
    record: *const u32,
) {
    for (n, of_sums) in of_sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise; fields of the record are `N` apart.
        unsafe {
            let sums = T::splat_i(record.cast::<i32>().add(PAIR_OF_SUMS * N + n).read());
            *of_sums = T::add_i(*of_sums, T::dot_pairs(weights, sums));
        }
    }
}

/// The only arithmetic on floats, for any number of columns.
///
/// # Safety
/// As for [`add_sums`].
#[inline(always)]
unsafe fn add<T: Tier, F: Format, const N: usize>(
    acc: &mut [T::F; N],
    totals: [T::I; N],
    of_mins: [T::I; N],
    [d, m]: [T::F; 2],
    record: *const u32,
) {
    for (n, acc) in acc.iter_mut().enumerate() {
        // SAFETY: the caller's promise; fields of the record are `N` apart.
        unsafe {
            let d_x = T::splat(record.cast::<f32>().add(SCALE * N + n).read());
            if F::Scales::HAS_MIN {
                *acc = T::mul_add(T::to_float(of_mins[n]), T::mul(m, d_x), *acc);
            }
            *acc = T::mul_add(T::to_float(totals[n]), T::mul(d, d_x), *acc);
        }
    }
}
