//! Activations, quantised once for all matrices that read them.
//!
//! Columns (tokens) are cut into groups that a tier computes together; a group is a run of *records*, one for each 32
//! values, of fields `[field][column of the group]`, so that a kernel reads one stream from one pointer:
//!
//! | field | `Block32` | `Block256` |
//! |---|---|---|
//! | 0..8 | codes: four bytes of values `4f..4f+4` | the same |
//! | 8 | `d`, what a code of one means | the same, common to 256 values |
//! | 9 | `d · Σ codes` | `Σ codes` of the first and second 16, as two numbers of 16 bits |
//! | 10..15 | `−8 Σ`, `−16 Σ`, `−128 Σ`, `−12 Σ`, `−Σ` codes | – |
//!
//! The negative sums start a kernel's accumulator: unsigned codes with an offset then cost next to nothing more. Rounding
//! follows the reference implementation, so that its texts come out: `Block32` is its `Q8_0` and `Q8_1` (scale and sum
//! rounded to half floats, codes by the unrounded scale, ties to even), `Block256` its `Q8_K`. `Float` is the values
//! themselves, `[value][column of the group]`. `I2_S` takes `Block32` too, where BitNet's own program has one scale for all
//! of a token's values: rounding by 32 is the finer of the two.

use std::ops::Range;

use crate::half_float::round_to_f16;
use crate::layout::CHUNK;
use crate::memory::Scratch;
use crate::tier::Tier;

/// How a format wants activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Float,
    Block32,
    Block256,
}

impl RecordKind {
    pub(crate) const ALL: [RecordKind; 3] =
        [RecordKind::Float, RecordKind::Block32, RecordKind::Block256];

    /// Fields (of four bytes) that one column needs for `n_values` values.
    pub(crate) const fn fields(self, n_values: usize) -> usize {
        match self {
            RecordKind::Float => n_values,
            RecordKind::Block32 => n_values / CHUNK * BLOCK32_FIELDS,
            RecordKind::Block256 => n_values / CHUNK * BLOCK256_FIELDS,
        }
    }
}

/// Values whose records are written together: whole blocks of every kind.
pub(crate) const SPAN: usize = 256;
pub(crate) const BLOCK32_FIELDS: usize = 15;
pub(crate) const BLOCK256_FIELDS: usize = 10;
/// The field of `d`.
pub(crate) const SCALE: usize = 8;
/// The field of `d · Σ codes` (`Block32`).
pub(crate) const SUM: usize = 9;
/// The field of the two sums of `Block256`.
pub(crate) const PAIR_OF_SUMS: usize = 9;

/// The field of `Block32` that starts the accumulator of codes with `offset`.
pub(crate) const fn offset_field(offset: i32) -> usize {
    match offset {
        8 => 10,
        16 => 11,
        128 => 12,
        12 => 13,
        1 => 14,
        _ => panic!("records carry no sum for this offset"),
    }
}

/// Columns computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first: usize,
    pub(crate) width: usize,
}

/// Cuts `columns` into the widest groups of `widths`, which descend to 1, and adds them to `groups`.
pub(crate) fn cut_into_groups(columns: Range<usize>, widths: &[usize], groups: &mut Vec<Group>) {
    let mut first = columns.start;
    for &width in widths {
        while columns.end - first >= width {
            groups.push(Group { first, width });
            first += width;
        }
    }
}

/// Reusable scratch of [`Compute::matmul`](crate::Compute::matmul).
#[derive(Default)]
pub struct Activations {
    pub(crate) groups: Vec<Group>,
    /// One for each of [`RecordKind::ALL`].
    pub(crate) records: [Scratch; 3],
}

impl Activations {
    /// Bytes that it takes.
    pub fn size_bytes(&self) -> usize {
        self.records.iter().map(Scratch::size_bytes).sum()
    }
}

