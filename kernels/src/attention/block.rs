//! The rows of a task against one block of positions: scores, their softmax, and the sum of the values.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::coded::Coded;
use super::plain::Plain;
use super::{AttentionArgs, BLOCK, FEW_ROWS, MAX_ROWS, PARTIAL_HEAD, Task};
use crate::kv::{KvType, Q4, Q8, TILE_POSITIONS};
use crate::ops;
use crate::tier::Tier;

/// How the cache stores keys and values, see [`KvType`].
pub(super) trait Stored {
    /// Lays `N` queries out as [`Stored::score_tiles`] wants them.
    ///
    /// # Safety
    /// The CPU has the tier; no query is longer than `k_stride`, and `packed` has room for `N * k_stride` floats.
    unsafe fn pack<'q, T: Tier, const N: usize>(
        k_stride: usize,
        queries: impl Iterator<Item = &'q [f32]>,
        packed: *mut f32,
    );

    /// `q · k` of the packed queries and the positions of `P` tiles of a head's keys.
    ///
    /// # Safety
    /// As for [`score_rows`].
    unsafe fn score_tiles<T: Tier, const N: usize, const P: usize>(
        queries: *const f32,
        k_stride: usize,
        keys: Keys,
        scores: *mut f32,
    );

    /// `Σ p · v` of `N` rows over the positions `lanes`, counted from the first tile; `P` vectors of dimensions at a
    /// time.
    ///
    /// # Safety
    /// As for [`block`]; `probabilities` and `out` are of the first of the rows.
    unsafe fn add_values<T: Tier, const N: usize, const P: usize>(
        values: Values,
        lanes: Range<usize>,
        probabilities: *const f32,
        out: *mut f32,
    );
}

/// A head's keys in a page, from a tile on.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) start: *const u8,
    /// Bytes from tile to tile.
    pub(super) tile_stride: usize,
    /// What is read next.
    pub(super) next: *const u8,
}

/// A head's values in a page, from the first tile that is wanted.
#[derive(Clone, Copy)]
pub(super) struct Values {
    pub(super) start: *const u8,
    /// Bytes from tile to tile.
    pub(super) tile_stride: usize,
    /// Bytes from unit to unit of dimensions, see [`Layout`](crate::kv::Layout).
    pub(super) unit_stride: usize,
    /// Floats from row to row of what is added up.
    pub(super) v_stride: usize,
    /// What is read next.
    pub(super) next: *const u8,
}

/// Calls `$body` with `$width` bound to a constant and `$first` to a row, over all rows.
macro_rules! for_rows {
    ($n_rows:expr, $first:ident, $call:ident::<$tier:ty, $element:ty>($($argument:expr),*)) => {
        let mut $first = 0;
        while $first < $n_rows {
            let left = $n_rows - $first;
            $first += match left {
                12.. if <$tier>::WIDTHS[0] >= 12 => { $call::<$tier, $element, 12, 1>($($argument),*); 12 }
                6.. if <$tier>::WIDTHS[0] >= 12 => { $call::<$tier, $element, 6, 2>($($argument),*); 6 }
                6.. => { $call::<$tier, $element, 6, 1>($($argument),*); 6 }
                4.. => { $call::<$tier, $element, 4, 1>($($argument),*); 4 }
                3 if <$tier>::WIDTHS[0] >= 8 => { $call::<$tier, $element, 3, 4>($($argument),*); 3 }
                3 => { $call::<$tier, $element, 3, 2>($($argument),*); 3 }
                2 if <$tier>::WIDTHS[0] >= 8 => { $call::<$tier, $element, 2, 4>($($argument),*); 2 }
                2 => { $call::<$tier, $element, 2, 2>($($argument),*); 2 }
                _ => { $call::<$tier, $element, 1, 4>($($argument),*); 1 }
            };
        }
    };
}

