//! `F32`: IEEE 754 single precision, little-endian. Norms, biases and unquantised models.

use super::Block;

/// One `f32` as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct F32(pub [u8; 4]);

const _: () = assert!(size_of::<F32>() == 4);

impl Block for F32 {
    const LEN: usize = 1;

    #[inline]
    fn dequantize(&self, out: &mut [f32]) {
        out[0] = f32::from_le_bytes(self.0);
    }

    #[inline]
    fn quantize(values: &[f32]) -> Self {
        Self(values[0].to_le_bytes())
    }
}
