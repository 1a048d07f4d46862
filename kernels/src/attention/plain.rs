//! Attention over keys and values that are stored as floats.

use std::marker::PhantomData;
use std::ops::Range;

use super::{BLOCK, Stored, Values};
use crate::half_float::round_to_f16;
use crate::kv::{TILE_POSITIONS, VECTOR_DIMS};
use crate::tier::Tier;

/// With so few rows a tile is read from memory for each, and its head's next one lies too far away for the CPU to guess:
/// it is asked for meanwhile. (That it may not be there does not matter.)
const FEW_ROWS: usize = 3;

/// Floats of this kind.
pub(super) struct Plain<E>(PhantomData<E>);

/// An element of the cache.
pub(super) trait Element: Copy {
    /// # Safety
    /// The CPU has the tier, and `source` points to 16 elements.
    unsafe fn load<T: Tier>(source: *const Self) -> T::F;
    /// See [`Stored::round`].
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
    fn round(value: f32) -> f32 {
        E::round(value)
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
            let mut acc = [[T::splat(0.0); N]; P];
            for dim in 0..k_stride {
                for (p, acc) in acc.iter_mut().enumerate() {
                    let keys = keys.add(p * tile_stride).cast::<E>();
                    let keys = keys.add(dim * TILE_POSITIONS);
                    if N <= FEW_ROWS {
                        T::prefetch(keys.cast::<u8>().wrapping_add(P * tile_stride));
                    }
                    let keys = E::load::<T>(keys);
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
    unsafe fn add_dims<T: Tier, const N: usize, const P: usize>(
        values: Values,
        dim: usize,
        lanes: Range<usize>,
        probabilities: *const f32,
        out: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut acc = [[T::splat(0.0); P]; N];
            let mut lane = lanes.start;
            while lane < lanes.end {
                let tile = values
                    .start
                    .add(lane / TILE_POSITIONS * values.tile_stride)
                    .cast::<E>()
                    .add(dim * TILE_POSITIONS);
                let end = lanes.end.min((lane / TILE_POSITIONS + 1) * TILE_POSITIONS);
                while lane < end {
                    let mut v = [T::splat(0.0); P];
                    for (p, v) in v.iter_mut().enumerate() {
                        let at = (p * TILE_POSITIONS + lane % TILE_POSITIONS) * VECTOR_DIMS;
                        if N <= FEW_ROWS {
                            let next = tile.add(at).cast::<u8>();
                            T::prefetch(next.wrapping_add(values.tile_stride));
                        }
                        *v = E::load::<T>(tile.add(at));
                    }
                    for (n, acc) in acc.iter_mut().enumerate() {
                        let probability = T::splat(probabilities.add(n * BLOCK + lane).read());
                        for (acc, v) in acc.iter_mut().zip(v) {
                            *acc = T::mul_add(probability, v, *acc);
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
}
