//! `Q6_K`: 256 values in sixteen sub-blocks of 16, 6-bit codes, `x = (d·scale)·(q − 32)`; 210 bytes.
//!
//! Bytes: 128 of low nibbles, 64 of upper bit pairs, 16 signed scales, `d` f16. Each half of 128 values has four
//! groups `g` of 32: the low bits of group `g`, value `l` are nibble `g / 2` of byte `32·(g mod 2) + l` of the half's
//! 64 low bytes, the upper bits are pair `g` of byte `l` of its 32 upper bytes. Source: ggml, `block_q6_K`.

use super::scale_search::{Symmetric, code, largest_magnitude, symmetric};
use super::{Block, F16};

/// 256 values of `Q6_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ6K {
    /// Low four bits of the codes.
    pub ql: [u8; 128],
    /// Upper two bits of the codes.
    pub qh: [u8; 64],
    /// Scale of each sub-block.
    pub scales: [i8; 16],
    /// Scale of the scales.
    pub d: F16,
}

const _: () = assert!(size_of::<BlockQ6K>() == 210);

impl Block for BlockQ6K {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (k, out) in out.chunks_exact_mut(16).enumerate() {
            let (half, g, first) = (k / 8, k / 2 % 4, 16 * (k % 2));
            let scale = d * f32::from(self.scales[k]);
            let low = &self.ql[64 * half + 32 * (g % 2) + first..][..16];
            let high = &self.qh[32 * half + first..][..16];
            for ((x, low), high) in out.iter_mut().zip(low).zip(high) {
                let q = (low >> (4 * (g / 2)) & 15) | (high >> (2 * g) & 3) << 4;
                *x = scale * (i32::from(q) - 32) as f32;
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let sub_blocks = values.as_chunks::<16>().0;
        let found: [Symmetric<16>; 16] = std::array::from_fn(|k| symmetric(&sub_blocks[k], 32.0));
        let largest = largest_magnitude(&found.each_ref().map(|sub| sub.scale));
        if largest.abs() < 1e-15 {
            return bytemuck::Zeroable::zeroed(); // d = 0: codes do not matter
        }
        let steps_per_unit = -128.0 / largest;
        let d = F16::from_f32(1.0 / steps_per_unit);
        let scales: [i8; 16] =
            std::array::from_fn(|k| code(steps_per_unit * found[k].scale, -128.0, 127.0) as i8);
        let codes: [[u8; 16]; 16] = std::array::from_fn(|k| {
            let scale = d.to_f32() * f32::from(scales[k]);
            if scale == 0.0 {
                return found[k].codes.map(|q| q as u8);
            }
            sub_blocks[k].map(|x| (code(x / scale, -32.0, 31.0) + 32.0) as u8)
        });
        let code_of = |group: usize, l: usize| codes[2 * group + l / 16][l % 16];
        Self {
            ql: std::array::from_fn(|byte| {
                let (half, pair, l) = (byte / 64, byte / 32 % 2, byte % 32);
                let group = 4 * half + pair;
                (code_of(group, l) & 15) | (code_of(group + 2, l) & 15) << 4
            }),
            qh: std::array::from_fn(|byte| {
                let (half, l) = (byte / 32, byte % 32);
                (0..4).fold(0, |bits, g| {
                    bits | (code_of(4 * half + g, l) >> 4) << (2 * g)
                })
            }),
            scales,
            d,
        }
    }
}
