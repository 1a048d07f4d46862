//! `Q5_1`: 32 values as 5-bit codes with a scale and a minimum, `x = d·q + m`; 24 bytes.
//!
//! Bytes: `d` f16, `m` f16, then codes as in [`Q5_0`](super::BlockQ5_0). Source: ggml, `block_q5_1`.

use super::q5_0::{pack_codes, unpack_codes};
use super::scale_search::{inverse, range};
use super::{Block, F16};

/// 32 values of `Q5_1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// Scale.
    pub d: F16,
    /// Minimum.
    pub m: F16,
    /// Fifth bits: bit `i` of this little-endian number belongs to value `i`.
    pub qh: [u8; 4],
    /// Low four bits: value `j` in the low nibble of byte `j`, value `j + 16` in the high one.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_1>() == 24);

impl Block for BlockQ5_1 {
    const LEN: usize = 32;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        let (d, m) = (self.d.to_f32(), self.m.to_f32());
        for (x, q) in out.iter_mut().zip(unpack_codes(self.qh, &self.qs)) {
            *x = f32::from(q) * d + m;
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let (min, max) = range(values);
        let d = (max - min) / 31.0;
        let scale = inverse(d);
        let (qh, qs) = pack_codes(|i| (((values[i] - min) * scale + 0.5) as u8).min(31));
        Self {
            d: F16::from_f32(d),
            m: F16::from_f32(min),
            qh,
            qs,
        }
    }
}
