//! `Q2_K`: 256 values in sixteen sub-blocks of 16, 2-bit codes, `x = (d·scale)·q − dmin·min`; 84 bytes.
//!
//! Bytes: 16 of scales (low nibble) and minima (high nibble), 64 of codes, `d` f16, `dmin` f16. Each half of 128
//! values has four groups `g` of 32: the code of group `g`, value `l` is bit pair `g` of byte `l` of the half's 32.
//! Source: ggml, `block_q2_K`.

use super::scale_search::{MinSearch, WithMin, code, largest, nearest, with_min};
use super::{Block, F16};

/// 256 values of `Q2_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ2K {
    /// Scale (low nibble) and minimum (high nibble) of each sub-block.
    pub scales: [u8; 16],
    /// Codes.
    pub qs: [u8; 64],
    /// Scale of the scales.
    pub d: F16,
    /// Scale of the minima.
    pub dmin: F16,
}

const _: () = assert!(size_of::<BlockQ2K>() == 84);

impl BlockQ2K {
    /// Effective scale and minimum of a sub-block.
    #[inline]
    fn affine(d: F16, dmin: F16, packed: u8) -> (f32, f32) {
        (
            d.to_f32() * f32::from(packed & 15),
            dmin.to_f32() * f32::from(packed >> 4),
        )
    }
}

impl Block for BlockQ2K {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        for (k, out) in out.chunks_exact_mut(16).enumerate() {
            let (half, g, first) = (k / 8, k / 2 % 4, 16 * (k % 2));
            let (scale, min) = Self::affine(self.d, self.dmin, self.scales[k]);
            for (x, q) in out.iter_mut().zip(&self.qs[32 * half + first..][..16]) {
                *x = scale * f32::from(q >> (2 * g) & 3) - min;
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let sub_blocks = values.as_chunks::<16>().0;
        let search = MinSearch {
            max_code: 3.0,
            first: -0.5,
            step: 0.1,
            n_steps: 15,
            by_magnitude: true,
        };
        let found: [WithMin<16>; 16] = std::array::from_fn(|k| {
            with_min(&sub_blocks[k], &sub_blocks[k].map(f32::abs), &search)
        });
        let max_scale = largest(found.iter().map(|sub| sub.scale));
        let max_min = largest(found.iter().map(|sub| sub.min));
        let four_bits = |value: f32, max: f32| {
            let steps_per_unit = if max > 0.0 { 15.0 / max } else { 0.0 };
            nearest(steps_per_unit * value).clamp(0.0, 15.0) as u8
        };
        let scales: [u8; 16] = std::array::from_fn(|k| {
            four_bits(found[k].scale, max_scale) | four_bits(found[k].min, max_min) << 4
        });
        let d = F16::from_f32(max_scale / 15.0);
        let dmin = F16::from_f32(max_min / 15.0);
        let codes: [[u8; 16]; 16] = std::array::from_fn(|k| {
            let (scale, min) = Self::affine(d, dmin, scales[k]);
            if scale == 0.0 {
                return found[k].codes.map(|q| q as u8);
            }
            sub_blocks[k].map(|x| code((x + min) / scale, 0.0, 3.0) as u8)
        });
        Self {
            scales,
            qs: std::array::from_fn(|byte| {
                let (half, l) = (byte / 32, byte % 32);
                (0..4).fold(0, |bits, g| {
                    bits | codes[8 * half + 2 * g + l / 16][l % 16] << (2 * g)
                })
            }),
            d,
            dmin,
        }
    }
}
