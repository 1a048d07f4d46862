//! `y = W x` over tiles of 16 rows, written once for all tiers and formats.
//!
//! One column: codes are unpacked in registers while the weights stream by. Several columns: a tile is unpacked into a
//! panel in the first-level cache, block by block of the columns of `W`, and each group of columns passes over it.
//! Both do for a column the same operations on floats in the same order, so that its result does not depend on how
//! many are computed together.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::activations::{Group, HALF_SUMS, RecordKind, SCALE, SUM};
use crate::layout::{CHUNK, TILE_ROWS, TileShape};
use crate::memory::LINE;
use crate::tier::{MAX_COLUMNS, Tier};
use crate::unpack::{CodeVectors, FloatFormat, Format, ScaleVectors, U8};

/// Chunks of a panel: with its scales and the records of a group it fits the first-level cache.
const PANEL_CHUNKS: usize = 24;
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
            let records = job.records.add(first * F::RECORDS.fields(job.n_cols));
            for tile in job.tiles.clone() {
                let weights = job.weights.add(tile * job.shape.tile_bytes);
                let acc = one_column::<T, F>(weights, job.shape.scales_bytes, job.n_cols, records);
                store_rows::<T>(job, tile, first, acc);
            }
            return;
        }
        let column_bytes = 4 * F::RECORDS.fields(job.n_cols);
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
        let mut acc = [T::splat(0.0)];
        for _ in 0..n_cols / CHUNK / F::Scales::CHUNKS {
            let shared = F::Scales::block::<T>(scales);
            for line in 0..F::Scales::BYTES.div_ceil(LINE) {
                T::prefetch(scales.wrapping_add(PREFETCH_BYTES + line * LINE));
            }
            for chunk in 0..F::Scales::CHUNKS {
                for line in 0..F::Codes::BYTES / LINE {
                    T::prefetch(codes.wrapping_add(PREFETCH_BYTES + line * LINE));
                }
                let chunk_scales = F::Scales::chunk::<T>(shared, scales, chunk);
                add_chunk::<T, F, F::Codes, 1>(&mut acc, codes, chunk_scales, record);
                codes = codes.add(F::Codes::BYTES);
                record = record.add(F::FIELDS);
            }
            scales = scales.add(F::Scales::BYTES);
        }
        acc[0]
    }
}

/// Adds the products of one chunk: the only arithmetic there is, for any number of columns.
///
/// # Safety
/// The CPU has the tier; `record` is of `N` columns; `codes` is a chunk of codes of format `F` in the layout `C`.
#[inline(always)]
unsafe fn add_chunk<T: Tier, F: Format, C: CodeVectors, const N: usize>(
    acc: &mut [T::F; N],
    codes: *const u8,
    scales: [T::F; 4],
    record: *const u32,
) {
    let integers = record.cast::<i32>();
    let floats = record.cast::<f32>();
    // SAFETY: fields of the record are `N` apart.
    unsafe {
        let n_subs = F::Scales::SUBS;
        for sub in 0..n_subs {
            let mut sums = [T::splat_i(0); N];
            if let Some(field) = F::start_field::<T>() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = T::splat_i(integers.add((field + sub) * N + n).read());
                }
            }
            if C::ARE_BYTES {
                let codes = codes.add(4 * sub * LINE);
                let x = integers.add(4 * sub * N);
                if n_subs == 1 {
                    T::dot_columns::<8, N>(F::Codes::MAX, &mut sums, codes, x);
                } else {
                    T::dot_columns::<4, N>(F::Codes::MAX, &mut sums, codes, x);
                }
            } else {
                for half in sub * 2 / n_subs..(sub + 1) * 2 / n_subs {
                    let codes = C::half::<T>(codes, half);
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x = integers.add(4 * half * N + n);
                        *sum = T::dot16(F::Codes::MAX, *sum, codes, x, N);
                    }
                }
            }
            for (n, (acc, sum)) in acc.iter_mut().zip(sums).enumerate() {
                let d = T::splat(floats.add(SCALE * N + n).read());
                *acc = T::mul_add(T::to_float(sum), T::mul(scales[sub], d), *acc);
                if F::Scales::HAS_MIN {
                    let field = if n_subs == 1 { SUM } else { HALF_SUMS + sub };
                    let x_sum = T::splat(floats.add(field * N + n).read());
                    *acc = T::mul_add(scales[n_subs + sub], x_sum, *acc);
                }
            }
        }
    }
}

