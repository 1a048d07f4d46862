//! `Q4_0`: 32 values as 4-bit codes with one scale, `x = d·(q − 8)`; 18 bytes.
//!
//! Bytes: `d` f16, then 16 bytes of codes; value `j < 16` is the low nibble of byte `j`, value `j + 16` the high one.
//! The value with the largest magnitude gets the code 0; one of the other sign and the same size would need the code
//! 16 and is cut to 15, so an error can reach `d`, elsewhere `d/2`. Source: ggml, `block_q4_0`.

use super::scale_search::{inverse, largest_magnitude};
use super::{Block, F16};

/// 32 values of `Q4_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale.
    pub d: F16,
    /// Codes: value `j` in the low nibble of byte `j`, value `j + 16` in the high one.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_0>() == 18);

impl Block for BlockQ4_0 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        let (low, high) = out.split_at_mut(16);
        for ((q, low), high) in self.qs.iter().zip(low).zip(high) {
            *low = (i32::from(q & 15) - 8) as f32 * d;
            *high = (i32::from(q >> 4) - 8) as f32 * d;
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let d = largest_magnitude(values) / -8.0;
        let scale = inverse(d);
        let code = |x: f32| ((x * scale + 8.5) as u8).min(15);
        Self {
            d: F16::from_f32(d),
            qs: std::array::from_fn(|j| code(values[j]) | code(values[j + 16]) << 4),
        }
    }
}
