//! Slow truths in `f64` that every tier must meet.

use crate::RopeStyle;
use crate::format::{QuantType, dequantize};

/// What a kernel must give, and how far it may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) value: f64,
    /// The size of what was added up.
    pub(crate) magnitude: f64,
}

impl Truth {
    /// Whether `value` is this, up to the rounding of sums of floats.
    pub(crate) fn admits(self, value: f32) -> bool {
        (f64::from(value) - self.value).abs() <= self.magnitude * 2f64.powi(-19) + 1e-30
    }
}

fn half(value: f32) -> f32 {
    half::f16::from_f32(value).to_f32()
}

/// Activations as the kernels of a format see them: codes, what a code of one means, and `d · Σ codes` by 32 values.
struct Rounded {
    values: Vec<f64>,
    /// The sum that minima are multiplied with, if it is rounded by itself.
    sums: Option<Vec<f64>>,
}

fn round_activations(quant_type: QuantType, x: &[f32]) -> Rounded {
    let rounded = |x: &[f32], block: usize, half_floats: bool| {
        let mut values = Vec::new();
        let mut sums = Vec::new();
        for x in x.chunks(block) {
            let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let codes: Vec<f32> = x.iter().map(|x| (x * inverse).round_ties_even()).collect();
            let d = match half_floats {
                true => largest / 127.0,
                false if largest > 0.0 => 1.0 / inverse,
                false => 0.0,
            };
            sums.push(f64::from(half(d * codes.iter().sum::<f32>())));
            let d = if half_floats { half(d) } else { d };
            values.extend(codes.iter().map(|code| f64::from(d) * f64::from(*code)));
        }
        Rounded {
            values,
            sums: half_floats.then_some(sums),
        }
    };
    match quant_type.block_len() {
        1 => Rounded {
            values: x.iter().map(|&x| x.into()).collect(),
            sums: None,
        },
        32 | 128 => rounded(x, 32, true),
        _ => rounded(x, 256, false),
    }
}

/// `row · x` for a row of blocks, a tensor of its own.
pub(crate) fn dot(quant_type: QuantType, row: &[u8], x: &[f32]) -> Truth {
    let mut weights = vec![0.0; x.len()];
    dequantize(quant_type, row, &mut weights);
    let x = round_activations(quant_type, x);
    let mut truth = Truth {
        value: 0.0,
        magnitude: 0.0,
    };
    let block_len = quant_type.block_len();
    for (block, weights) in weights.chunks(block_len).enumerate() {
        let largest = weights
            .iter()
            .fold(0f64, |largest, w| largest.max(f64::from(w.abs())));
        let values = &x.values[block * block_len..][..block_len];
        for (w, x) in weights.iter().zip(values) {
            truth.value += f64::from(*w) * x;
            truth.magnitude += largest * x.abs();
        }
        // Minima are multiplied with a sum that is a half float, not with the codes.
        if matches!(quant_type, QuantType::Q4_1 | QuantType::Q5_1) {
            let m = &row[block * quant_type.block_bytes() + 2..][..2];
            let m = half::f16::from_le_bytes([m[0], m[1]]).to_f64();
            let sum = x.sums.as_ref().map_or(0.0, |sums| sums[block]);
            truth.value += m * (sum - values.iter().sum::<f64>());
        }
    }
    truth
}

/// One row of an RMS norm.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(eps)).sqrt();
    x.iter()
        .zip(weight)
        .map(|(&x, &w)| f64::from(x) * scale * f64::from(w))
        .collect()
}

/// One row of a layer norm.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / n;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    let rows = x.iter().zip(weight).zip(bias);
    rows.map(|((&x, &w), &b)| (f64::from(x) - mean) * scale * f64::from(w) + f64::from(b))
        .collect()
}

/// `x · Φ(x)`, the distribution function summed up from its density: steps of `1/2000` by Simpson's rule.
pub(crate) fn gelu(x: f32) -> f64 {
    let density = |u: f64| (-u * u / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let x = f64::from(x);
    let n = 2 * (x.abs() * 1000.0).ceil() as usize;
    let step = x / n.max(1) as f64;
    let sum: f64 = (0..n)
        .step_by(2)
        .map(|i| {
            let u = i as f64 * step;
            density(u) + 4.0 * density(u + step) + density(u + 2.0 * step)
        })
        .sum();
    x * (0.5 + sum * step / 3.0)
}

pub(crate) fn silu(x: f32) -> f64 {
    f64::from(x) / (1.0 + (-f64::from(x)).exp())
}

pub(crate) fn gelu_tanh(x: f32) -> f64 {
    let x = f64::from(x);
    let u = (2.0 / std::f64::consts::PI).sqrt() * x * (1.0 + 0.044715 * x * x);
    0.5 * x * (1.0 + u.tanh())
}

/// One head rotated.
pub(crate) fn rope(head: &[f32], style: RopeStyle, cos: &[f32], sin: &[f32]) -> Vec<f64> {
    let mut out: Vec<f64> = head.iter().map(|&x| x.into()).collect();
    let n_pairs = cos.len();
    for i in 0..n_pairs {
        let (a, b) = match style {
            RopeStyle::Norm => (2 * i, 2 * i + 1),
            RopeStyle::Neox => (i, i + n_pairs),
        };
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        let (cos, sin) = (f64::from(cos[i]), f64::from(sin[i]));
        out[a] = x * cos - y * sin;
        out[b] = x * sin + y * cos;
    }
    out
}

/// One query over some keys and values, each `[n][dim]`.
pub(crate) fn attention(
    q: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    scale: f32,
    softcap: Option<f32>,
) -> Vec<f64> {
    let scores: Vec<f64> = keys
        .iter()
        .map(|k| {
            let dot: f64 = q
                .iter()
                .zip(*k)
                .map(|(&q, &k)| f64::from(q) * f64::from(k))
                .sum();
            let score = dot * f64::from(scale);
            softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        })
        .collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    (0..values[0].len())
        .map(|dim| {
            exps.iter()
                .zip(values)
                .map(|(e, v)| e / sum * f64::from(v[dim]))
                .sum()
        })
        .collect()
}
