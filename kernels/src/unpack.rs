//! Packed weights back to codes and scales in vectors: what is particular to each format, for all tiers.
//!
//! A [`Format`] is a layout of codes and one of scales (see [`layout`](crate::layout)), with the offset of its codes.
//! To add one: a line of `formats!`.

use crate::activations::offset_field;
use crate::format::{IQ4_LEVELS, MXFP4_LEVELS};
use crate::layout;
use crate::matmul::{Block32, Block256, Blocks};
use crate::memory::LINE;
use crate::tier::Tier;

/// A format of codes.
pub(crate) trait Format: Sized {
    type Codes: CodeVectors;
    type Scales: ScaleVectors;
    /// How blocks are multiplied.
    type Blocks: Blocks<Self>;
    /// What is taken off a code; the sums of activations take care of it.
    const OFFSET: i32;

    /// The field that starts an accumulator of `Block32`; none when it starts at zero.
    #[inline(always)]
    fn start_field<T: Tier>() -> Option<usize> {
        match Self::OFFSET {
            0 => None,
            128 if T::SIGNED_BYTES => None,
            offset => Some(offset_field(offset)),
        }
    }
}

/// Where the codes of 32 columns come from.
pub(crate) trait CodeVectors {
    const BYTES: usize;
    const MAX: i32;
    /// Codes of columns `16·half..16·half+16`: four vectors of `[16 rows][4 columns]`.
    ///
    /// # Safety
    /// The CPU has the tier, and `chunk` points to a chunk of this layout.
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4];
}

/// The 64 bytes of vector `v` of a chunk.
///
/// # Safety
/// The CPU has the tier, and the chunk has the vector.
#[inline(always)]
unsafe fn vector<T: Tier>(chunk: *const u8, v: usize) -> T::I {
    // SAFETY: the caller's promise.
    unsafe { T::load_i(chunk.add(v * LINE)) }
}

/// The low four bits of one half's codes.
///
/// # Safety
/// The CPU has the tier, and the chunk starts with four vectors of nibbles.
#[inline(always)]
unsafe fn nibbles<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = T::splat_i(0x0f0f_0f0f);
        if half == 0 {
            [
                T::and(vector::<T>(chunk, 0), mask),
                T::and(vector::<T>(chunk, 1), mask),
                T::and(vector::<T>(chunk, 2), mask),
                T::and(vector::<T>(chunk, 3), mask),
            ]
        } else {
            [
                T::and(T::shr::<4>(vector::<T>(chunk, 0)), mask),
                T::and(T::shr::<4>(vector::<T>(chunk, 1)), mask),
                T::and(T::shr::<4>(vector::<T>(chunk, 2)), mask),
                T::and(T::shr::<4>(vector::<T>(chunk, 3)), mask),
            ]
        }
    }
}

/// One half's bit pairs.
///
/// # Safety
/// The CPU has the tier, and the chunk starts with two vectors of bit pairs.
#[inline(always)]
unsafe fn pairs<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
    // SAFETY: the caller's promise; each half has a vector.
    unsafe {
        let mask = T::splat_i(0x0303_0303);
        let pairs = vector::<T>(chunk, half);
        [
            T::and(pairs, mask),
            T::and(T::shr::<2>(pairs), mask),
            T::and(T::shr::<4>(pairs), mask),
            T::and(T::shr::<6>(pairs), mask),
        ]
    }
}

pub(crate) struct U2;
pub(crate) struct U3;
pub(crate) struct U4;
pub(crate) struct U5;
pub(crate) struct U6;
pub(crate) struct U8;

/// `U4` whose nibbles are looked up among the levels of `IQ4_NL`, 128 added.
pub(crate) struct Iq4;
/// `U4` whose nibbles are looked up among the levels of `MXFP4`, 12 added.
pub(crate) struct E2m1;

