//! `Q8_0`: 32 values as signed bytes with one scale, `x = d·q`; 34 bytes.
//!
//! Bytes: `d` f16, then 32 codes from −127 to 127. Every value is met within half a step, `d/2`.
//! Source: ggml, `block_q8_0`.

use super::scale_search::{inverse, largest_magnitude};
use super::{Block, F16};

/// 32 values of `Q8_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale.
    pub d: F16,
    /// Codes.
    pub qs: [i8; 32],
}

const _: () = assert!(size_of::<BlockQ8_0>() == 34);

impl Block for BlockQ8_0 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (x, q) in out.iter_mut().zip(self.qs) {
            *x = f32::from(q) * d;
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let d = largest_magnitude(values).abs() / 127.0;
        let scale = inverse(d);
        Self {
            d: F16::from_f32(d),
            qs: std::array::from_fn(|i| (values[i] * scale).round() as i8),
        }
    }
}
