//! Blocks of one chunk: an integer sum for each, scaled as a float.

use super::{Blocks, prefetch};
use crate::activations::{RecordKind, SCALE, SUM};
use crate::layout::TILE_ROWS;
use crate::memory::LINE;
use crate::tier::Tier;
use crate::unpack::{CodeVectors, FloatScales, Format, ScaleVectors};

/// `acc += (d_w · d_x) · Σ codes · x  [+ m · (d_x · Σ x)]`.
pub(crate) struct Block32;

impl<F: Format> Blocks<F> for Block32
where
    F::Scales: FloatScales,
{
    const RECORDS: RecordKind = RecordKind::Block32;
    const SCALE_VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn unpack_scales<T: Tier>(block: *const u8, scales: *mut u8) {
        // SAFETY: the caller's promise of two vectors.
        unsafe {
            let [d, m] = F::Scales::floats::<T>(block);
            T::store(scales.cast(), d);
            if F::Scales::HAS_MIN {
                T::store(scales.cast::<f32>().add(TILE_ROWS), m);
            }
        }
    }

    #[inline(always)]
    unsafe fn add_of_panel<T: Tier, const N: usize>(
        acc: &mut [T::F; N],
        codes: *const u8,
        scales: *const u8,
        record: *const u32,
    ) {
        // SAFETY: the caller's promise; a minimum that was not unpacked is not used either, the scale stands in for it.
        unsafe {
            let mut sums = start::<T, F, N>(record);
            T::dot_columns::<8, N>(F::Codes::MAX, &mut sums, codes, record.cast());
            let d = T::load(scales.cast());
            let m = if F::Scales::HAS_MIN {
                T::load(scales.add(LINE).cast())
            } else {
                d
            };
            add::<T, F, N>(acc, sums, [d, m], record);
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
            prefetch::<T>(codes, F::Codes::BYTES);
            let [mut sum] = start::<T, F, 1>(record);
            for half in 0..2 {
                let x = record.add(4 * half).cast();
                let codes = F::Codes::half::<T>(codes, half);
                sum = T::dot16(F::Codes::MAX, sum, codes, x, 1);
            }
            let mut acc = [acc];
            add::<T, F, 1>(&mut acc, [sum], F::Scales::floats::<T>(scales), record);
            acc[0]
        }
    }
}

/// Sums that take the offset of the codes off.
///
/// # Safety
/// The CPU has the tier; `record` is of `N` columns.
#[inline(always)]
unsafe fn start<T: Tier, F: Format, const N: usize>(record: *const u32) -> [T::I; N] {
    // SAFETY: the caller's promise; fields of the record are `N` apart.
    unsafe {
        let mut sums = [T::splat_i(0); N];
        if let Some(field) = F::start_field::<T>() {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = T::splat_i(record.cast::<i32>().add(field * N + n).read());
            }
        }
        sums
    }
}

/// The only arithmetic on floats, for any number of columns.
///
/// # Safety
/// As for [`start`].
#[inline(always)]
unsafe fn add<T: Tier, F: Format, const N: usize>(
    acc: &mut [T::F; N],
    sums: [T::I; N],
    [d, m]: [T::F; 2],
    record: *const u32,
) {
    let record = record.cast::<f32>();
    for (n, (acc, sum)) in acc.iter_mut().zip(sums).enumerate() {
        // SAFETY: the caller's promise; fields of the record are `N` apart.
        unsafe {
            let d_x = T::splat(record.add(SCALE * N + n).read());
            *acc = T::mul_add(T::to_float(sum), T::mul(d, d_x), *acc);
            if F::Scales::HAS_MIN {
                let x_sum = T::splat(record.add(SUM * N + n).read());
                *acc = T::mul_add(m, x_sum, *acc);
            }
        }
    }
}