/// Levels as unsigned bytes.
const fn raised(levels: [i8; 16], by: i16) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < bytes.len() {
        let level = levels[index] as i16 + by;
        assert!(level >= 0 && level <= 255);
        bytes[index] = level as u8;
        index += 1;
    }
    bytes
}

/// The levels that one half's nibbles stand for.
///
/// # Safety
/// As for [`nibbles`].
#[inline(always)]
unsafe fn levels<T: Tier>(table: &[u8; 16], chunk: *const u8, half: usize) -> [T::I; 4] {
    // SAFETY: the caller's promise; nibbles are below 16.
    unsafe {
        let [a, b, c, d] = nibbles::<T>(chunk, half);
        [
            T::lookup(table, a),
            T::lookup(table, b),
            T::lookup(table, c),
            T::lookup(table, d),
        ]
    }
}

impl CodeVectors for Iq4 {
    const BYTES: usize = layout::Codes::U4.chunk_bytes();
    // As for all codes that 128 was added to: `Tier::dot16` may take it off.
    const MAX: i32 = 255;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        const TABLE: [u8; 16] = raised(IQ4_LEVELS, 128);
        // SAFETY: the caller's promise.
        unsafe { levels::<T>(&TABLE, chunk, half) }
    }
}

impl CodeVectors for E2m1 {
    const BYTES: usize = layout::Codes::U4.chunk_bytes();
    const MAX: i32 = 24;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        const TABLE: [u8; 16] = raised(MXFP4_LEVELS, 12);
        // SAFETY: the caller's promise.
        unsafe { levels::<T>(&TABLE, chunk, half) }
    }
}

impl CodeVectors for U2 {
    const BYTES: usize = layout::Codes::U2.chunk_bytes();
    const MAX: i32 = 3;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { pairs::<T>(chunk, half) }
    }
}

impl CodeVectors for U3 {
    const BYTES: usize = layout::Codes::U3.chunk_bytes();
    const MAX: i32 = 7;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise; the third vector has the third bits.
        unsafe {
            let [a, b, c, d] = pairs::<T>(chunk, half);
            let mask = T::splat_i(0x0404_0404);
            let bits = vector::<T>(chunk, 2);
            if half == 0 {
                [
                    T::or(a, T::and(T::shl::<2>(bits), mask)),
                    T::or(b, T::and(T::shl::<1>(bits), mask)),
                    T::or(c, T::and(bits, mask)),
                    T::or(d, T::and(T::shr::<1>(bits), mask)),
                ]
            } else {
                [
                    T::or(a, T::and(T::shr::<2>(bits), mask)),
                    T::or(b, T::and(T::shr::<3>(bits), mask)),
                    T::or(c, T::and(T::shr::<4>(bits), mask)),
                    T::or(d, T::and(T::shr::<5>(bits), mask)),
                ]
            }
        }
    }
}

impl CodeVectors for U4 {
    const BYTES: usize = layout::Codes::U4.chunk_bytes();
    const MAX: i32 = 15;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { nibbles::<T>(chunk, half) }
    }
}

impl CodeVectors for U5 {
    const BYTES: usize = layout::Codes::U5.chunk_bytes();
    const MAX: i32 = 31;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise; the fifth vector has the fifth bits.
        unsafe {
            let [a, b, c, d] = nibbles::<T>(chunk, half);
            let mask = T::splat_i(0x1010_1010);
            let bits = vector::<T>(chunk, 4);
            if half == 0 {
                [
                    T::or(a, T::and(T::shl::<4>(bits), mask)),
                    T::or(b, T::and(T::shl::<3>(bits), mask)),
                    T::or(c, T::and(T::shl::<2>(bits), mask)),
                    T::or(d, T::and(T::shl::<1>(bits), mask)),
                ]
            } else {
                [
                    T::or(a, T::and(bits, mask)),
                    T::or(b, T::and(T::shr::<1>(bits), mask)),
                    T::or(c, T::and(T::shr::<2>(bits), mask)),
                    T::or(d, T::and(T::shr::<3>(bits), mask)),
                ]
            }
        }
    }
}

