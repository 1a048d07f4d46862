//! `Q3_K`: 256 values in sixteen sub-blocks of 16, 3-bit codes, `x = (d·scale)·(q − 4)`; 110 bytes.
//!
//! Bytes: 32 of upper bits (bit `j` of byte `l` belongs to value `l` of the `j`-th 32), 64 of lower bit pairs in the
//! order of [`Q2_K`](super::BlockQ2K), 12 of scales, `d` f16. Scales are six bits, 32 too large: the low four of scale
//! `k` are nibble `k / 8` of byte `k mod 8`, the upper two are pair `k / 4` of byte `8 + k mod 4`.
//! Source: ggml, `block_q3_K`.

use super::scale_search::{Symmetric, code, largest_magnitude, symmetric_by_sweeps};
use super::{Block, F16};

/// 256 values of `Q3_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ3K {
    /// Upper bits of the codes.
    pub hmask: [u8; 32],
    /// Lower two bits of the codes.
    pub qs: [u8; 64],
    /// Packed scales.
    pub scales: [u8; 12],
    /// Scale of the scales.
    pub d: F16,
}

const _: () = assert!(size_of::<BlockQ3K>() == 110);

impl BlockQ3K {
    /// The sixteen scales, from −32 to 31.
    #[inline]
    pub fn unpack_scales(&self) -> [i8; 16] {
        let s = &self.scales;
        std::array::from_fn(|k| {
            let low = s[k % 8] >> (4 * (k / 8)) & 15;
            let high = s[8 + k % 4] >> (2 * (k / 4)) & 3;
            (low | high << 4) as i8 - 32
        })
    }

    fn pack_scales(scales: [i8; 16]) -> [u8; 12] {
        let biased = scales.map(|scale| (scale + 32) as u8);
        std::array::from_fn(|byte| match byte {
            0..8 => (biased[byte] & 15) | (biased[byte + 8] & 15) << 4,
            _ => (0..4).fold(0, |bits, pair| {
                bits | (biased[4 * pair + byte - 8] >> 4) << (2 * pair)
            }),
        })
    }
}

impl Block for BlockQ3K {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        let scales = self.unpack_scales();
        for (k, out) in out.chunks_exact_mut(16).enumerate() {
            let (half, g, first) = (k / 8, k / 2 % 4, 16 * (k % 2));
            let scale = d * f32::from(scales[k]);
            let low = &self.qs[32 * half + first..][..16];
            let high = &self.hmask[first..][..16];
            for ((x, low), high) in out.iter_mut().zip(low).zip(high) {
                let q = (low >> (2 * g) & 3) | (high >> (k / 2) & 1) << 2;
                *x = scale * (i32::from(q) - 4) as f32;
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let sub_blocks = values.as_chunks::<16>().0;
        let found: [Symmetric<16>; 16] =
            std::array::from_fn(|k| symmetric_by_sweeps(&sub_blocks[k], 4.0));
        let largest = largest_magnitude(&found.each_ref().map(|sub| sub.scale));
        if largest == 0.0 {
            return bytemuck::Zeroable::zeroed(); // d = 0: codes do not matter
        }
        let steps_per_unit = -32.0 / largest;
        let d = F16::from_f32(1.0 / steps_per_unit);
        let scales: [i8; 16] =
            std::array::from_fn(|k| code(steps_per_unit * found[k].scale, -32.0, 31.0) as i8);
        let codes: [[u8; 16]; 16] = std::array::from_fn(|k| {
            let scale = d.to_f32() * f32::from(scales[k]);
            if scale == 0.0 {
                return found[k].codes.map(|q| q as u8);
            }
            sub_blocks[k].map(|x| (code(x / scale, -4.0, 3.0) + 4.0) as u8)
        });
        let code_of = |group: usize, l: usize| codes[2 * group + l / 16][l % 16];
        Self {
            hmask: std::array::from_fn(|l| {
                (0..8).fold(0, |bits, group| bits | (code_of(group, l) >> 2) << group)
            }),
            qs: std::array::from_fn(|byte| {
                let (half, l) = (byte / 32, byte % 32);
                (0..4).fold(0, |bits, g| {
                    bits | (code_of(4 * half + g, l) & 3) << (2 * g)
                })
            }),
            scales: Self::pack_scales(scales),
            d,
        }
    }
}
