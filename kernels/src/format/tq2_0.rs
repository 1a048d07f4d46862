//! `TQ2_0`: 256 ternary values, 2-bit codes, `x = d·(q − 1)`; 66 bytes.
//!
//! Bytes: 64 of codes in the order of [`Q2_K`](super::BlockQ2K), `d` f16. Source: ggml, `block_tq2_0`.

use super::{Block, F16};

/// 256 values of `TQ2_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockTq2_0 {
    /// Codes: bit pair `g` of byte `32·half + l` is value `l` of group `g` of that half.
    pub qs: [u8; 64],
    /// Scale.
    pub d: F16,
}

const _: () = assert!(size_of::<BlockTq2_0>() == 66);

impl Block for BlockTq2_0 {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (group, out) in out.chunks_exact_mut(32).enumerate() {
            let (half, g) = (group / 4, group % 4);
            for (x, q) in out.iter_mut().zip(&self.qs[32 * half..][..32]) {
                *x = d * (f32::from(q >> (2 * g) & 3) - 1.0);
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let (d, codes) = ternary(values);
        Self {
            qs: std::array::from_fn(|byte| {
                let (half, l) = (byte / 32, byte % 32);
                (0..4).fold(0, |bits, g| {
                    bits | codes[128 * half + 32 * g + l] << (2 * g)
                })
            }),
            d: F16::from_f32(d),
        }
    }
}

/// The largest magnitude of 256 values, and their codes: 0, 1 or 2 for what rounds to −1, 0 or 1 times that.
pub(super) fn ternary(values: &[f32]) -> (f32, [u8; 256]) {
    let d = super::scale_search::largest(values.iter().map(|x| x.abs()));
    let inverse = super::scale_search::inverse(d);
    let mut codes = [0; 256];
    for (code, x) in codes.iter_mut().zip(values) {
        *code = ((x * inverse).round() + 1.0).clamp(0.0, 2.0) as u8;
    }
    (d, codes)
}