/// Some chunks of a tile, unpacked: a byte a code, scales as floats.
#[repr(C, align(64))]
struct Panel {
    codes: [MaybeUninit<[u8; 8 * LINE]>; PANEL_CHUNKS],
    scales: [MaybeUninit<[f32; 4 * TILE_ROWS]>; PANEL_CHUNKS],
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
        for first in (0..n_chunks).step_by(PANEL_CHUNKS) {
            let chunks = first..n_chunks.min(first + PANEL_CHUNKS);
            unpack::<T, F>(weights, job.shape.scales_bytes, chunks.clone(), panel);
            for group in groups {
                let sums = sums.add((group.first - first_column) * TILE_ROWS);
                let records = job.records.add(
                    group.first * F::RECORDS.fields(job.n_cols) + first * F::FIELDS * group.width,
                );
                match group.width {
                    12 if T::WIDTHS[0] >= 12 => {
                        columns::<T, F, 12>(panel, chunks.clone(), records, sums)
                    }
                    8 if T::WIDTHS[0] >= 8 => {
                        columns::<T, F, 8>(panel, chunks.clone(), records, sums)
                    }
                    4 => columns::<T, F, 4>(panel, chunks.clone(), records, sums),
                    2 => columns::<T, F, 2>(panel, chunks.clone(), records, sums),
                    _ => columns::<T, F, 1>(panel, chunks.clone(), records, sums),
                }
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
    const { assert!(PANEL_CHUNKS.is_multiple_of(8), "whole blocks") };
    let per_block = F::Scales::CHUNKS;
    let n_scales = F::Scales::SUBS * (1 + F::Scales::HAS_MIN as usize);
    // SAFETY: the caller's promise.
    unsafe {
        for (at, chunk) in chunks.enumerate() {
            let scales = tile.add(chunk / per_block * F::Scales::BYTES);
            let codes = tile.add(scales_bytes + chunk * F::Codes::BYTES);
            let unpacked = (&raw mut (*panel).codes[at]).cast::<u8>();
            for half in 0..2 {
                for (v, codes) in F::Codes::half::<T>(codes, half).into_iter().enumerate() {
                    T::store_i(unpacked.add((4 * half + v) * LINE), codes);
                }
            }
            let shared = F::Scales::block::<T>(scales);
            let scales = F::Scales::chunk::<T>(shared, scales, chunk % per_block);
            let unpacked = (&raw mut (*panel).scales[at]).cast::<f32>();
            for (index, scale) in scales.into_iter().take(n_scales).enumerate() {
                T::store(unpacked.add(index * TILE_ROWS), scale);
            }
        }
    }
}

/// Adds the products of some chunks to `N` columns of `sums`; the first chunks of a tile start them.
///
/// # Safety
/// The CPU has the tier; the panel holds the chunks; `records` and `sums` are of `N` columns.
#[inline(always)]
unsafe fn columns<T: Tier, F: Format, const N: usize>(
    panel: *const Panel,
    chunks: Range<usize>,
    records: *const u32,
    sums: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [T::splat(0.0); N];
        if chunks.start > 0 {
            for (n, acc) in acc.iter_mut().enumerate() {
                *acc = T::load(sums.add(n * TILE_ROWS));
            }
        }
        let mut record = records;
        for at in 0..chunks.len() {
            let codes = (&raw const (*panel).codes[at]).cast::<u8>();
            let scales = (&raw const (*panel).scales[at]).cast::<f32>();
            // A vector that was not unpacked is not used either; the last one stands in for it.
            let last = F::Scales::SUBS * (1 + F::Scales::HAS_MIN as usize) - 1;
            let scales = [
                T::load(scales),
                T::load(scales.add(last.min(1) * TILE_ROWS)),
                T::load(scales.add(last.min(2) * TILE_ROWS)),
                T::load(scales.add(last.min(3) * TILE_ROWS)),
            ];
            add_chunk::<T, F, U8, N>(&mut acc, codes, scales, record);
            record = record.add(F::FIELDS * N);
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
