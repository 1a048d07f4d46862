//! `Q8_0`: 32 values as signed bytes with one scale, `x = d·q`; 34 bytes.
//!
//! Bytes: `d` f16, then 32 codes from −127 to 127. Every value is met within half a step, `d/2`.
//! Source: ggml, `block_q8_0`.

use super::scale_search::inverse;
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

/// The nearest integer, halves away from zero, without the call that `round` is where the CPU is not known.
#[inline]
fn rounded(x: f32) -> i8 {
    /// The number before a half: added to one, it makes 1; added to the number before a half, it does not.
    const ALMOST_HALF: f32 = 0.5 - f32::EPSILON / 4.0;
    ((x + ALMOST_HALF.copysign(x)) as i32).clamp(-128, 127) as i8
}

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
        let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let d = largest / 127.0;
        let scale = inverse(d);
        let mut qs = [0; 32];
        for (q, x) in qs.iter_mut().zip(values) {
            *q = rounded(x * scale);
        }
        Self {
            d: F16::from_f32(d),
            qs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero_and_nothing_else_does() {
        for half in 0..254 {
            let half = half as f32 / 2.0;
            for x in [half.next_down(), half, half.next_up()] {
                assert_eq!(rounded(x), x.round() as i8, "{x:e}");
                assert_eq!(rounded(-x), -x.round() as i8, "{x:e}");
            }
        }
    }
}
