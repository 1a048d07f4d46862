//! `MXFP4`: 32 values, 4-bit floats (E2M1) under a common power of two (E8M0), `x = 2^(e − 128)·F[q]` with `F` the
//! doubled floats; 17 bytes.
//!
//! Bytes: `e`, then 16 bytes of codes; byte `j` has value `j` in its low nibble and `j + 16` in its high one.
//! Source: ggml, `block_mxfp4`, `kvalues_mxfp4`; the OCP Microscaling formats specification.

use super::Block;
use super::scale_search::largest;

/// Twice what the codes stand for.
pub(crate) const MXFP4_LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 values of `MXFP4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockMxfp4 {
    /// Exponent of the scale.
    pub e: u8,
    /// Codes.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockMxfp4>() == 17);

/// `2^(e − 128)`, the scale of doubled floats.
#[inline]
pub(crate) fn mxfp4_scale(e: u8) -> f32 {
    // The two smallest are subnormal.
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    })
}

#[inline]
fn level(code: u8) -> f32 {
    f32::from(MXFP4_LEVELS[usize::from(code & 15)])
}

impl Block for BlockMxfp4 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let scale = mxfp4_scale(self.e);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = scale * level(q & 15);
            *high = scale * level(q >> 4);
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let largest = largest(values.iter().map(|x| x.abs()));
        // Casts saturate: what is too small or too large for an exponent gets the last one.
        let e = if largest > 0.0 {
            (largest.log2().floor() - 2.0 + 127.0) as u8
        } else {
            0
        };
        let scale = mxfp4_scale(e);
        let nearest = |x: f32| {
            let (mut best, mut least) = (0, (level(0) * scale - x).abs());
            for code in 1..16 {
                let error = (level(code) * scale - x).abs();
                if error < least {
                    (best, least) = (code, error);
                }
            }
            best
        };
        Self {
            e,
            qs: std::array::from_fn(|j| nearest(values[j]) | nearest(values[j + 16]) << 4),
        }
    }
}