/// Attention of `task` over one block.
///
/// # Safety
/// The CPU has the tier; `partial` has room.
#[inline(always)]
pub(crate) unsafe fn block<T: Tier>(
    task: &Task<'_>,
    queries: *const f32,
    block: usize,
    partial: *mut f32,
) {
    // SAFETY: the caller's promise; the type is that of the cache.
    unsafe {
        match task.kv.layout.kv_type {
            KvType::F16 => block_of::<T, Plain<u16>>(task, queries, block, partial),
            KvType::F32 => block_of::<T, Plain<f32>>(task, queries, block, partial),
            KvType::Q8_0 => block_of::<T, Coded<Q8>>(task, queries, block, partial),
            KvType::Q4_0 => block_of::<T, Coded<Q4>>(task, queries, block, partial),
        }
    }
}

/// Lays the queries of `task` out: those of the rows computed together, one such group after another.
///
/// # Safety
/// The CPU has the tier; `packed` has room for [`MAX_ROW_VALUES`] floats.
#[inline(always)]
pub(crate) unsafe fn pack<T: Tier>(task: &Task<'_>, packed: *mut f32) {
    let n_rows = task.n_rows();
    // SAFETY: the caller's promise.
    unsafe {
        match task.kv.layout.kv_type {
            KvType::F16 => {
                for_rows!(
                    n_rows,
                    first,
                    pack_rows::<T, Plain<u16>>(task, first, packed)
                );
            }
            KvType::F32 => {
                for_rows!(
                    n_rows,
                    first,
                    pack_rows::<T, Plain<f32>>(task, first, packed)
                );
            }
            KvType::Q8_0 => {
                for_rows!(
                    n_rows,
                    first,
                    pack_rows::<T, Coded<Q8>>(task, first, packed)
                );
            }
            KvType::Q4_0 => {
                for_rows!(
                    n_rows,
                    first,
                    pack_rows::<T, Coded<Q4>>(task, first, packed)
                );
            }
        }
    }
}

/// Scores and then probabilities of all rows in a block.
#[repr(C, align(64))]
struct Scores([[f32; BLOCK]; MAX_ROWS]);

/// # Safety
/// As for [`block`]; `S` is how the cache stores.
#[inline(always)]
unsafe fn block_of<T: Tier, S: Stored>(
    task: &Task<'_>,
    queries: *const f32,
    block: usize,
    partial: *mut f32,
) {
    let n_rows = task.n_rows();
    let all = task.all_positions();
    let start = block * BLOCK;
    let positions = all.start.max(start)..all.end.min(start + BLOCK);
    // counted from the first tile of the page
    let first_tile = (positions.start - start) / TILE_POSITIONS;
    let n_tiles = (positions.end - start).div_ceil(TILE_POSITIONS) - first_tile;
    let mut scores = MaybeUninit::<Scores>::uninit();
    let scores = scores.as_mut_ptr().cast::<f32>();
    let layout = &task.kv.layout;
    let page = task.kv.page(block, positions.end - start).as_slice();
    assert!(page.len() == layout.page_bytes() && task.kv_head < layout.n_kv_heads);
    let (keys, values) = page.split_at(layout.page_keys_bytes());
    let next_block = match block + 1 {
        next if n_rows <= FEW_ROWS && next < task.blocks().end => {
            task.kv.page(next, 1).as_slice().as_ptr()
        }
        _ => page.as_ptr(),
    };
    // SAFETY: a page has the tiles of all its positions, for all heads; `scores` has all rows and `partial` room, and
    // both are written before they are read.
    unsafe {
        let head_keys = task.kv_head * layout.head_keys();
        let values = Values {
            start: values
                .as_ptr()
                .add(task.kv_head * layout.head_values() + first_tile * layout.values_tile()),
            tile_stride: layout.values_tile(),
            unit_stride: layout.values_unit(),
            v_stride: layout.v_stride,
            next: next_block.add(head_keys),
        };
        let keys = Keys {
            start: keys
                .as_ptr()
                .add(head_keys + first_tile * layout.keys_tile()),
            tile_stride: layout.keys_tile(),
            next: values.start,
        };
        for_rows!(
            n_rows,
            first,
            score_rows::<T, S>(task, first, queries, keys, n_tiles, scores)
        );
        for row in 0..n_rows {
            let scores = scores.add(row * BLOCK);
            let visible = task.positions(row);
            let (max, sum) = softmax::<T>(
                task.args,
                scores,
                start + first_tile * TILE_POSITIONS,
                n_tiles,
                visible,
            );
            partial.add(row).write(max);
            partial.add(MAX_ROWS + row).write(sum);
        }
        let out = partial.add(PARTIAL_HEAD);
        let first_lane = positions.start % TILE_POSITIONS;
        let lanes = first_lane..first_lane + positions.len();
        for_rows!(
            n_rows,
            first,
            add_values_of::<T, S>(
                values,
                lanes.clone(),
                scores.add(first * BLOCK),
                out.add(first * layout.v_stride)
            )
        );
    }
}

