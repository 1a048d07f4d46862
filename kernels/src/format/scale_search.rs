//! How quantisers find the scale (and minimum) of a group of values.
//!
//! The simple formats take it from the extremes. The K formats try scales around that and keep the one with the least
//! weighted squared error, solving for the best scale given the rounded codes each time. All in `f32`, as the
//! reference does (ggml: `make_qx_quants`, `make_q3_quants`, `make_qkx2_quants`), so that results agree save ties.

/// Below this magnitude a group counts as all zero.
const NEGLIGIBLE: f32 = 1e-15;

/// A group's `x ≈ scale·(q − n)` with codes from 0 to `2n − 1`; all 0 for a group without a scale.
pub(super) struct Symmetric<const N: usize> {
    pub scale: f32,
    pub codes: [f32; N],
}

impl<const N: usize> Symmetric<N> {
    const ZERO: Self = Self {
        scale: 0.0,
        codes: [0.0; N],
    };
}

/// The value with the largest magnitude, with its sign; the first of several, 0 for none.
pub(super) fn largest_magnitude(values: &[f32]) -> f32 {
    let mut largest = 0.0f32;
    for &x in values {
        if x.abs() > largest.abs() {
            largest = x;
        }
    }
    largest
}

/// Smallest and largest value.
pub(super) fn range(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| {
            (min.min(x), max.max(x))
        })
}

/// The largest of numbers that are not below 0; 0, not −0, for none.
pub(super) fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |largest, x| if x > largest { x } else { largest })
}

/// `1 / scale`, or 0 for a scale of 0, whose codes do not matter.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Nearest integer, ties to even, for magnitudes below 2^22; larger ones come out near and are clamped by callers.
#[inline]
pub(super) fn nearest(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves no fraction bits; faster than a call where the CPU cannot be assumed to round
    const NO_FRACTION: f32 = 12_582_912.0;
    (x + NO_FRACTION) - NO_FRACTION
}

/// The code nearest to `x`, at least `min` and at most `max`.
#[inline]
pub(super) fn code(x: f32, min: f32, max: f32) -> f32 {
    nearest(x).clamp(min, max)
}

/// Weighted sums of a group whose values have codes: `Σ w·x·q` and `Σ w·q²` with `w = x²`.
fn code_sums<const N: usize>(values: &[f32; N], codes: &[f32; N]) -> (f32, f32) {
    let (mut sum_xq, mut sum_qq) = (0.0, 0.0);
    for (&x, &q) in values.iter().zip(codes) {
        let w = x * x;
        sum_xq += w * x * q;
        sum_qq += w * q * q;
    }
    (sum_xq, sum_qq)
}

/// Best scale for codes from `-n` to `n - 1` around zero, each value weighted by its square.
pub(super) fn symmetric<const N: usize>(values: &[f32; N], n: f32) -> Symmetric<N> {
    let extreme = largest_magnitude(values);
    if extreme.abs() < NEGLIGIBLE {
        return Symmetric::ZERO;
    }
    let encode = |inverse_scale: f32| values.map(|x| code(inverse_scale * x, -n, n - 1.0));

    let mut codes = encode(-n / extreme);
    let (sum_xq, sum_qq) = code_sums(values, &codes);
    let mut scale = if sum_qq > 0.0 { sum_xq / sum_qq } else { 0.0 };
    let mut best = scale * sum_xq;
    for step in (-9..=9).filter(|&step| step != 0) {
        let candidate = encode(-(n + 0.1 * step as f32) / extreme);
        let (sum_xq, sum_qq) = code_sums(values, &candidate);
        if sum_qq > 0.0 && sum_xq * sum_xq > best * sum_qq {
            codes = candidate;
            scale = sum_xq / sum_qq;
            best = scale * sum_xq;
        }
    }
    Symmetric {
        scale,
        codes: codes.map(|q| q + n),
    }
}

