//! `y = W x` over tiles of 16 rows, written once for all tiers and formats.
//!
//! One column: codes are unpacked in registers while the weights stream by. Several columns: a tile is unpacked into a
//! panel in the first-level cache, block by block of the columns of `W`, and each group of columns passes over it.
//! Both do for a column the same operations on floats in the same order, so that its result does not depend on how
//! many are computed together. What a block's arithmetic is says [`Blocks`].

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::activations::{Group, RecordKind};
use crate::layout::{CHUNK, TILE_ROWS, TileShape};
use crate::memory::LINE;
use crate::tier::{MAX_COLUMNS, Tier};
use crate::unpack::{CodeVectors, FloatFormat, Format, ScaleVectors};

mod block256;
mod block32;

pub(crate) use block32::Block32;
pub(crate) use block256::Block256;

/// Chunks of a panel at most: with its scales and the records of a group it fits the first-level cache.
const PANEL_CHUNKS: usize = 24;
/// Chunks of a panel that holds codes twice ([`Tier::SPLITS_BYTES`]).
const SPLIT_PANEL_CHUNKS: usize = 16;
/// Vectors of the codes of a panel.
const PANEL_VECTORS: usize = if PANEL_CHUNKS > 2 * SPLIT_PANEL_CHUNKS {
    8 * PANEL_CHUNKS
} else {
    16 * SPLIT_PANEL_CHUNKS
};
/// How far ahead of their use weights are asked for.
const PREFETCH_BYTES: usize = 4096;
/// Columns are run over all tiles of a task together as long as their records are no more than this: they stay in the
/// second-level cache.
const RECORDS_BYTES: usize = 256 << 10;
/// Columns that are run over a task's tiles together, at least and at most.
const BATCH_COLUMNS: Range<usize> = 4 * MAX_COLUMNS..12 * MAX_COLUMNS;

/// Some tiles of one matrix, and all columns that it is multiplied with.
pub(crate) struct Job<'a> {
    /// The first tile of the matrix.
    pub(crate) weights: *const u8,
    pub(crate) shape: TileShape,
    pub(crate) tiles: Range<usize>,
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
    /// The records of all columns from the first on, group after group.
    pub(crate) records: *const u32,
    pub(crate) groups: &'a [Group],
    /// `[n_columns, n_rows]`, of all columns from the first on.
    pub(crate) out: *mut f32,
}

/// A kernel for one format on one tier.
pub(crate) type MatmulFn = unsafe fn(&Job<'_>);

/// # Safety
/// The CPU has the tier. The job's tiles, of format `F`, and the records of its groups are there; `out` has room for
/// all its columns, and nobody else touches the rows of its tiles there.
#[inline(always)]
pub(crate) unsafe fn matmul<T: Tier, F: Format>(job: &Job<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        if let [Group { width: 1, first }] = *job.groups {
            let records = job
                .records
                .add(first * F::Blocks::RECORDS.fields(job.n_cols));
            for tile in job.tiles.clone() {
                let weights = job.weights.add(tile * job.shape.tile_bytes);
                let acc = one_column::<T, F>(weights, job.shape.scales_bytes, job.n_cols, records);
                store_rows::<T>(job, tile, first, acc);
            }
            return;
        }
        let column_bytes = 4 * F::Blocks::RECORDS.fields(job.n_cols);
        let n_columns =
            (RECORDS_BYTES / column_bytes.max(1)).clamp(BATCH_COLUMNS.start, BATCH_COLUMNS.end);
        let mut groups = job.groups;
        while !groups.is_empty() {
            let (batch, rest) = groups.split_at(batch_len(groups, n_columns));
            for tile in job.tiles.clone() {
                many_columns::<T, F>(job, tile, batch);
            }
            groups = rest;
        }
    }
}

/// How many of `groups` have no more than `n_columns` columns together; at least one.
fn batch_len(groups: &[Group], n_columns: usize) -> usize {
    let end = groups[0].first + n_columns;
    let fitting = groups.partition_point(|group| group.first + group.width <= end);
    fitting.max(1)
}

