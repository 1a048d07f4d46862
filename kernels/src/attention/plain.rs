//! Attention over keys and values that are stored as floats.

use std::marker::PhantomData;
use std::ops::Range;

use super::block::{Keys, Stored, Values};
use super::{BLOCK, FEW_ROWS};
use crate::half_float::round_to_f16;
use crate::kv::{TILE_POSITIONS, VECTOR_DIMS};
use crate::memory::LINE;
use crate::tier::Tier;

/// Floats of this kind.
pub(super) struct Plain<E>(PhantomData<E>);

/// An element of the cache.
pub(super) trait Element: Copy {
    /// # Safety
    /// The CPU has the tier, and `source` points to 16 elements.
    unsafe fn load<T: Tier>(source: *const Self) -> T::F;
    /// A query's value in the precision that keys have: the reference multiplies both in the cache's type.
    fn round(value: f32) -> f32;
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<T: Tier>(source: *const Self) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::load_f16(source) }
    }
    #[inline(always)]
    fn round(value: f32) -> f32 {
        round_to_f16(value)
    }
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<T: Tier>(source: *const Self) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::load(source) }
    }
    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }
}

impl<E: Element> Stored for Plain<E> {
    #[inline(always)]
    unsafe fn pack<'q, T: Tier, const N: usize>(
        k_stride: usize,
        queries: impl Iterator<Item = &'q [f32]>,
        packed: *mut f32,
    ) {
        for (n, query) in queries.take(N).enumerate() {
            let rounded = query.iter().map(|value| E::round(*value));
            let padding = std::iter::repeat_n(0.0, k_stride - query.len());
            for (dim, value) in rounded.chain(padding).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { packed.add(dim * N + n).write(value) };
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
            let mut acc = [[T::splat(0.0); N]; P];
            for dim in 0..k_stride {
                for (p, acc) in acc.iter_mut().enumerate() {
                    let at = p * keys.tile_stride + dim * TILE_POSITIONS * size_of::<E>();
                    if N <= FEW_ROWS && at.is_multiple_of(LINE) {
                        T::prefetch(keys.next.wrapping_add(at));
                    }
                    let keys = E::load::<T>(keys.start.add(at).cast());
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = T::mul_add(keys, T::splat(queries.add(dim * N + n).read()), *acc);
                    }
                }
            }
            for (p, acc) in acc.into_iter().enumerate() {
                for (n, acc) in acc.into_iter().enumerate() {
                    T::store(scores.add(n * BLOCK + p * TILE_POSITIONS), acc);
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
        // SAFETY: the caller's promise.
        unsafe {
            let mut dim = 0;
            while dim + VECTOR_DIMS * P <= values.v_stride {
                add_dims::<T, E, N, P>(values, dim, lanes.clone(), probabilities, out.add(dim));
                dim += VECTOR_DIMS * P;
            }
            while dim < values.v_stride {
                add_dims::<T, E, N, 1>(values, dim, lanes.clone(), probabilities, out.add(dim));
                dim += VECTOR_DIMS;
            }
        }
    }
}

/// [`Stored::add_values`] of the `P` vectors of dimensions from `dim` on, a multiple of that many.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn add_dims<T: Tier, E: Element, const N: usize, const P: usize>(
    values: Values,
    dim: usize,
    lanes: Range<usize>,
    probabilities: *const f32,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (unit, next) = values.unit(VECTOR_DIMS, dim, P * VECTOR_DIMS);
        let mut acc = [[T::splat(0.0); P]; N];
        for lane in lanes {
            let mut v = [T::splat(0.0); P];
            for (p, v) in v.iter_mut().enumerate() {
                let at = p * values.unit_stride + lane * VECTOR_DIMS * size_of::<E>();
                if N <= FEW_ROWS && at.is_multiple_of(LINE) {
                    T::prefetch(next.wrapping_add(at));
                }
                *v = E::load::<T>(unit.add(at).cast());
            }
            for (n, acc) in acc.iter_mut().enumerate() {
                let probability = T::splat(probabilities.add(n * BLOCK + lane).read());
                for (acc, v) in acc.iter_mut().zip(v) {
                    *acc = T::mul_add(probability, v, *acc);
                }
            }
        }
        for (n, acc) in acc.into_iter().enumerate() {
            for (p, acc) in acc.into_iter().enumerate() {
                T::store(out.add(n * values.v_stride + 16 * p), acc);
            }
        }
    }
}
