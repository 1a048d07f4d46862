//! [`Tier`]: what an instruction set must offer for the kernels to be written once.
//!
//! Vectors have 16 lanes on every tier, however many registers that takes: a lane is an output row, a position of the
//! cache or a value. A tier is never called directly: every kernel is `#[inline(always)]` from the function that
//! enables the tier's instructions down to the intrinsics, see [`kernel_table`](crate::dispatch::kernel_table).

use crate::memory::LINE;

/// The widest group of columns that any tier computes together.
pub(crate) const MAX_COLUMNS: usize = 12;

/// One instruction set.
///
/// # Safety of all methods
/// The CPU has the instructions; pointers reach as many values as the method says. No alignment is asked for.
pub(crate) trait Tier: Copy + 'static {
    /// Sizes of the groups in which columns are computed together, widest first, ending with 1.
    const WIDTHS: &'static [usize];
    /// Whether [`Tier::dot16`] takes off the 128 that 8-bit codes are stored with.
    const SIGNED_BYTES: bool;
    /// Whether [`Tier::dot_columns`] wants 8-bit codes as [`Tier::split`] gives them, the second vector 8 lines further.
    const SPLITS_BYTES: bool = false;

    /// 16 × i32, or 64 bytes.
    type I: Copy;
    /// 16 × f32.
    type F: Copy;

    /// Loads 64 bytes.
    unsafe fn load_i(source: *const u8) -> Self::I;
    /// Stores 64 bytes.
    unsafe fn store_i(target: *mut u8, v: Self::I);
    /// Stores the low bytes of the 16 lanes.
    unsafe fn store_low_bytes(target: *mut u8, v: Self::I);
    unsafe fn splat_i(value: i32) -> Self::I;
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// The low halves of products.
    unsafe fn mul_i(a: Self::I, b: Self::I) -> Self::I;
    /// The sum of the products of the two 16-bit numbers of each lane.
    unsafe fn dot_pairs(a: Self::I, b: Self::I) -> Self::I;
    /// Widens 16 bytes.
    unsafe fn widen_u8(source: *const u8) -> Self::I;
    /// Widens 16 signed bytes.
    unsafe fn widen_i8(source: *const i8) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    /// Shifts lanes left.
    unsafe fn shl<const N: u32>(a: Self::I) -> Self::I;
    /// Shifts lanes right, zeroes in.
    unsafe fn shr<const N: u32>(a: Self::I) -> Self::I;
    /// `acc[row] += Σ codes[v][row][i] · x[v][i]` for four vectors of `[16 rows][4 bytes]` and four times four bytes
    /// of activations at `x`, `x + stride`, … Codes are at most `max_code`; activations are within ±127.
    unsafe fn dot16(
        max_code: i32,
        acc: Self::I,
        codes: [Self::I; 4],
        x: *const i32,
        stride: usize,
    ) -> Self::I;

    /// Codes less the 128 that they are stored with, and the magnitudes of that.
    #[inline(always)]
    unsafe fn split(codes: Self::I) -> [Self::I; 2] {
        const { assert!(!Self::SPLITS_BYTES, "a tier that splits says how") };
        [codes; 2]
    }

    /// `sums[n][row] += Σ codes[v][row][i] · x[v][n][i]` over `V` vectors of `[16 rows][4 bytes]` at `codes` and, for
    /// each, `N` columns of four bytes of activations at `x + v · N`; otherwise as [`Tier::dot16`]. `V` is 4 or 8.
    #[inline(always)]
    unsafe fn dot_columns<const V: usize, const N: usize>(
        max_code: i32,
        sums: &mut [Self::I; N],
        codes: *const u8,
        x: *const i32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for v in (0..V).step_by(4) {
                let codes = codes.add(v * LINE);
                let codes = [
                    Self::load_i(codes),
                    Self::load_i(codes.add(LINE)),
                    Self::load_i(codes.add(2 * LINE)),
                    Self::load_i(codes.add(3 * LINE)),
                ];
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = Self::dot16(max_code, *sum, codes, x.add(v * N + n), N);
                }
            }
        }
    }

    /// Scales, as [`Tier::dot_scaled`] wants them.
    #[inline(always)]
    unsafe fn scale_of_panel(scale: Self::I) -> Self::I {
        scale
    }

    /// `totals[n][row] += scale[row] · Σ …` of [`Tier::dot_columns`], with the 16 scales at `scale`.
    #[inline(always)]
    unsafe fn dot_scaled<const V: usize, const N: usize>(
        max_code: i32,
        totals: &mut [Self::I; N],
        codes: *const u8,
        x: *const i32,
        scale: *const u8,
    ) {
        // SAFETY: the caller's promise.
        unsafe { scale_products::<Self, V, N>(max_code, totals, codes, x, scale) }
    }

    unsafe fn load(source: *const f32) -> Self::F;
    unsafe fn store(target: *mut f32, v: Self::F);
    /// Widens 16 half floats.
    unsafe fn load_f16(source: *const u16) -> Self::F;
    /// Widens 16 bfloat16s.
    unsafe fn load_bf16(source: *const u16) -> Self::F;
    /// Widens 16 bytes.
    unsafe fn load_u8(source: *const u8) -> Self::F;
    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the tier can.
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` when one is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` when one is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `value` in the lanes where `x < limit` does not hold, else zero.
    unsafe fn zero_where_less(x: Self::F, limit: Self::F, value: Self::F) -> Self::F;
    unsafe fn to_float(v: Self::I) -> Self::F;
    /// The bits of floats.
    unsafe fn bits(v: Self::F) -> Self::I;
    unsafe fn from_bits(v: Self::I) -> Self::F;
    /// Asks for the line at `address` to be brought into the second-level cache; any address may be named.
    unsafe fn prefetch(address: *const u8);

    /// The byte of `table` for each of 64 bytes below 16.
    unsafe fn lookup(table: &[u8; 16], indices: Self::I) -> Self::I;

    /// The nearest integers, ties to even, of values within ±2²².
    #[inline(always)]
    unsafe fn round(v: Self::F) -> Self::I {
        // SAFETY: the caller's promise.
        unsafe {
            let shifted = Self::bits(Self::add(v, Self::splat(ROUND)));
            Self::add_i(
                shifted,
                Self::splat_i(ROUND.to_bits().wrapping_neg() as i32),
            )
        }
    }

    #[inline(always)]
    unsafe fn abs(v: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { Self::from_bits(Self::and(Self::bits(v), Self::splat_i(i32::MAX))) }
    }

    #[inline(always)]
    unsafe fn to_array(v: Self::F) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has 16 floats; the caller's promise.
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        lanes
    }

    /// The sum of the lanes, in the same order on every tier.
    #[inline(always)]
    unsafe fn reduce_add(v: Self::F) -> f32 {
        // SAFETY: the caller's promise.
        fold_lanes(unsafe { Self::to_array(v) }, |low, high| low + high)
    }

    /// The largest of the lanes.
    #[inline(always)]
    unsafe fn reduce_max(v: Self::F) -> f32 {
        // SAFETY: the caller's promise.
        let lanes = unsafe { Self::to_array(v) };
        fold_lanes(lanes, |low, high| if high > low { high } else { low })
    }

    /// The sum of the integer lanes.
    #[inline(always)]
    unsafe fn reduce_add_i(v: Self::I) -> i32 {
        let mut lanes = [0i32; 16];
        // SAFETY: the array has 64 bytes; the caller's promise.
        unsafe { Self::store_i(lanes.as_mut_ptr().cast(), v) };
        lanes.iter().sum()
    }

    /// `e^x` within 2 ulp; zero below −87.3, where it would be subnormal; at most `e^88`.
    ///
    /// Cody–Waite reduction to ±ln 2 / 2 and the polynomial of the Cephes library.
    #[inline(always)]
    unsafe fn exp(x: Self::F) -> Self::F {
        const LOWEST: f32 = -87.3;
        // SAFETY: the caller's promise.
        unsafe {
            let clamped = Self::max(Self::splat(LOWEST), Self::min(Self::splat(88.0), x));
            let n = Self::round(Self::mul(clamped, Self::splat(std::f32::consts::LOG2_E)));
            let n_float = Self::to_float(n);
            let r = Self::mul_add(n_float, Self::splat(-0.693_359_4), clamped);
            let r = Self::mul_add(n_float, Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for coefficient in [
                1.398_199_9e-3,
                8.333_452e-3,
                4.166_579_6e-2,
                1.666_666_5e-1,
                0.5,
            ] {
                p = Self::mul_add(p, r, Self::splat(coefficient));
            }
            let p = Self::add(Self::mul_add(p, Self::mul(r, r), r), Self::splat(1.0));
            // p lies in 0.7..1.42 and n in -126..=127, so that the exponent's field neither over- nor underflows.
            let scaled = Self::from_bits(Self::add_i(Self::bits(p), Self::shl::<23>(n)));
            Self::zero_where_less(x, Self::splat(LOWEST), scaled)
        }
    }
}