/// # Safety
/// As for [`matmul`].
#[inline(always)]
unsafe fn store_rows<T: Tier>(job: &Job<'_>, tile: usize, column: usize, acc: T::F) {
    let row = tile * TILE_ROWS;
    // SAFETY: rows and columns of the job.
    unsafe {
        let out = job.out.add(column * job.n_rows + row);
        if job.n_rows - row >= TILE_ROWS {
            T::store(out, acc);
        } else {
            let lanes = T::to_array(acc);
            out.copy_from_nonoverlapping(lanes.as_ptr(), job.n_rows - row);
        }
    }
}

/// How blocks of a format are multiplied.
pub(crate) trait Blocks<F: Format> {
    /// What activations are rounded to.
    const RECORDS: RecordKind;
    /// Vectors of a panel that hold the scales of a block.
    const SCALE_VECTORS: usize;

    /// Writes the scales of a block of a tile into a panel.
    ///
    /// # Safety
    /// The CPU has the tier; `block` is there and `scales` has room.
    unsafe fn unpack_scales<T: Tier>(block: *const u8, scales: *mut u8);

    /// Adds the products of a block of a panel and `N` columns to `acc`.
    ///
    /// # Safety
    /// The CPU has the tier; codes and scales are a panel's, `record` is of `N` columns.
    unsafe fn add_of_panel<T: Tier, const N: usize>(
        acc: &mut [T::F; N],
        codes: *const u8,
        scales: *const u8,
        record: *const u32,
    );

    /// Adds the products of a block of a tile and one column to `acc`: the same operations on floats.
    ///
    /// # Safety
    /// The CPU has the tier; codes and scales are a tile's, `record` is of one column.
    unsafe fn add_of_tile<T: Tier>(
        acc: T::F,
        codes: *const u8,
        scales: *const u8,
        record: *const u32,
    ) -> T::F;
}

/// Fields of the record of a block of format `F`.
const fn block_fields<F: Format>() -> usize {
    F::Blocks::RECORDS.fields(F::Scales::CHUNKS * CHUNK)
}

/// Asks for `bytes` of weights some way behind `address`.
///
/// # Safety
/// The CPU has the tier; the addresses need not exist.
#[inline(always)]
unsafe fn prefetch<T: Tier>(address: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE) {
        // SAFETY: the caller's promise.
        unsafe { T::prefetch(address.wrapping_add(PREFETCH_BYTES + line * LINE)) };
    }
}

/// One tile times one column.
///
/// # Safety
/// The CPU has the tier; `tile` has `n_cols` columns of format `F`, codes from `scales_bytes` on; `records` are of one
/// column.
#[inline(always)]
unsafe fn one_column<T: Tier, F: Format>(
    tile: *const u8,
    scales_bytes: usize,
    n_cols: usize,
    records: *const u32,
) -> T::F {
    // SAFETY: the caller's promise; prefetched addresses need not exist.
    unsafe {
        let mut scales = tile;
        let mut codes = tile.add(scales_bytes);
        let mut record = records;
        let mut acc = T::splat(0.0);
        for _ in 0..n_cols / CHUNK / F::Scales::CHUNKS {
            prefetch::<T>(scales, F::Scales::BYTES);
            acc = F::Blocks::add_of_tile::<T>(acc, codes, scales, record);
            scales = scales.add(F::Scales::BYTES);
            codes = codes.add(F::Scales::CHUNKS * F::Codes::BYTES);
            record = record.add(block_fields::<F>());
        }
        acc
    }
}

/// Some chunks of a tile, unpacked: a byte a code, and scales as [`Blocks`] wants them.
#[repr(C, align(64))]
struct Panel {
    codes: [[u8; LINE]; PANEL_VECTORS],
    scales: [[u8; LINE]; 4 * PANEL_CHUNKS],
}

/// Whether panels of format `F` hold codes twice.
const fn is_split<T: Tier, F: Format>() -> bool {
    T::SPLITS_BYTES && F::Codes::MAX > i8::MAX as i32
}

/// Vectors of codes in a panel from one chunk to the next.
const fn slot_vectors<T: Tier, F: Format>() -> usize {
    if is_split::<T, F>() { 16 } else { 8 }
}