impl CodeVectors for U6 {
    const BYTES: usize = layout::Codes::U6.chunk_bytes();
    const MAX: i32 = 63;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise; vectors 4 and 5 have the upper bits of the first and second half.
        unsafe {
            let [a, b, c, d] = nibbles::<T>(chunk, half);
            let mask = T::splat_i(0x3030_3030);
            let bits = vector::<T>(chunk, 4 + half);
            [
                T::or(a, T::and(T::shl::<4>(bits), mask)),
                T::or(b, T::and(T::shl::<2>(bits), mask)),
                T::or(c, T::and(bits, mask)),
                T::or(d, T::and(T::shr::<2>(bits), mask)),
            ]
        }
    }
}

impl CodeVectors for U8 {
    const BYTES: usize = layout::Codes::U8.chunk_bytes();
    const MAX: i32 = 255;

    #[inline(always)]
    unsafe fn half<T: Tier>(chunk: *const u8, half: usize) -> [T::I; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            [
                vector::<T>(chunk, 4 * half),
                vector::<T>(chunk, 4 * half + 1),
                vector::<T>(chunk, 4 * half + 2),
                vector::<T>(chunk, 4 * half + 3),
            ]
        }
    }
}

/// Where the scales of 16 rows come from.
pub(crate) trait ScaleVectors {
    /// Bytes of a block.
    const BYTES: usize;
    /// Chunks of a block.
    const CHUNKS: usize;
    /// Scales of a chunk: 1, or 2 when each half has its own.
    const SUBS: usize = 1;
    /// Whether there are minima, as many as scales.
    const HAS_MIN: bool = false;
}

/// Scales of blocks of one chunk.
pub(crate) trait FloatScales: ScaleVectors {
    /// The scale, and what is added for each unit of activation.
    ///
    /// # Safety
    /// The CPU has the tier, and `block` points to a block of this layout.
    unsafe fn floats<T: Tier>(block: *const u8) -> [T::F; 2];
}

/// Scales of blocks of eight chunks.
pub(crate) trait IntegerScales: ScaleVectors {
    /// `d` and `−dmin`: what units of the integers are.
    ///
    /// # Safety
    /// The CPU has the tier, and `block` points to a block of this layout.
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2];

    /// The scales of the halves of a chunk, and their minima.
    ///
    /// # Safety
    /// As for `block`, which has the chunk.
    unsafe fn integers<T: Tier>(block: *const u8, chunk: usize) -> ([T::I; 2], [T::I; 2]);
}

pub(crate) struct D;
pub(crate) struct DM;
pub(crate) struct E8;
pub(crate) struct Tensor;
pub(crate) struct D8;
pub(crate) struct DSub8;
pub(crate) struct DSub16;
pub(crate) struct DMSub8;
pub(crate) struct DMNibbles;

impl ScaleVectors for D {
    const BYTES: usize = layout::Scales::D.block_bytes();
    const CHUNKS: usize = 1;
}

impl FloatScales for D {
    #[inline(always)]
    unsafe fn floats<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::load_f16(block.cast()), T::splat(0.0)] }
    }
}

impl ScaleVectors for DM {
    const BYTES: usize = layout::Scales::DM.block_bytes();
    const CHUNKS: usize = 1;
    const HAS_MIN: bool = true;
}

impl FloatScales for DM {
    #[inline(always)]
    unsafe fn floats<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::load_f16(block.cast()), T::load_f16(block.add(32).cast())] }
    }
}

/// 2²³: added to a whole number below, it leaves it in the low bits.
const WHOLE: f32 = 8_388_608.0;

impl ScaleVectors for E8 {
    const BYTES: usize = layout::Scales::E8.block_bytes();
    const CHUNKS: usize = 1;
}

