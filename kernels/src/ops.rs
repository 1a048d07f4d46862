//! The small operations of a layer, on one row each, written once for all tiers.

use crate::RopeStyle;
use crate::tier::Tier;

/// The last, incomplete vector of `values`, zeroes behind them.
#[inline(always)]
unsafe fn load_tail<T: Tier>(values: &[f32]) -> T::F {
    let mut lanes = [0.0; 16];
    lanes[..values.len()].copy_from_slice(values);
    // SAFETY: the array has 16 values.
    unsafe { T::load(lanes.as_ptr()) }
}

/// Stores as many lanes as there are `values`.
#[inline(always)]
unsafe fn store_tail<T: Tier>(values: &mut [f32], v: T::F) {
    let n = values.len();
    // SAFETY: the caller's promise, that the CPU has the tier.
    values.copy_from_slice(&unsafe { T::to_array(v) }[..n]);
}

/// An operation on two vectors. Not a closure: nothing would make the compiler inline one into the function that
/// enables the tier's instructions, and each intrinsic would become a call.
trait Combine {
    /// # Safety
    /// The CPU has the tier.
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F;
}

/// `out = combine(out, other)`, lane by lane.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
unsafe fn zip<T: Tier, C: Combine>(out: &mut [f32], other: &[f32], operation: C) {
    assert_eq!(out.len(), other.len());
    let (out, out_tail) = out.as_chunks_mut::<16>();
    let (other, other_tail) = other.as_chunks::<16>();
    // SAFETY: every chunk has 16 values.
    unsafe {
        for (out, other) in out.iter_mut().zip(other) {
            let combined = operation.combine::<T>(T::load(out.as_ptr()), T::load(other.as_ptr()));
            T::store(out.as_mut_ptr(), combined);
        }
        if !out_tail.is_empty() {
            let (a, b) = (load_tail::<T>(out_tail), load_tail::<T>(other_tail));
            store_tail::<T>(out_tail, operation.combine::<T>(a, b));
        }
    }
}

struct Sum;

impl Combine for Sum {
    #[inline(always)]
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::add(a, b) }
    }
}

/// `a / (1 + e^-a) * b`.
struct SiluProduct;

impl Combine for SiluProduct {
    #[inline(always)]
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F {
        // SAFETY: the caller's promise.
        unsafe {
            let exp = T::exp(T::sub(T::splat(0.0), a));
            T::mul(T::div(a, T::add(T::splat(1.0), exp)), b)
        }
    }
}

/// `a / (1 + e^-2u) * b` with `u = √(2/π) · a · (1 + 0.044715 a²)`: the tanh form of GELU, as a logistic function.
struct GeluTanhProduct;

impl Combine for GeluTanhProduct {
    #[inline(always)]
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F {
        const MINUS_TWO_ROOT: f32 = -2.0 * 0.797_884_6;
        // SAFETY: the caller's promise.
        unsafe {
            let cubic = T::mul_add(T::mul(a, a), T::splat(0.044_715), T::splat(1.0));
            let exp = T::exp(T::mul(T::mul(a, T::splat(MINUS_TWO_ROOT)), cubic));
            T::mul(T::div(a, T::add(T::splat(1.0), exp)), b)
        }
    }
}

/// `max(a, 0)² * b`.
struct ReluSquaredProduct;

impl Combine for ReluSquaredProduct {
    #[inline(always)]
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F {
        // SAFETY: the caller's promise.
        unsafe {
            // In this order a NaN stays one.
            let positive = T::max(T::splat(0.0), a);
            T::mul(T::mul(positive, positive), b)
        }
    }
}

/// `a * self * b`.
struct ScaledProduct(f32);

impl Combine for ScaledProduct {
    #[inline(always)]
    unsafe fn combine<T: Tier>(&self, a: T::F, b: T::F) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::mul(T::mul(a, T::splat(self.0)), b) }
    }
}

/// `cap · tanh(x / cap)`, with `tanh x = 1 - 2 / (e^2x + 1)`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn capped<T: Tier>(x: T::F, cap: f32) -> T::F {
    // SAFETY: the caller's promise.
    unsafe {
        let (one, cap) = (T::splat(1.0), T::splat(cap));
        let x = T::div(x, cap);
        let exp = T::exp(T::add(x, x));
        let tanh = T::sub(one, T::div(T::splat(2.0), T::add(exp, one)));
        T::mul(tanh, cap)
    }
}

/// `x = cap · tanh(x / cap)`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn softcap<T: Tier>(x: &mut [f32], cap: f32) {
    let (chunks, tail) = x.as_chunks_mut::<16>();
    // SAFETY: every chunk has 16 values.
    unsafe {
        for chunk in chunks {
            T::store(
                chunk.as_mut_ptr(),
                capped::<T>(T::load(chunk.as_ptr()), cap),
            );
        }
        if !tail.is_empty() {
            let values = load_tail::<T>(tail);
            store_tail::<T>(tail, capped::<T>(values, cap));
        }
    }
}

/// `x += y`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn add_assign<T: Tier>(x: &mut [f32], y: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { zip::<T, _>(x, y, Sum) }
}

