//! `IQ4_NL`: 32 values, 4-bit indices into a table of sixteen uneven levels, `x = d·T[q]`; 18 bytes.
//!
//! Bytes: `d` f16, then 16 bytes of indices; byte `j` has value `j` in its low nibble and `j + 16` in its high one.
//! Source: ggml, `block_iq4_nl`, `kvalues_iq4nl`.

use super::scale_search::{inverse, largest_magnitude};
use super::{Block, F16};

/// What the indices of `IQ4_NL` and `IQ4_XS` stand for.
pub(crate) const IQ4_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// 32 values of `IQ4_NL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIq4Nl {
    /// Scale.
    pub d: F16,
    /// Indices.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockIq4Nl>() == 18);

impl Block for BlockIq4Nl {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = d * level(q & 15);
            *high = d * level(q >> 4);
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let Some(values) = values.first_chunk::<32>() else {
            return bytemuck::Zeroable::zeroed();
        };
        let scale = best_scale(values);
        Self {
            d: F16::from_f32(scale),
            qs: pair_up(&encode(values, inverse(scale))),
        }
    }
}

/// The level that an index below 16 stands for.
#[inline]
pub(super) fn level(index: u8) -> f32 {
    f32::from(IQ4_LEVELS[usize::from(index & 15)])
}

/// The indices of 32 values, two to a byte.
pub(super) fn pair_up(indices: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| indices[j] | indices[j + 16] << 4)
}

/// The indices of the levels nearest to the values times `inverse_scale`.
pub(super) fn encode(values: &[f32; 32], inverse_scale: f32) -> [u8; 32] {
    values.map(|x| nearest_index(inverse_scale * x))
}

/// The index of the nearest level, the upper of two.
fn nearest_index(x: f32) -> u8 {
    let above = (1..15).find(|&index| x < level(index)).unwrap_or(15);
    if x - level(above - 1) < level(above) - x {
        above - 1
    } else {
        above
    }
}

/// The scale with the least squared error, each value weighted by its square; 0 for values that are all negligible.
pub(super) fn best_scale(values: &[f32; 32]) -> f32 {
    const TRIALS: i32 = 7;
    let extreme = largest_magnitude(values);
    if extreme.abs() < 1e-15 {
        return 0.0;
    }
    let sums = |inverse_scale: f32| {
        let (mut sum_qx, mut sum_qq) = (0.0f32, 0.0f32);
        for (&x, index) in values.iter().zip(encode(values, inverse_scale)) {
            let (w, q) = (x * x, level(index));
            sum_qx += w * q * x;
            sum_qq += w * q * q;
        }
        (sum_qx, sum_qq)
    };
    let (sum_qx, sum_qq) = sums(1.0 / (-extreme / level(0)));
    let mut scale = sum_qx / sum_qq;
    let mut best = scale * sum_qx;
    for trial in -TRIALS..=TRIALS {
        let (sum_qx, sum_qq) = sums((trial as f32 + level(0)) / extreme);
        if sum_qq > 0.0 && sum_qx * sum_qx > best * sum_qq {
            scale = sum_qx / sum_qq;
            best = scale * sum_qx;
        }
    }
    scale
}