/// Folds the upper half of the lanes into the lower one until one is left.
#[inline(always)]
fn fold_lanes(lanes: [f32; 16], fold: impl Fn(f32, f32) -> f32) -> f32 {
    let lanes: [f32; 8] = std::array::from_fn(|lane| fold(lanes[lane], lanes[lane + 8]));
    let lanes: [f32; 4] = std::array::from_fn(|lane| fold(lanes[lane], lanes[lane + 4]));
    let lanes: [f32; 2] = std::array::from_fn(|lane| fold(lanes[lane], lanes[lane + 2]));
    fold(lanes[0], lanes[1])
}

/// 1.5 · 2²³: added to a small number, it leaves the nearest integer in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// [`Tier::dot_scaled`] of a tier whose scales are lanes of 32 bits.
///
/// # Safety
/// As for [`Tier::dot_scaled`].
#[inline(always)]
pub(crate) unsafe fn scale_products<T: Tier, const V: usize, const N: usize>(
    max_code: i32,
    totals: &mut [T::I; N],
    codes: *const u8,
    x: *const i32,
    scale: *const u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [T::splat_i(0); N];
        T::dot_columns::<V, N>(max_code, &mut sums, codes, x);
        let scale = T::load_i(scale);
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = T::add_i(*total, T::mul_i(sum, scale));
        }
    }
}
