//! `BF16`: the upper half of an `f32`, little-endian.

use super::Block;

/// One `bf16` as it stands in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Bf16(pub [u8; 2]);

const _: () = assert!(size_of::<Bf16>() == 2);

impl Bf16 {
    /// Rounds to the nearest, ties to even.
    #[inline]
    pub fn from_f32(value: f32) -> Self {
        Self(half::bf16::from_f32(value).to_le_bytes())
    }

    /// The exact value.
    #[inline]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(self.0)) << 16)
    }
}

impl Block for Bf16 {
    const LEN: usize = 1;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        out[0] = self.to_f32();
    }

    #[inline]
    fn quantize(values: &[f32]) -> Self {
        Self::from_f32(values[0])
    }
}