impl FloatScales for E8 {
    /// `2^(e − 128)`, also where that is subnormal: `2^(max(e, 2) − 128) · 2^(min(e, 2) − 2)`.
    #[inline(always)]
    unsafe fn floats<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise of 16 bytes.
        unsafe {
            let e = T::load_u8(block);
            let two = T::splat(2.0);
            // The exponents' fields, in the low bits of floats of which a shift leaves nothing else.
            let normal = T::add(T::max(e, two), T::splat(WHOLE - 1.0));
            let rest = T::add(T::min(e, two), T::splat(WHOLE + 125.0));
            let normal = T::from_bits(T::shl::<23>(T::bits(normal)));
            let rest = T::from_bits(T::shl::<23>(T::bits(rest)));
            [T::mul(normal, rest), T::splat(0.0)]
        }
    }
}

impl ScaleVectors for Tensor {
    const BYTES: usize = layout::Scales::Tensor.block_bytes();
    const CHUNKS: usize = 1;
}

impl FloatScales for Tensor {
    #[inline(always)]
    unsafe fn floats<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise; blocks take no bytes, so that all of them are the plane's 16 floats.
        unsafe { [T::load(block.cast()), T::splat(0.0)] }
    }
}

/// `d`, and nothing.
///
/// # Safety
/// The CPU has the tier, and `block` starts with 16 half floats.
#[inline(always)]
unsafe fn only_scale<T: Tier>(block: *const u8) -> [T::F; 2] {
    // SAFETY: the caller's promise.
    unsafe { [T::load_f16(block.cast()), T::splat(0.0)] }
}

/// `d` and `−dmin`.
///
/// # Safety
/// The CPU has the tier, and `block` starts with 32 half floats.
#[inline(always)]
unsafe fn scale_and_negative_min<T: Tier>(block: *const u8) -> [T::F; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let dmin = T::load_f16(block.add(32).cast());
        [T::load_f16(block.cast()), T::sub(T::splat(0.0), dmin)]
    }
}

impl ScaleVectors for D8 {
    const BYTES: usize = layout::Scales::D.block_bytes();
    const CHUNKS: usize = 8;
}

impl IntegerScales for D8 {
    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { only_scale::<T>(block) }
    }

    #[inline(always)]
    unsafe fn integers<T: Tier>(_block: *const u8, _chunk: usize) -> ([T::I; 2], [T::I; 2]) {
        // SAFETY: the caller's promise.
        unsafe { ([T::splat_i(1); 2], [T::splat_i(0); 2]) }
    }
}

impl ScaleVectors for DSub8 {
    const BYTES: usize = layout::Scales::DSub(8).block_bytes();
    const CHUNKS: usize = 8;
}

impl IntegerScales for DSub8 {
    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { only_scale::<T>(block) }
    }

    #[inline(always)]
    unsafe fn integers<T: Tier>(block: *const u8, chunk: usize) -> ([T::I; 2], [T::I; 2]) {
        // SAFETY: the caller's promise: a sub-block of 16 rows for each chunk.
        unsafe {
            let scale = T::widen_i8(block.add(32 + 16 * chunk).cast());
            ([scale; 2], [T::splat_i(0); 2])
        }
    }
}

impl ScaleVectors for DSub16 {
    const BYTES: usize = layout::Scales::DSub(16).block_bytes();
    const CHUNKS: usize = 8;
    const SUBS: usize = 2;
}

impl IntegerScales for DSub16 {
    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { only_scale::<T>(block) }
    }

    #[inline(always)]
    unsafe fn integers<T: Tier>(block: *const u8, chunk: usize) -> ([T::I; 2], [T::I; 2]) {
        // SAFETY: the caller's promise: two sub-blocks of 16 rows for each chunk.
        unsafe {
            let subs = block.add(32 + 32 * chunk).cast();
            let scales = [T::widen_i8(subs), T::widen_i8(subs.add(16))];
            (scales, [T::splat_i(0); 2])
        }
    }
}

impl ScaleVectors for DMSub8 {
    const BYTES: usize = layout::Scales::DMSub(8).block_bytes();
    const CHUNKS: usize = 8;
    const HAS_MIN: bool = true;
}