/// Writes the records of `values` of each column of one group: whole blocks of `kind`.
///
/// # Safety
/// The CPU has the tier. `x` holds `n_values` values for each of the columns of `group`; `records` has room for the
/// group's fields.
#[inline(always)]
pub(crate) unsafe fn write_group<T: Tier>(
    kind: RecordKind,
    x: &[f32],
    n_values: usize,
    group: Group,
    values: Range<usize>,
    records: *mut u32,
) {
    let width = group.width;
    for column in 0..width {
        let x = &x[(group.first + column) * n_values..][values.clone()];
        // SAFETY: fields of a column lie `width` apart from its own first one on, within the group's room.
        unsafe {
            let records = records.add(column + kind.fields(values.start) * width);
            match kind {
                RecordKind::Float => {
                    for (k, value) in x.iter().enumerate() {
                        records.add(k * width).write(value.to_bits());
                    }
                }
                RecordKind::Block32 => {
                    for (chunk, x) in x.chunks_exact(CHUNK).enumerate() {
                        write_block32::<T>(x, records.add(chunk * BLOCK32_FIELDS * width), width);
                    }
                }
                RecordKind::Block256 => {
                    for (block, x) in x.chunks_exact(256).enumerate() {
                        let record = records.add(block * 8 * BLOCK256_FIELDS * width);
                        write_block256::<T>(x, record, width);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The CPU has the tier; `x` has 32 values; `record` has room for its fields, `stride` apart.
#[inline(always)]
unsafe fn write_block32<T: Tier>(x: &[f32], record: *mut u32, stride: usize) {
    debug_assert_eq!(x.len(), CHUNK);
    // SAFETY: 32 values are two vectors.
    unsafe {
        let (low, high) = (T::load(x.as_ptr()), T::load(x.as_ptr().add(16)));
        let largest = T::reduce_max(T::max(T::abs(low), T::abs(high)));
        let d = largest / 127.0;
        let inverse = if largest != 0.0 { 127.0 / largest } else { 0.0 };
        let sums = write_codes::<T>([low, high], inverse, record, stride);
        let sum = sums[0].wrapping_add(sums[1]);
        let field = |index: usize, bits: u32| record.add(index * stride).write(bits);
        field(SCALE, round_to_f16(d).to_bits());
        field(SUM, round_to_f16(d * sum as f32).to_bits());
        field(10, (-8i32).wrapping_mul(sum) as u32);
        field(11, (-16i32).wrapping_mul(sum) as u32);
        field(12, (-128i32).wrapping_mul(sum) as u32);
        field(13, (-12i32).wrapping_mul(sum) as u32);
        field(14, sum.wrapping_neg() as u32);
    }
}

/// # Safety
/// The CPU has the tier; `x` has 256 values; `record` has room for the fields of eight records, `stride` apart.
#[inline(always)]
unsafe fn write_block256<T: Tier>(x: &[f32], record: *mut u32, stride: usize) {
    debug_assert_eq!(x.len(), 256);
    // SAFETY: 256 values are 16 vectors, 8 records.
    unsafe {
        let mut largest = T::splat(0.0);
        for v in 0..16 {
            largest = T::max(largest, T::abs(T::load(x.as_ptr().add(16 * v))));
        }
        let largest = T::reduce_max(largest);
        // The reference's codes have the sign that makes the largest value −127; both signs give the same products.
        let inverse = if largest != 0.0 { 127.0 / largest } else { 0.0 };
        let d = if largest != 0.0 { 1.0 / inverse } else { 0.0 };
        for chunk in 0..8 {
            let record = record.add(chunk * BLOCK256_FIELDS * stride);
            let values = x.as_ptr().add(CHUNK * chunk);
            let values = [T::load(values), T::load(values.add(16))];
            let sums = write_codes::<T>(values, inverse, record, stride);
            let field = |index: usize, bits: u32| record.add(index * stride).write(bits);
            field(SCALE, d.to_bits());
            // A sum is of 16 codes within ±127.
            let [first, second] = sums.map(|sum| u32::from(sum as i16 as u16));
            field(PAIR_OF_SUMS, first | second << 16);
        }
    }
}

/// Writes the codes `round(value · inverse)`, and returns their sums by vector.
///
/// # Safety
/// The CPU has the tier; `record` has room for eight fields, `stride` apart.
#[inline(always)]
unsafe fn write_codes<T: Tier>(
    values: [T::F; 2],
    inverse: f32,
    record: *mut u32,
    stride: usize,
) -> [i32; 2] {
    let mut sums = [0; 2];
    for (half, value) in values.into_iter().enumerate() {
        let mut bytes = [0u32; 4];
        // SAFETY: the array has 16 bytes; four fields for each half.
        unsafe {
            let codes = T::round(T::mul(value, T::splat(inverse)));
            sums[half] = T::reduce_add_i(codes);
            T::store_low_bytes(bytes.as_mut_ptr().cast(), codes);
            for (field, four) in bytes.into_iter().enumerate() {
                record.add((4 * half + field) * stride).write(four);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_all_columns_once() {
        let mut groups = Vec::new();
        for n_columns in 0..60 {
            groups.clear();
            cut_into_groups(5..5 + n_columns, &[12, 8, 4, 2, 1], &mut groups);
            let mut next = 5;
            for group in &groups {
                assert_eq!(group.first, next);
                next += group.width;
            }
            assert_eq!(next, 5 + n_columns);
        }
    }
}
