//! `Q4_1`: 32 values as 4-bit codes with a scale and a minimum, `x = d·q + m`; 20 bytes.
//!
//! Bytes: `d` f16, `m` f16, then 16 bytes of codes in the order of [`Q4_0`](super::BlockQ4_0). Both ends of the range
//! are met exactly (up to the rounding of `d` and `m`), the rest within half a step. Source: ggml, `block_q4_1`.

use super::scale_search::{inverse, range};
use super::{Block, F16};

/// 32 values of `Q4_1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// Scale.
    pub d: F16,
    /// Minimum.
    pub m: F16,
    /// Codes: value `j` in the low nibble of byte `j`, value `j + 16` in the high one.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_1>() == 20);

impl Block for BlockQ4_1 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let (d, m) = (self.d.to_f32(), self.m.to_f32());
        let (low, high) = out.split_at_mut(16);
        for ((q, low), high) in self.qs.iter().zip(low).zip(high) {
            *low = f32::from(q & 15) * d + m;
            *high = f32::from(q >> 4) * d + m;
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let (min, max) = range(values);
        let d = (max - min) / 15.0;
        let scale = inverse(d);
        let code = |x: f32| (((x - min) * scale + 0.5) as u8).min(15);
        Self {
            d: F16::from_f32(d),
            m: F16::from_f32(min),
            qs: std::array::from_fn(|j| code(values[j]) | code(values[j + 16]) << 4),
        }
    }
}