/// # Safety
/// As for [`matmul`]; `groups` are a batch of the job, not empty, and `tile` is one of its tiles.
#[inline(always)]
unsafe fn many_columns<T: Tier, F: Format>(job: &Job<'_>, tile: usize, groups: &[Group]) {
    let first_column = groups[0].first;
    let n_chunks = job.n_cols / CHUNK;
    let mut panel = MaybeUninit::<Panel>::uninit();
    let panel = panel.as_mut_ptr();
    let mut sums = MaybeUninit::<[f32; BATCH_COLUMNS.end * TILE_ROWS]>::uninit();
    let sums = sums.as_mut_ptr().cast::<f32>();
    // SAFETY: pointers stay within the tile, the panel, the sums of a batch and the job's output. A kernel reads of the
    // panel what was unpacked just before, and of the sums what the first chunks wrote.
    unsafe {
        let weights = job.weights.add(tile * job.shape.tile_bytes);
        let panel_chunks = if is_split::<T, F>() {
            SPLIT_PANEL_CHUNKS
        } else {
            PANEL_CHUNKS
        };
        for first in (0..n_chunks).step_by(panel_chunks) {
            let chunks = first..n_chunks.min(first + panel_chunks);
            unpack::<T, F>(weights, job.shape.scales_bytes, chunks.clone(), panel);
            // the weights that are unpacked next come from memory while the first group computes
            let next = job.shape.scales_bytes + chunks.end * F::Codes::BYTES;
            let mut next = weights.wrapping_add(next);
            for group in groups {
                let sums = sums.add((group.first - first_column) * TILE_ROWS);
                let records = job.records.add(
                    group.first * F::Blocks::RECORDS.fields(job.n_cols)
                        + first / F::Scales::CHUNKS * block_fields::<F>() * group.width,
                );
                let chunks = chunks.clone();
                match group.width {
                    12 if T::WIDTHS[0] >= 12 => {
                        columns::<T, F, 12>(panel, chunks, records, sums, next)
                    }
                    8 if T::WIDTHS[0] >= 8 => {
                        columns::<T, F, 8>(panel, chunks, records, sums, next)
                    }
                    4 => columns::<T, F, 4>(panel, chunks, records, sums, next),
                    2 => columns::<T, F, 2>(panel, chunks, records, sums, next),
                    _ => columns::<T, F, 1>(panel, chunks, records, sums, next),
                }
                next = std::ptr::null();
            }
        }
        for group in groups {
            for column in group.first..group.first + group.width {
                let sum = T::load(sums.add((column - first_column) * TILE_ROWS));
                store_rows::<T>(job, tile, column, sum);
            }
        }
    }
}

/// Unpacks `chunks` of a tile; they start a block.
///
/// # Safety
/// The CPU has the tier; the tile has the chunks, no more than a panel's.
#[inline(always)]
unsafe fn unpack<T: Tier, F: Format>(
    tile: *const u8,
    scales_bytes: usize,
    chunks: Range<usize>,
    panel: *mut Panel,
) {
    const {
        assert!(
            PANEL_CHUNKS.is_multiple_of(8) && SPLIT_PANEL_CHUNKS.is_multiple_of(8),
            "whole blocks"
        );
        assert!(
            PANEL_CHUNKS / F::Scales::CHUNKS * F::Blocks::SCALE_VECTORS <= 4 * PANEL_CHUNKS,
            "room for scales"
        );
    }
    // SAFETY: the caller's promise.
    unsafe {
        let unpacked = (&raw mut (*panel).codes).cast::<u8>();
        for (at, chunk) in chunks.clone().enumerate() {
            let codes = tile.add(scales_bytes + chunk * F::Codes::BYTES);
            let unpacked = unpacked.add(at * slot_vectors::<T, F>() * LINE);
            for half in 0..2 {
                for (v, codes) in F::Codes::half::<T>(codes, half).into_iter().enumerate() {
                    let unpacked = unpacked.add((4 * half + v) * LINE);
                    if is_split::<T, F>() {
                        let [signed, magnitudes] = T::split(codes);
                        T::store_i(unpacked, signed);
                        T::store_i(unpacked.add(8 * LINE), magnitudes);
                    } else {
                        T::store_i(unpacked, codes);
                    }
                }
            }
        }
        let unpacked = (&raw mut (*panel).scales).cast::<u8>();
        for (at, chunk) in chunks.step_by(F::Scales::CHUNKS).enumerate() {
            let block = tile.add(chunk / F::Scales::CHUNKS * F::Scales::BYTES);
            let unpacked = unpacked.add(at * F::Blocks::SCALE_VECTORS * LINE);
            F::Blocks::unpack_scales::<T>(block, unpacked);
        }
    }
}