/// Packs the queries of `N` rows from `first` on.
///
/// # Safety
/// As for [`pack`]; the rows are the task's.
#[inline(always)]
unsafe fn pack_rows<T: Tier, S: Stored, const N: usize, const P: usize>(
    task: &Task<'_>,
    first: usize,
    packed: *mut f32,
) {
    let (head_dim, k_stride) = (task.kv.layout.head_dim, task.kv.layout.k_stride);
    let queries = (first..first + N).map(|row| {
        let (token, head) = task.place(row);
        &task.q[(token * task.args.n_heads + head) * head_dim..][..head_dim]
    });
    // SAFETY: the caller's promise; a task's rows times its dimensions fit `packed`.
    unsafe { S::pack::<T, N>(k_stride, queries, packed.add(first * k_stride)) };
}

/// [`Stored::add_values`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn add_values_of<T: Tier, S: Stored, const N: usize, const P: usize>(
    values: Values,
    lanes: Range<usize>,
    probabilities: *const f32,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe { S::add_values::<T, N, P>(values, lanes, probabilities, out) }
}

/// `q · k` of `N` rows from `first` on, over `n_tiles` tiles, `P` of them at a time.
///
/// # Safety
/// As for [`block`]; the rows are the task's, `scores` has room for all rows.
#[inline(always)]
unsafe fn score_rows<T: Tier, S: Stored, const N: usize, const P: usize>(
    task: &Task<'_>,
    first: usize,
    queries: *const f32,
    keys: Keys,
    n_tiles: usize,
    scores: *mut f32,
) {
    let k_stride = task.kv.layout.k_stride;
    // SAFETY: the caller's promise; the task's queries are packed.
    unsafe {
        let packed = queries.add(first * k_stride);
        let scores = scores.add(first * BLOCK);
        let from = |tile: usize, n: usize| Keys {
            start: keys.start.add(tile * keys.tile_stride),
            next: match tile + n {
                next if next < n_tiles => keys.start.add(next * keys.tile_stride),
                _ => keys.next,
            },
            ..keys
        };
        let mut tile = 0;
        while tile + P <= n_tiles {
            let scores = scores.add(tile * TILE_POSITIONS);
            S::score_tiles::<T, N, P>(packed, k_stride, from(tile, P), scores);
            tile += P;
        }
        while tile < n_tiles {
            let scores = scores.add(tile * TILE_POSITIONS);
            S::score_tiles::<T, N, 1>(packed, k_stride, from(tile, 1), scores);
            tile += 1;
        }
    }
}

/// Lanes to keep (all bits) and what the others become, `-inf`: 16 of each kind in the middle, others around.
static KEEP: [i32; 48] = mask(0, -1);
static FILL: [i32; 48] = mask(f32::NEG_INFINITY.to_bits() as i32, 0);

const fn mask(outside: i32, inside: i32) -> [i32; 48] {
    let mut lanes = [outside; 48];
    let mut lane = 16;
    while lane < 32 {
        lanes[lane] = inside;
        lane += 1;
    }
    lanes
}