/// `gate = silu(gate) * up`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn silu_mul<T: Tier>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { zip::<T, _>(gate, up, SiluProduct) }
}

/// `gate = gelu_tanh(gate) * up`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn gelu_tanh_mul<T: Tier>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { zip::<T, _>(gate, up, GeluTanhProduct) }
}

/// `gate = max(gate, 0)² * up`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn relu_squared_mul<T: Tier>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { zip::<T, _>(gate, up, ReluSquaredProduct) }
}

/// `x = gelu(x)`, that is `x · Φ(x)`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn gelu<T: Tier>(x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks_mut::<16>();
    // SAFETY: every chunk has 16 values.
    unsafe {
        for x in chunks {
            T::store(x.as_mut_ptr(), gelu_of::<T>(T::load(x.as_ptr())));
        }
        if !tail.is_empty() {
            let v = load_tail::<T>(tail);
            store_tail::<T>(tail, gelu_of::<T>(v));
        }
    }
}

/// `max(x, 0) - |x| · Φ(-|x|)`, where `Φ(-a) = t · P(t) · e^(-a²/2)` and `t = 1 / (1 + 0.247… a)`.
///
/// P is fitted to relative error on `0 ≤ a ≤ 13.4`, where it stays below 7e-9; further out the exponential is zero.
#[inline(always)]
unsafe fn gelu_of<T: Tier>(x: T::F) -> T::F {
    // SAFETY: the caller's promise.
    unsafe {
        let one = T::splat(1.0);
        let a = T::abs(x);
        let t = T::div(one, T::mul_add(a, T::splat(0.247_487_37), one));
        let mut p = T::splat(0.018_803_803);
        for coefficient in [
            -0.077_234_24,
            0.085_284_37,
            -0.006_279_007,
            0.036_911_476,
            0.076_748_714,
            0.074_229_516,
            0.094_262_16,
            0.098_529_115,
            0.098_744_11,
        ] {
            p = T::mul_add(p, t, T::splat(coefficient));
        }
        let exp = T::exp(T::mul(T::mul(a, a), T::splat(-0.5)));
        let below = T::mul(T::mul(p, t), exp);
        // In this order a NaN stays one.
        T::sub(T::max(T::splat(0.0), x), T::mul(a, below))
    }
}

/// `x *= factor`. Plain code, which the compiler makes vectors of.
#[inline(always)]
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// `Σ x²`.
#[inline(always)]
unsafe fn sum_of_squares<T: Tier>(x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    // SAFETY: every chunk has 16 values.
    unsafe {
        let mut sums = [T::splat(0.0); 4];
        for (index, x) in chunks.iter().enumerate() {
            let x = T::load(x.as_ptr());
            sums[index % 4] = T::mul_add(x, x, sums[index % 4]);
        }
        let x_tail = load_tail::<T>(tail);
        sums[0] = T::mul_add(x_tail, x_tail, sums[0]);
        T::reduce_add(T::add(T::add(sums[0], sums[1]), T::add(sums[2], sums[3])))
    }
}

/// `Σ x`.
#[inline(always)]
unsafe fn sum<T: Tier>(x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    // SAFETY: every chunk has 16 values.
    unsafe {
        let mut sum = load_tail::<T>(tail);
        for x in chunks {
            sum = T::add(sum, T::load(x.as_ptr()));
        }
        T::reduce_add(sum)
    }
}

/// One row of an RMS norm.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn rms_norm<T: Tier>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), weight.len());
    // SAFETY: the caller's promise.
    unsafe {
        let mean = sum_of_squares::<T>(x) / x.len() as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        out.copy_from_slice(x);
        zip::<T, _>(out, weight, ScaledProduct(scale));
    }
}

/// One row of a layer norm.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn layer_norm<T: Tier>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    assert_eq!(x.len(), weight.len());
    // SAFETY: the caller's promise.
    unsafe {
        let n = x.len() as f32;
        let mean = sum::<T>(x) / n;
        for (out, x) in out.iter_mut().zip(x) {
            *out = x - mean;
        }
        let variance = sum_of_squares::<T>(out) / n;
        zip::<T, _>(out, weight, ScaledProduct(1.0 / (variance + eps).sqrt()));
        add_assign::<T>(out, bias);
    }
}

/// Rotates the heads of one token: `x` is `[n_heads, head_dim]`, `cos` and `sin` have `n_rot / 2` values.
#[inline(always)]
pub(crate) fn rope(x: &mut [f32], head_dim: usize, style: RopeStyle, cos: &[f32], sin: &[f32]) {
    let n_pairs = cos.len();
    for head in x.chunks_exact_mut(head_dim) {
        match style {
            RopeStyle::Norm => {
                let (pairs, _) = head[..2 * n_pairs].as_chunks_mut::<2>();
                for ((pair, cos), sin) in pairs.iter_mut().zip(cos).zip(sin) {
                    let [a, b] = *pair;
                    *pair = [a * cos - b * sin, a * sin + b * cos];
                }
            }
            RopeStyle::Neox => {
                let (first, second) = head[..2 * n_pairs].split_at_mut(n_pairs);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}
