//! `TQ1_0`: 256 ternary values, five to a byte, `x = d·(t − 1)`; 54 bytes.
//!
//! Bytes: 48 with five values each, 4 with four each, `d` f16. Values 0–159 are in bytes 0–31, value `32n + l` in byte
//! `l`; values 160–239 in bytes 32–47, value `160 + 16n + l` in byte `32 + l`; the others in bytes 48–51, value
//! `240 + 4n + l` in byte `48 + l`. A byte is a fraction of 256 in base three: digit `n` is the integer part of three
//! times what `n` multiplications by three, modulo 256, leave. Source: ggml, `block_tq1_0`.

use super::tq2_0::ternary;
use super::{Block, F16};

/// 256 values of `TQ1_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockTq1_0 {
    /// Codes, five to a byte.
    pub qs: [u8; 48],
    /// Codes, four to a byte.
    pub qh: [u8; 4],
    /// Scale.
    pub d: F16,
}

const _: () = assert!(size_of::<BlockTq1_0>() == 54);

/// What brings digit `n` of a byte to the front.
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// Byte (of the 52) and digit of each value.
const PLACES: [(u8, u8); 256] = {
    let mut places = [(0, 0); 256];
    let mut i = 0;
    while i < 256 {
        let (first_byte, n_bytes, first) = match i {
            0..160 => (0, 32, 0),
            160..240 => (32, 16, 160),
            _ => (48, 4, 240),
        };
        places[i] = (
            (first_byte + (i - first) % n_bytes) as u8,
            ((i - first) / n_bytes) as u8,
        );
        i += 1;
    }
    places
};

impl BlockTq1_0 {
    /// The code, 0 to 2, of value `i` below 256.
    #[inline]
    pub(crate) fn code(&self, i: usize) -> u8 {
        let (byte, digit) = PLACES[i];
        let byte = match usize::from(byte) {
            low @ 0..48 => self.qs[low],
            high => self.qh[(high - 48) & 3],
        };
        let left = byte.wrapping_mul(POWERS[usize::from(digit)]);
        (u16::from(left) * 3 >> 8) as u8
    }
}

impl Block for BlockTq1_0 {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (i, x) in out.iter_mut().enumerate() {
            *x = d * (f32::from(self.code(i)) - 1.0);
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let (d, codes) = ternary(values);
        // In base three, the first digit in front; bytes of four digits have a last one of zero.
        let mut numbers = [0u16; 52];
        for (&code, (byte, digit)) in codes.iter().zip(PLACES) {
            numbers[usize::from(byte)] +=
                u16::from(code) * u16::from(POWERS[4 - usize::from(digit)]);
        }
        // Rounded up, so that rounding down finds the digits again.
        let bytes = numbers.map(|number| ((u32::from(number) * 256).div_ceil(243)) as u8);
        Self {
            qs: std::array::from_fn(|byte| bytes[byte]),
            qh: std::array::from_fn(|byte| bytes[48 + byte]),
            d: F16::from_f32(d),
        }
    }
}
