//! The 12 bytes that hold eight 6-bit scales and eight 6-bit minima, shared by `Q4_K` and `Q5_K`.
//!
//! Scales 0–3 are the low six bits of bytes 0–3, minima 0–3 those of bytes 4–7. Scales and minima 4–7 have their low
//! four bits in the low and high nibbles of bytes 8–11, and their upper two in the top bits of bytes 0–3 and 4–7.
//! Source: ggml, `get_scale_min_k4`.

/// Packed scales and minima of a super-block of eight sub-blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct KScales(pub [u8; 12]);

impl KScales {
    /// The eight scales, each below 64.
    #[inline]
    pub fn scales(&self) -> [u8; 8] {
        let s = &self.0;
        std::array::from_fn(|j| match j {
            0..4 => s[j] & 63,
            _ => (s[j + 4] & 15) | (s[j - 4] >> 6) << 4,
        })
    }

    /// The eight minima, each below 64.
    #[inline]
    pub fn mins(&self) -> [u8; 8] {
        let s = &self.0;
        std::array::from_fn(|j| match j {
            0..4 => s[j + 4] & 63,
            _ => (s[j + 4] >> 4) | (s[j] >> 6) << 4,
        })
    }

    /// Packs numbers below 64.
    pub fn pack(scales: [u8; 8], mins: [u8; 8]) -> Self {
        Self(std::array::from_fn(|byte| match byte {
            0..4 => scales[byte] | (scales[byte + 4] >> 4) << 6,
            4..8 => mins[byte - 4] | (mins[byte] >> 4) << 6,
            _ => (scales[byte - 4] & 15) | (mins[byte - 4] & 15) << 4,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        for shift in 0..64u8 {
            let scales = std::array::from_fn(|j| (shift + 11 * j as u8) % 64);
            let mins = std::array::from_fn(|j| (shift + 29 + 7 * j as u8) % 64);
            let packed = KScales::pack(scales, mins);
            assert_eq!((packed.scales(), packed.mins()), (scales, mins));
        }
    }
}