impl IntegerScales for DMSub8 {
    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { scale_and_negative_min::<T>(block) }
    }

    #[inline(always)]
    unsafe fn integers<T: Tier>(block: *const u8, chunk: usize) -> ([T::I; 2], [T::I; 2]) {
        // SAFETY: the caller's promise: scales and minima of 16 rows for each chunk.
        unsafe {
            let subs = block.add(64 + 32 * chunk);
            ([T::widen_u8(subs); 2], [T::widen_u8(subs.add(16)); 2])
        }
    }
}

impl ScaleVectors for DMNibbles {
    const BYTES: usize = layout::Scales::DMNibbles.block_bytes();
    const CHUNKS: usize = 8;
    const SUBS: usize = 2;
    const HAS_MIN: bool = true;
}

impl IntegerScales for DMNibbles {
    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { scale_and_negative_min::<T>(block) }
    }

    #[inline(always)]
    unsafe fn integers<T: Tier>(block: *const u8, chunk: usize) -> ([T::I; 2], [T::I; 2]) {
        // SAFETY: the caller's promise: a byte for each of two sub-blocks of 16 rows for each chunk.
        unsafe {
            let subs = block.add(64 + 32 * chunk);
            let (first, second) = (T::widen_u8(subs), T::widen_u8(subs.add(16)));
            let low = T::splat_i(15);
            (
                [T::and(first, low), T::and(second, low)],
                [T::shr::<4>(first), T::shr::<4>(second)],
            )
        }
    }
}

/// Declares formats: name, layout of codes, layout of scales, offset, arithmetic of blocks.
macro_rules! formats {
    ($($name:ident: $codes:ident, $scales:ident, $offset:literal, $blocks:ident;)*) => {
        $(
            pub(crate) struct $name;
            impl Format for $name {
                type Codes = $codes;
                type Scales = $scales;
                type Blocks = $blocks;
                const OFFSET: i32 = $offset;
            }
        )*
    };
}

formats! {
    Q4_0: U4, D, 8, Block32;
    Q4_1: U4, DM, 0, Block32;
    Q5_0: U5, D, 16, Block32;
    Q5_1: U5, DM, 0, Block32;
    Q8_0: U8, D, 128, Block32;
    Q2K: U2, DMNibbles, 0, Block256;
    Q3K: U3, DSub16, 4, Block256;
    Q4K: U4, DMSub8, 0, Block256;
    Q5K: U5, DMSub8, 0, Block256;
    Q6K: U6, DSub16, 32, Block256;
    Iq4Nl: Iq4, D, 128, Block32;
    Iq4Xs: Iq4, DSub8, 128, Block256;
    Tq: U2, D8, 1, Block256;
    I2S: U2, Tensor, 1, Block32;
    Mxfp4: E2m1, E8, 12, Block32;
}

/// A format of floats.
pub(crate) trait FloatFormat {
    /// Bytes of 16 rows.
    const BYTES: usize;
    /// # Safety
    /// The CPU has the tier, and `lanes` points to 16 values of this format.
    unsafe fn load<T: Tier>(lanes: *const u8) -> T::F;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;

impl FloatFormat for F32 {
    const BYTES: usize = 64;
    #[inline(always)]
    unsafe fn load<T: Tier>(lanes: *const u8) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::load(lanes.cast()) }
    }
}

impl FloatFormat for F16 {
    const BYTES: usize = 32;
    #[inline(always)]
    unsafe fn load<T: Tier>(lanes: *const u8) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::load_f16(lanes.cast()) }
    }
}

impl FloatFormat for Bf16 {
    const BYTES: usize = 32;
    #[inline(always)]
    unsafe fn load<T: Tier>(lanes: *const u8) -> T::F {
        // SAFETY: the caller's promise.
        unsafe { T::load_bf16(lanes.cast()) }
    }
}
