//! `Q5_0`: 32 values as 5-bit codes with one scale, `x = d·(q − 16)`; 22 bytes.
//!
//! Bytes: `d` f16, `qh` u32 whose bit `i` is the fifth bit of value `i`, then the low four bits of all values in the
//! order of [`Q4_0`](super::BlockQ4_0). Source: ggml, `block_q5_0`.

use super::scale_search::{inverse, largest_magnitude};
use super::{Block, F16};

/// 32 values of `Q5_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// Scale.
    pub d: F16,
    /// Fifth bits: bit `i` of this little-endian number belongs to value `i`.
    pub qh: [u8; 4],
    /// Low four bits: value `j` in the low nibble of byte `j`, value `j + 16` in the high one.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_0>() == 22);

impl Block for BlockQ5_0 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (x, q) in out.iter_mut().zip(unpack_codes(self.qh, &self.qs)) {
            *x = (i32::from(q) - 16) as f32 * d;
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let d = largest_magnitude(values) / -16.0;
        let scale = inverse(d);
        let (qh, qs) = pack_codes(|i| ((values[i] * scale + 16.5) as u8).min(31));
        Self {
            d: F16::from_f32(d),
            qh,
            qs,
        }
    }
}

/// The 32 codes of five bits; `Q5_1` has them too.
#[inline]
pub(super) fn unpack_codes(qh: [u8; 4], qs: &[u8; 16]) -> [u8; 32] {
    let qh = u32::from_le_bytes(qh);
    std::array::from_fn(|i| {
        let low = if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 };
        low | ((qh >> i & 1) as u8) << 4
    })
}

/// The inverse of [`unpack_codes`]; `code(i)` is below 32.
pub(super) fn pack_codes(code: impl Fn(usize) -> u8) -> ([u8; 4], [u8; 16]) {
    let codes: [u8; 32] = std::array::from_fn(code);
    let mut qh = 0u32;
    for (i, code) in codes.iter().enumerate() {
        qh |= u32::from(code >> 4) << i;
    }
    let qs = std::array::from_fn(|j| (codes[j] & 15) | (codes[j + 16] & 15) << 4);
    (qh.to_le_bytes(), qs)
}
