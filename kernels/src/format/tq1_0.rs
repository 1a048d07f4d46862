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

/// Digit `n` of each of four bytes.
#[inline(always)]
fn digits(word: u32, n: usize) -> u32 {
    const EVEN: u32 = 0x00ff_00ff;
    // Two bytes at a time, with room for their products above them.
    let of_two = |bytes: u32| {
        let left = (bytes * u32::from(POWERS[n])) & EVEN;
        ((left * 3) >> 8) & EVEN
    };
    of_two(word & EVEN) | of_two(word >> 8 & EVEN) << 8
}

impl BlockTq1_0 {
    /// The codes, 0 to 2, of the `chunk`-th of eight times 32 values: four to a word, the first in its lowest byte.
    #[inline(always)]
    pub(crate) fn codes(&self, chunk: usize) -> [u32; 8] {
        let four = |bytes: &[u8], at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        match chunk {
            0..5 => std::array::from_fn(|g| digits(four(&self.qs, 4 * g), chunk)),
            5 | 6 => std::array::from_fn(|g| {
                digits(four(&self.qs, 32 + 4 * (g % 4)), 2 * (chunk - 5) + g / 4)
            }),
            _ => std::array::from_fn(|g| match g {
                0..4 => digits(four(&self.qs, 32 + 4 * g), 4),
                _ => digits(four(&self.qh, 0), g - 4),
            }),
        }
    }
}

impl Block for BlockTq1_0 {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.to_f32();
        for (chunk, out) in out.chunks_exact_mut(32).enumerate() {
            for (x, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.codes(chunk)) {
                *x = word.to_le_bytes().map(|code| d * (f32::from(code) - 1.0));
            }
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
