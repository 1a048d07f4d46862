//! `IQ4_XS`: 256 values in eight sub-blocks of 32, indices into the levels of [`IQ4_NL`](super::BlockIq4Nl),
//! `x = (d·scale)·T[q]`; 136 bytes.
//!
//! Bytes: `d` f16, then scales of six bits, 32 too large: their upper two as pair `j` of a `u16`, their low four as
//! nibble `j mod 2` of byte `j / 2` of 4; then 16 bytes of indices for each sub-block, in the order of `IQ4_NL`.
//! Source: ggml, `block_iq4_xs`.

use super::iq4_nl::{best_scale, encode, level, pair_up};
use super::scale_search::{code, inverse, largest_magnitude};
use super::{Block, F16};

/// 256 values of `IQ4_XS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIq4Xs {
    /// Scale of the scales.
    pub d: F16,
    /// Upper two bits of the scales, a little-endian `u16`.
    pub scales_h: [u8; 2],
    /// Low four bits of the scales.
    pub scales_l: [u8; 4],
    /// Indices.
    pub qs: [[u8; 16]; 8],
}

const _: () = assert!(size_of::<BlockIq4Xs>() == 136);

impl BlockIq4Xs {
    /// The eight scales, from −32 to 31.
    #[inline]
    pub fn unpack_scales(&self) -> [i8; 8] {
        let high = u16::from_le_bytes(self.scales_h);
        std::array::from_fn(|j| {
            let low = self.scales_l[j / 2] >> (4 * (j % 2)) & 15;
            (low | ((high >> (2 * j) & 3) as u8) << 4) as i8 - 32
        })
    }
}

impl Block for BlockIq4Xs {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        let sub_blocks = self.qs.iter().zip(self.unpack_scales());
        for (out, (qs, scale)) in out.chunks_exact_mut(32).zip(sub_blocks) {
            let scale = d * f32::from(scale);
            let (low, high) = out.split_at_mut(16);
            for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
                *low = scale * level(q & 15);
                *high = scale * level(q >> 4);
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let mut sub_blocks = [[0.0; 32]; 8];
        for (sub_block, values) in sub_blocks.iter_mut().zip(values.as_chunks::<32>().0) {
            *sub_block = *values;
        }
        let scales = sub_blocks.each_ref().map(best_scale);
        let d = -largest_magnitude(&scales) / 32.0;
        let steps = scales.map(|scale| code(inverse(d) * scale, -32.0, 31.0));
        let biased = steps.map(|step| (step as i32 + 32) as u8);
        let upper = (0..8).fold(0, |bits, j| bits | u16::from(biased[j] >> 4) << (2 * j));
        Self {
            d: F16::from_f32(d),
            scales_h: upper.to_le_bytes(),
            scales_l: std::array::from_fn(|byte| {
                (biased[2 * byte] & 15) | (biased[2 * byte + 1] & 15) << 4
            }),
            qs: std::array::from_fn(|j| pair_up(&encode(&sub_blocks[j], inverse(d * steps[j])))),
        }
    }
}
