//! `F16`: IEEE 754 half precision, little-endian; also the type of most blocks' scales.
//!
//! Widening is exact and free of branches, so that loops over it become vector code. Narrowing rounds to the nearest,
//! ties to even; what is too large becomes an infinity.

use super::Block;

/// One `f16` as it stands in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct F16(pub [u8; 2]);

const _: () = assert!(size_of::<F16>() == 2);

impl F16 {
    /// Rounds to the nearest, ties to even.
    #[inline]
    pub fn from_f32(value: f32) -> Self {
        Self(half::f16::from_f32(value).to_le_bytes())
    }

    /// The exact value; a signalling NaN becomes a quiet one.
    #[inline]
    pub fn to_f32(self) -> f32 {
        // 2^112: the difference of the exponents' biases, 127 - 15. Scaling by it is exact and also turns the
        // subnormal that a half's subnormal looks like into the normal number that it means.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(u16::from_le_bytes(self.0));
        let sign = (bits & 0x8000) << 16;
        let shifted = (bits & 0x7fff) << 13;
        let finite = (f32::from_bits(shifted) * REBIAS).to_bits();
        let quiet = if bits & 0x03ff == 0 { 0 } else { 1 << 22 };
        let not_finite = shifted | 0x7f80_0000 | quiet;
        let is_finite = bits & 0x7c00 != 0x7c00;
        f32::from_bits(sign | if is_finite { finite } else { not_finite })
    }
}

impl Block for F16 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_widens_as_in_half() {
        for bits in 0..=u16::MAX {
            let ours = F16(bits.to_le_bytes()).to_f32();
            let theirs = half::f16::from_bits(bits).to_f32();
            assert_eq!(ours.to_bits(), theirs.to_bits(), "pattern {bits:#06x}");
        }
    }

    #[test]
    fn every_number_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            let stored = F16(bits.to_le_bytes());
            if !stored.to_f32().is_nan() {
                assert_eq!(
                    F16::from_f32(stored.to_f32()),
                    stored,
                    "pattern {bits:#06x}"
                );
            }
        }
    }
}
