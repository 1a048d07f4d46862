//! Rounding to half floats without branches, so that the compiler turns loops of it into vectors.

/// The nearest half float, ties to even, as its bits. A NaN stays one.
#[inline(always)]
pub(crate) fn f16_bits(value: f32) -> u16 {
    const SMALLEST_NORMAL: u32 = 113 << 23; // 2^-14
    const OVERFLOW: u32 = 0x477f_f000; // 65520
    const INFINITY: u32 = 0x7f80_0000;
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Thirteen bits of the fraction go; adding just under half of them, and one more when the rest is odd, carries
    // into it as rounding to even does. The exponent's bias falls by 112.
    let rounded = magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1));
    let normal = rounded.wrapping_sub(112 << 23) >> 13;
    // Numbers from 1/2 to 1 are 2^-24 apart, which is the distance of subnormal half floats.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits() & 0xffff;
    let half = if magnitude < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    let half = if magnitude >= OVERFLOW { 0x7c00 } else { half };
    let half = if magnitude > INFINITY { 0x7e00 } else { half };
    (half | bits >> 16 & 0x8000) as u16
}

/// The nearest half float, ties to even.
#[inline(always)]
pub(crate) fn round_to_f16(value: f32) -> f32 {
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5; // 2^-14
    const OVERFLOW: f32 = 65520.0;
    let magnitude = value.abs();
    let bits = magnitude.to_bits();
    // As in `f16_bits`.
    let normal = f32::from_bits(bits.wrapping_add(0xfff + (bits >> 13 & 1)) & !0x1fff);
    let subnormal = (magnitude + 0.5) - 0.5;
    let rounded = if magnitude < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    let rounded = if magnitude >= OVERFLOW {
        f32::INFINITY
    } else {
        rounded
    };
    let rounded = if magnitude.is_nan() {
        magnitude
    } else {
        rounded
    };
    rounded.copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_standard_says() {
        const STRIDE: u32 = 1021;
        for step in 0..=u32::MAX / STRIDE {
            let value = f32::from_bits(step * STRIDE);
            let expected = half::f16::from_f32(value);
            if value.is_nan() {
                assert!(round_to_f16(value).is_nan());
                assert!(half::f16::from_bits(f16_bits(value)).is_nan());
            } else {
                assert_eq!(f16_bits(value), expected.to_bits(), "{value:e}");
                assert_eq!(
                    round_to_f16(value).to_bits(),
                    expected.to_f32().to_bits(),
                    "{value:e}"
                );
            }
        }
    }

    #[test]
    fn keeps_every_half_float() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if !half.is_nan() {
                assert_eq!(f16_bits(half.to_f32()), bits);
            }
        }
    }
}
