//! Packed weights back to codes and scales in vectors: what is particular to each format, for all tiers.
//!
//! A [`Format`] is a layout of codes and one of scales (see [`layout`](crate::layout)), with the offset of its codes.
//! To add one: a line of `formats!`.

use crate::activations::{BLOCK32_FIELDS, BLOCK256_FIELDS, RecordKind, offset_field};
use crate::layout;
use crate::memory::LINE;
use crate::tier::Tier;

/// A format of codes.
pub(crate) trait Format {
    type Codes: CodeVectors;
    type Scales: ScaleVectors;
    /// What is taken off a code; the sums of activations take care of it.
    const OFFSET: i32;
    /// Whether activations are rounded by 32 or by 256.
    const RECORDS: RecordKind;

    /// Fields of a record.
    const FIELDS: usize = match Self::RECORDS {
        RecordKind::Block256 => BLOCK256_FIELDS,
        _ => BLOCK32_FIELDS,
    };

    /// The field that starts an accumulator; none when it starts at zero.
    #[inline(always)]
    fn start_field<T: Tier>() -> Option<usize> {
        match Self::OFFSET {
            0 => None,
            128 if T::SIGNED_BYTES => None,
            offset => Some(offset_field(Self::RECORDS, offset)),
        }
    }
}

/// Where the codes of 32 columns come from.
pub(crate) trait CodeVectors {
    const BYTES: usize;
    const MAX: i32;
    /// Whether codes lie in memory as a byte each, so that nothing needs to be unpacked.
    const ARE_BYTES: bool = false;
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
    // SAFETY: a chunk of every layout narrower than bytes starts with four vectors of nibbles.
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

pub(crate) struct U4;
pub(crate) struct U5;
pub(crate) struct U6;
pub(crate) struct U8;

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
    const ARE_BYTES: bool = true;

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
    const SUBS: usize;
    /// Whether there are minima, as many as scales.
    const HAS_MIN: bool;

    /// What all chunks of a block share.
    ///
    /// # Safety
    /// The CPU has the tier, and `block` points to a block of this layout.
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2];

    /// The scales of chunk `chunk` of the block (`SUBS`), and then what is added for each unit of activation
    /// (`SUBS` if `HAS_MIN`).
    ///
    /// # Safety
    /// As for `block`; `shared` is its result.
    unsafe fn chunk<T: Tier>(shared: [T::F; 2], block: *const u8, chunk: usize) -> [T::F; 4];
}

pub(crate) struct D;
pub(crate) struct DM;
pub(crate) struct DSub16;
pub(crate) struct DMSub8;
pub(crate) struct DMSub16;

impl ScaleVectors for D {
    const BYTES: usize = layout::Scales::D.block_bytes();
    const CHUNKS: usize = 1;
    const SUBS: usize = 1;
    const HAS_MIN: bool = false;

    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::load_f16(block.cast()), T::splat(0.0)] }
    }

    #[inline(always)]
    unsafe fn chunk<T: Tier>([d, zero]: [T::F; 2], _block: *const u8, _chunk: usize) -> [T::F; 4] {
        [d, zero, zero, zero]
    }
}

impl ScaleVectors for DM {
    const BYTES: usize = layout::Scales::DM.block_bytes();
    const CHUNKS: usize = 1;
    const SUBS: usize = 1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::load_f16(block.cast()), T::load_f16(block.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn chunk<T: Tier>([d, m]: [T::F; 2], _block: *const u8, _chunk: usize) -> [T::F; 4] {
        [d, m, m, m]
    }
}

impl ScaleVectors for DSub16 {
    const BYTES: usize = layout::Scales::DSub16.block_bytes();
    const CHUNKS: usize = 8;
    const SUBS: usize = 2;
    const HAS_MIN: bool = false;

    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { [T::load_f16(block.cast()), T::splat(0.0)] }
    }

    #[inline(always)]
    unsafe fn chunk<T: Tier>([d, zero]: [T::F; 2], block: *const u8, chunk: usize) -> [T::F; 4] {
        // SAFETY: the caller's promise: two sub-blocks of 16 rows for each chunk.
        unsafe {
            let subs = block.add(32 + 32 * chunk).cast();
            let first = T::mul(d, T::load_i8(subs));
            [first, T::mul(d, T::load_i8(subs.add(16))), zero, zero]
        }
    }
}

/// `d` and `−dmin`.
#[inline(always)]
unsafe fn scale_and_negative_min<T: Tier>(block: *const u8) -> [T::F; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let dmin = T::load_f16(block.add(32).cast());
        [T::load_f16(block.cast()), T::sub(T::splat(0.0), dmin)]
    }
}

impl ScaleVectors for DMSub8 {
    const BYTES: usize = layout::Scales::DMSub(8).block_bytes();
    const CHUNKS: usize = 8;
    const SUBS: usize = 1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { scale_and_negative_min::<T>(block) }
    }

    #[inline(always)]
    unsafe fn chunk<T: Tier>([d, m]: [T::F; 2], block: *const u8, chunk: usize) -> [T::F; 4] {
        // SAFETY: the caller's promise: scales and minima of 16 rows for each chunk.
        unsafe {
            let subs = block.add(64 + 32 * chunk);
            let scale = T::mul(d, T::load_u8(subs));
            let min = T::mul(m, T::load_u8(subs.add(16)));
            [scale, min, min, min]
        }
    }
}

impl ScaleVectors for DMSub16 {
    const BYTES: usize = layout::Scales::DMSub(16).block_bytes();
    const CHUNKS: usize = 8;
    const SUBS: usize = 2;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn block<T: Tier>(block: *const u8) -> [T::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { scale_and_negative_min::<T>(block) }
    }

    #[inline(always)]
    unsafe fn chunk<T: Tier>([d, m]: [T::F; 2], block: *const u8, chunk: usize) -> [T::F; 4] {
        // SAFETY: the caller's promise: twice scales and minima of 16 rows for each chunk.
        unsafe {
            let subs = block.add(64 + 64 * chunk);
            [
                T::mul(d, T::load_u8(subs)),
                T::mul(d, T::load_u8(subs.add(32))),
                T::mul(m, T::load_u8(subs.add(16))),
                T::mul(m, T::load_u8(subs.add(48))),
            ]
        }
    }
}

/// Declares formats: name, layout of codes, layout of scales, offset, records.
macro_rules! formats {
    ($($name:ident: $codes:ident, $scales:ident, $offset:literal, $records:ident;)*) => {
        $(
            pub(crate) struct $name;
            impl Format for $name {
                type Codes = $codes;
                type Scales = $scales;
                const OFFSET: i32 = $offset;
                const RECORDS: RecordKind = RecordKind::$records;
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
    Q2K: U4, DMSub16, 0, Block256;
    Q3K: U4, DSub16, 4, Block256;
    Q4K: U4, DMSub8, 0, Block256;
    Q5K: U5, DMSub8, 0, Block256;
    Q6K: U6, DSub16, 32, Block256;
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
