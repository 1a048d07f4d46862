//! `Q5_K`: 256 values in eight sub-blocks of 32, 5-bit codes, `x = (d·scale)·q − dmin·min`; 176 bytes.
//!
//! Bytes: as [`Q4_K`](super::BlockQ4K), with 32 bytes between scales and codes whose byte `l` holds the fifth bit of
//! value `l` of every sub-block `j` as bit `j`. Source: ggml, `block_q5_K`.

use super::q4_k::{SubBlockAffine, encode_sub_blocks};
use super::scale_search::MinSearch;
use super::{Block, F16, KScales};

/// 256 values of `Q5_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5K {
    /// Scale of the scales.
    pub d: F16,
    /// Scale of the minima.
    pub dmin: F16,
    /// Scale and minimum of each sub-block.
    pub scales: KScales,
    /// Fifth bits: bit `j` of byte `l` belongs to value `l` of sub-block `j`.
    pub qh: [u8; 32],
    /// Low four bits: byte `32c + l` has value `l` of sub-block `2c` (low) and of sub-block `2c + 1` (high).
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ5K>() == 176);

impl Block for BlockQ5K {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let affine = SubBlockAffine::of(self.d, self.dmin, &self.scales);
        for (j, out) in out.chunks_exact_mut(32).enumerate() {
            let (run, shift) = (j / 2, 4 * (j % 2));
            let (scale, min) = (affine.scales[j], affine.mins[j]);
            let low = &self.qs[32 * run..][..32];
            for ((x, low), high) in out.iter_mut().zip(low).zip(&self.qh) {
                let q = (low >> shift & 15) | (high >> j & 1) << 4;
                *x = scale * f32::from(q) - min;
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let coded = encode_sub_blocks(
            values,
            &MinSearch {
                max_code: 31.0,
                first: -0.5,
                step: 0.1,
                n_steps: 15,
                by_magnitude: false,
            },
        );
        let codes = &coded.codes;
        Self {
            d: coded.d,
            dmin: coded.dmin,
            scales: coded.scales,
            qh: std::array::from_fn(|l| (0..8).fold(0, |byte, j| byte | (codes[j][l] >> 4) << j)),
            qs: std::array::from_fn(|byte| {
                let (run, l) = (byte / 32, byte % 32);
                (codes[2 * run][l] & 15) | (codes[2 * run + 1][l] & 15) << 4
            }),
        }
    }
}