/// Best scale for few codes from `-n` to `n - 1`: starts from the extreme, then moves single codes while that helps.
pub(super) fn symmetric_by_sweeps<const N: usize>(values: &[f32; N], n: f32) -> Symmetric<N> {
    let extreme = largest_magnitude(values);
    if extreme.abs() < NEGLIGIBLE {
        return Symmetric::ZERO;
    }
    let inverse_scale = -n / extreme;
    let mut codes = values.map(|x| code(inverse_scale * x, -n, n - 1.0));
    let (mut sum_xq, mut sum_qq) = code_sums(values, &codes);
    for _sweep in 0..5 {
        let mut has_changed = false;
        for (&x, q) in values.iter().zip(&mut codes) {
            let w = x * x;
            let xq_without = sum_xq - w * x * *q;
            if xq_without <= 0.0 {
                continue;
            }
            let qq_without = sum_qq - w * *q * *q;
            let proposed = code(x * qq_without / xq_without, -n, n - 1.0);
            if proposed == *q {
                continue;
            }
            let xq = xq_without + w * x * proposed;
            let qq = qq_without + w * proposed * proposed;
            if qq > 0.0 && xq * xq * sum_qq > sum_xq * sum_xq * qq {
                (*q, sum_xq, sum_qq) = (proposed, xq, qq);
                has_changed = true;
            }
        }
        if !has_changed {
            break;
        }
    }
    Symmetric {
        scale: if sum_qq > 0.0 { sum_xq / sum_qq } else { 0.0 },
        codes: codes.map(|q| q + n),
    }
}

/// How [`with_min`] searches.
pub(super) struct MinSearch {
    /// Largest code.
    pub max_code: f32,
    /// The first trial divides the range by `max_code + first`.
    pub first: f32,
    /// Each further trial adds this.
    pub step: f32,
    /// Trials after the first.
    pub n_steps: usize,
    /// Whether errors count by magnitude instead of by square.
    pub by_magnitude: bool,
}

/// A group's `x ≈ scale·q − min` with `min ≥ 0` and codes from 0.
pub(super) struct WithMin<const N: usize> {
    pub scale: f32,
    pub min: f32,
    pub codes: [f32; N],
}

/// Best scale and minimum for codes from 0 to `search.max_code`, values weighted by `weights`.
pub(super) fn with_min<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    search: &MinSearch,
) -> WithMin<N> {
    let (lowest, highest) = range(values);
    let mut min = lowest.min(0.0);
    if highest <= min {
        return WithMin {
            scale: 0.0,
            min: -min,
            codes: [0.0; N],
        };
    }
    let encode = |inverse_scale: f32, min: f32| {
        values.map(|x| code(inverse_scale * (x - min), 0.0, search.max_code))
    };
    let error = |codes: &[f32; N], scale: f32, min: f32| {
        let mut sum = 0.0;
        for ((&x, &w), &q) in values.iter().zip(weights).zip(codes) {
            let diff = scale * q + min - x;
            sum += w * if search.by_magnitude {
                diff.abs()
            } else {
                diff * diff
            };
        }
        sum
    };
    let (mut sum_w, mut sum_x) = (0.0, 0.0);
    for (&x, &w) in values.iter().zip(weights) {
        sum_w += w;
        sum_x += w * x;
    }

    let inverse_scale = search.max_code / (highest - min);
    let mut scale = 1.0 / inverse_scale;
    let mut codes = encode(inverse_scale, min);
    let mut least = error(&codes, scale, min);
    for step in 0..=search.n_steps {
        let n_levels = search.first + search.step * step as f32 + search.max_code;
        let candidate = encode(n_levels / (highest - min), min);
        let (mut sum_q, mut sum_qq, mut sum_xq) = (0.0, 0.0, 0.0);
        for ((&x, &w), &q) in values.iter().zip(weights).zip(&candidate) {
            sum_q += w * q;
            sum_qq += w * q * q;
            sum_xq += w * q * x;
        }
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        if determinant <= 0.0 {
            continue;
        }
        let mut solved_scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
        let mut solved_min = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
        if solved_min > 0.0 {
            solved_min = 0.0;
            solved_scale = sum_xq / sum_qq;
        }
        let solved_error = error(&candidate, solved_scale, solved_min);
        if solved_error < least {
            (least, scale, min, codes) = (solved_error, solved_scale, solved_min, candidate);
        }
    }
    WithMin {
        scale,
        min: -min,
        codes,
    }
}