/// Adds the products of some chunks to `N` columns of `sums`; the first chunks of a tile start them. Meanwhile it asks
/// for as many weights at `next`, if that is not null.
///
/// # Safety
/// The CPU has the tier; the panel holds the chunks; `records` and `sums` are of `N` columns. Nothing need be at `next`.
#[inline(always)]
unsafe fn columns<T: Tier, F: Format, const N: usize>(
    panel: *const Panel,
    chunks: Range<usize>,
    records: *const u32,
    sums: *mut f32,
    mut next: *const u8,
) {
    // SAFETY: the caller's promise; prefetched addresses need not exist.
    unsafe {
        let mut acc = [T::splat(0.0); N];
        if chunks.start > 0 {
            for (n, acc) in acc.iter_mut().enumerate() {
                *acc = T::load(sums.add(n * TILE_ROWS));
            }
        }
        let mut record = records;
        let mut codes = (&raw const (*panel).codes).cast::<u8>();
        let mut scales = (&raw const (*panel).scales).cast::<u8>();
        for _ in 0..chunks.len() / F::Scales::CHUNKS {
            if !next.is_null() {
                let bytes = F::Scales::CHUNKS * F::Codes::BYTES + F::Scales::BYTES;
                for line in (0..bytes).step_by(LINE) {
                    T::prefetch(next.wrapping_add(line));
                }
                next = next.wrapping_add(bytes);
            }
            F::Blocks::add_of_panel::<T, N>(&mut acc, codes, scales, record);
            record = record.add(block_fields::<F>() * N);
            codes = codes.add(F::Scales::CHUNKS * slot_vectors::<T, F>() * LINE);
            scales = scales.add(F::Blocks::SCALE_VECTORS * LINE);
        }
        for (n, acc) in acc.into_iter().enumerate() {
            T::store(sums.add(n * TILE_ROWS), acc);
        }
    }
}

/// [`matmul`] for weights that are floats.
///
/// # Safety
/// As for [`matmul`].
#[inline(always)]
pub(crate) unsafe fn matmul_floats<T: Tier, F: FloatFormat>(job: &Job<'_>) {
    for tile in job.tiles.clone() {
        for group in job.groups {
            // SAFETY: the caller's promise.
            unsafe {
                match group.width {
                    12 if T::WIDTHS[0] >= 12 => float_columns::<T, F, 12>(job, tile, *group),
                    8 if T::WIDTHS[0] >= 8 => float_columns::<T, F, 8>(job, tile, *group),
                    4 => float_columns::<T, F, 4>(job, tile, *group),
                    2 => float_columns::<T, F, 2>(job, tile, *group),
                    _ => float_columns::<T, F, 1>(job, tile, *group),
                }
            }
        }
    }
}

/// # Safety
/// As for [`matmul`]; the group is of `N` columns.
#[inline(always)]
unsafe fn float_columns<T: Tier, F: FloatFormat, const N: usize>(
    job: &Job<'_>,
    tile: usize,
    group: Group,
) {
    // SAFETY: the caller's promise; prefetched addresses need not exist.
    unsafe {
        let mut weights = job.weights.add(tile * job.shape.tile_bytes);
        let mut x = job
            .records
            .add(group.first * RecordKind::Float.fields(job.n_cols))
            .cast::<f32>();
        let mut acc = [T::splat(0.0); N];
        for _ in 0..job.n_cols {
            let w = F::load::<T>(weights);
            T::prefetch(weights.wrapping_add(PREFETCH_BYTES));
            for (n, acc) in acc.iter_mut().enumerate() {
                *acc = T::mul_add(w, T::splat(x.add(n).read()), *acc);
            }
            weights = weights.add(F::BYTES);
            x = x.add(N);
        }
        for (n, acc) in acc.into_iter().enumerate() {
            store_rows::<T>(job, tile, group.first + n, acc);
        }
    }
}