/// Turns the scores of one row into `e^(score - max)`; returns the largest score and the sum.
///
/// # Safety
/// The CPU has the tier; `scores` has `n_tiles` tiles, the first at position `first`.
#[inline(always)]
unsafe fn softmax<T: Tier>(
    args: &AttentionArgs,
    scores: *mut f32,
    first: usize,
    n_tiles: usize,
    visible: Range<usize>,
) -> (f32, f32) {
    // SAFETY: the caller's promise; masks are read at 0..=32 of 48.
    unsafe {
        let mut max = T::splat(f32::NEG_INFINITY);
        for tile in 0..n_tiles {
            let tile_scores = scores.add(tile * TILE_POSITIONS);
            let mut score = T::mul(T::load(tile_scores), T::splat(args.scale));
            if let Some(cap) = args.softcap {
                score = ops::capped::<T>(score, cap);
            }
            let at = first + tile * TILE_POSITIONS;
            let hidden_before = visible.start.saturating_sub(at).min(16);
            let shown = visible.end.saturating_sub(at).min(16);
            if hidden_before > 0 {
                score = hide::<T>(score, 16 - hidden_before);
            }
            if shown < 16 {
                score = hide::<T>(score, 32 - shown);
            }
            T::store(tile_scores, score);
            max = T::max(max, score);
        }
        let max = T::reduce_max(max);
        // Where a row sees nothing of the block, every probability is e^-inf = 0.
        let shift = T::splat(if max == f32::NEG_INFINITY { 0.0 } else { max });
        let mut sum = T::splat(0.0);
        for tile in 0..n_tiles {
            let tile_scores = scores.add(tile * TILE_POSITIONS);
            let p = T::exp(T::sub(T::load(tile_scores), shift));
            T::store(tile_scores, p);
            sum = T::add(sum, p);
        }
        (max, T::reduce_add(sum))
    }
}

/// `-inf` in the lanes that the masks from `at` on do not keep.
#[inline(always)]
unsafe fn hide<T: Tier>(score: T::F, at: usize) -> T::F {
    // SAFETY: the caller's promise: 16 lanes from `at` on are within the masks.
    unsafe {
        let keep = T::load_i(KEEP.as_ptr().add(at).cast());
        let fill = T::load_i(FILL.as_ptr().add(at).cast());
        T::from_bits(T::or(T::and(T::bits(score), keep), fill))
    }
}

impl Values {
    /// The unit of `dims` dimensions that `dim` lies in, and what to ask for meanwhile: what comes `n` dimensions later,
    /// behind the last one what is read next.
    ///
    /// # Safety
    /// The head has the dimension.
    #[inline(always)]
    pub(super) unsafe fn unit(&self, dims: usize, dim: usize, n: usize) -> (*const u8, *const u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let unit = self.start.add(dim / dims * self.unit_stride);
            let next = match dim + n {
                next if next < self.v_stride => self.start.add(next / dims * self.unit_stride),
                next => {
                    let later = (next - self.v_stride) / dims * self.unit_stride;
                    self.next.wrapping_add(later)
                }
            };
            (unit, next)
        }
    }
}

/// Merges `other`, of the positions that follow, into `sum`.
///
/// # Safety
/// The CPU has the tier; both are partials of `n_rows` rows.
#[inline(always)]
pub(crate) unsafe fn merge<T: Tier>(
    sum: *mut f32,
    other: *const f32,
    n_rows: usize,
    v_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for row in 0..n_rows {
            let (max_a, max_b) = (sum.add(row).read(), other.add(row).read());
            if max_b == f32::NEG_INFINITY {
                continue;
            }
            let max = if max_a > max_b { max_a } else { max_b };
            let a = T::exp(T::sub(T::splat(max_a), T::splat(max)));
            let b = T::exp(T::sub(T::splat(max_b), T::splat(max)));
            sum.add(row).write(max);
            let sum_a = T::splat(sum.add(MAX_ROWS + row).read());
            let sum_b = T::splat(other.add(MAX_ROWS + row).read());
            let total = T::mul_add(sum_a, a, T::mul(sum_b, b));
            sum.add(MAX_ROWS + row).write(T::to_array(total)[0]);
            let values = sum.add(PARTIAL_HEAD + row * v_stride);
            let more = other.add(PARTIAL_HEAD + row * v_stride);
            for dim in (0..v_stride).step_by(16) {
                let more = T::mul(T::load(more.add(dim)), b);
                T::store(
                    values.add(dim),
                    T::mul_add(T::load(values.add(dim)), a, more),
                );
            }
        }
    }
}
