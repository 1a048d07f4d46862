//! Attention over one layer's caches, causal or not, written once for all tiers.
//!
//! Queries that share keys (the heads of a group, then neighbouring tokens of a sequence) are *rows* computed together.
//! Positions are walked in blocks, the pages of the cache, counted from the first position of the sequence: each block
//! has its own softmax, and blocks are merged in order. What a row gets therefore depends on its own positions alone,
//! not on how many rows, sequences or threads there are, and one row's blocks can be spread over threads.
//!
//! Queries are rounded as keys are, as ggml does: with a half-float cache to half floats (`ggml_vec_dot_f16`), so that
//! greedy text stays as close to the reference as its own variants are to each other, and to codes where keys are such
//! (`coded`).

mod coded;
mod plain;

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::KvLayer;
use crate::kv::{KvType, PAGE_POSITIONS as BLOCK, Q4, Q8, TILE_POSITIONS, VECTOR_DIMS};
use crate::memory::{Scratch, Shared};
use crate::ops;
use crate::pool::Pool;
use crate::tier::Tier;
use coded::Coded;
use plain::Plain;

/// Scratch that spreading rows over threads may take; both ways give the same bits.
const MAX_PARTIALS_BYTES: usize = 64 << 20;
/// Rows computed together at most.
const MAX_ROWS: usize = 12;
/// Rows times dimensions of a head computed together at most.
const MAX_ROW_VALUES: usize = 3072;

/// Runs of tokens that go over a block of positions together.
const BATCH: usize = 8;
/// Runs of blocks that a thread takes at least, so that none waits long for another.
const PIECES_OF_THREAD: usize = 16;
/// With so few rows keys and values are read from memory for each: what comes next is asked for meanwhile. (That it may
/// not be there does not matter.)
const FEW_ROWS: usize = 3;

/// What one call of [`Compute::attention`](crate::Compute::attention) computes.
#[derive(Clone, Copy, Debug)]
pub struct AttentionArgs {
    /// Query heads; a multiple of the cache's heads.
    pub n_heads: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Whether a query sees its own position and those before it only.
    pub is_causal: bool,
    /// How many positions a query sees, its own included; `None` for all. Where it looks both ways: half as many to
    /// either side, besides its own.
    pub window: Option<usize>,
    /// `cap * tanh(score / cap)` after the scale.
    pub softcap: Option<f32>,
}

/// The queries of one sequence: at the last positions of its cache.
#[derive(Clone, Copy)]
pub struct AttentionRun<'a> {
    /// The sequence's keys and values, those of its queries' positions included.
    pub kv: &'a KvLayer,
    /// How many queries.
    pub n_tokens: usize,
}

/// Reusable scratch of [`Compute::attention`](crate::Compute::attention).
#[derive(Default)]
pub struct AttentionScratch {
    partials: Scratch,
    plans: Vec<Plan>,
}

impl AttentionScratch {
    /// Bytes that it takes.
    pub fn size_bytes(&self) -> usize {
        self.partials.size_bytes()
    }

    /// Bytes that it takes at most, when `n_threads` compute sequences of `n_positions` with values of `v_head_dim`.
    pub fn bytes_at(n_threads: usize, n_positions: usize, v_head_dim: usize) -> usize {
        if n_threads == 1 {
            return 0;
        }
        let partial_len = PARTIAL_HEAD + MAX_ROWS * v_head_dim.next_multiple_of(2 * VECTOR_DIMS);
        let n_pieces = 4 * n_threads * n_positions.div_ceil(BLOCK);
        let bytes = n_pieces.saturating_mul(partial_len * size_of::<f32>());
        Scratch::rounded(bytes.min(MAX_PARTIALS_BYTES))
    }
}

/// Rows of one key head.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    args: &'a AttentionArgs,
    kv: &'a KvLayer,
    /// Queries of the sequence.
    n_queries: usize,
    /// Those queries, `[n_queries, n_heads, head_dim]`.
    q: &'a [f32],
    kv_head: usize,
    /// Heads of the group and tokens: row `r` is head `r % n` and token `r / n` of the `n` heads.
    first_head: usize,
    n_heads: usize,
    first_token: usize,
    n_tokens: usize,
}

/// Softmax over some positions: `values / sum`, where the largest score was `max`.
///
/// Lies in memory as `[max; MAX_ROWS] [sum; MAX_ROWS] [row][v_stride]`.
const PARTIAL_HEAD: usize = 2 * MAX_ROWS;

/// The kernels of a tier.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// Lays the queries of a task out for `block`, in [`MAX_ROW_VALUES`] floats.
    pub(crate) pack: unsafe fn(&Task<'_>, *mut f32),
    /// Attention of a task, with its packed queries, over one block of positions, into a partial.
    pub(crate) block: unsafe fn(&Task<'_>, *const f32, usize, *mut f32),
    /// Merges the second partial into the first: rows, floats of a row.
    pub(crate) merge: unsafe fn(*mut f32, *const f32, usize, usize),
}

/// How the heads of one sequence are cut into tasks, and which units of work of a parallel region are its.
#[derive(Clone, Copy)]
struct Plan {
    /// Where its queries begin among all.
    first_query: usize,
    n_queries: usize,
    /// Query heads of a task, and tasks that the heads of one key head make.
    heads_of_task: usize,
    parts_of_group: usize,
    tokens_of_task: usize,
    /// Runs of tokens.
    n_runs: usize,
    /// Tasks of one run of tokens.
    n_heads: usize,
    n_blocks: usize,
    first_unit: usize,
    /// Where its tasks begin among all.
    first_task: usize,
}

impl Plan {
    fn n_tasks(&self) -> usize {
        self.n_runs * self.n_heads
    }

    /// Task `index`: the last tokens see most, so they come first, and no thread is left with much at the end.
    fn task<'a>(
        &self,
        args: &'a AttentionArgs,
        kv: &'a KvLayer,
        q: &'a [f32],
        index: usize,
    ) -> Task<'a> {
        let (run, head) = (self.n_runs - 1 - index / self.n_heads, index % self.n_heads);
        let (kv_head, part) = (head / self.parts_of_group, head % self.parts_of_group);
        let group = args.n_heads / kv.layout.n_kv_heads;
        let first_head = part * self.heads_of_task;
        let first_token = run * self.tokens_of_task;
        let row = args.n_heads * kv.layout.head_dim;
        Task {
            args,
            kv,
            n_queries: self.n_queries,
            q: &q[self.first_query * row..][..self.n_queries * row],
            kv_head,
            first_head: kv_head * group + first_head,
            n_heads: self.heads_of_task.min(group - first_head),
            first_token,
            n_tokens: self.tokens_of_task.min(self.n_queries - first_token),
        }
    }
}

/// Cuts the heads and tokens of every sequence into tasks.
fn plan(plans: &mut Vec<Plan>, args: &AttentionArgs, runs: &[AttentionRun<'_>]) {
    plans.clear();
    let (mut first_query, mut first_task) = (0, 0);
    for run in runs {
        let layout = &run.kv.layout;
        let max_rows = MAX_ROWS
            .min(MAX_ROW_VALUES / layout.k_stride.max(layout.v_stride))
            .max(1);
        let group = args.n_heads / layout.n_kv_heads;
        let heads_of_task = group.min(max_rows);
        let parts_of_group = group.div_ceil(heads_of_task);
        let tokens_of_task = (max_rows / heads_of_task).min(run.n_tokens).max(1);
        let plan = Plan {
            first_query,
            n_queries: run.n_tokens,
            heads_of_task,
            parts_of_group,
            tokens_of_task,
            n_runs: run.n_tokens.div_ceil(tokens_of_task),
            n_heads: layout.n_kv_heads * parts_of_group,
            n_blocks: run.kv.len.div_ceil(BLOCK),
            first_unit: 0,
            first_task,
        };
        first_query += run.n_tokens;
        first_task += plan.n_tasks();
        plans.push(plan);
    }
}

/// Gives every plan so many units of work; returns their number.
fn number_units(plans: &mut [Plan], n_units: impl Fn(&Plan) -> usize) -> usize {
    let mut first_unit = 0;
    for plan in plans {
        plan.first_unit = first_unit;
        first_unit += n_units(plan);
    }
    first_unit
}

/// The sequence that `unit` belongs to, and its number there.
fn of_unit(plans: &[Plan], unit: usize) -> (usize, usize) {
    // sequences without work have no unit: the last that begins here has it
    let index = plans.partition_point(|plan| plan.first_unit <= unit) - 1;
    (index, unit - plans[index].first_unit)
}

/// See [`Compute::attention`](crate::Compute::attention), which has checked the shapes.
///
/// # Safety
/// The CPU has the tier of `kernels`.
pub(crate) unsafe fn attention(
    kernels: Kernels,
    pool: &Pool,
    scratch: &mut AttentionScratch,
    args: &AttentionArgs,
    runs: &[AttentionRun<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let AttentionScratch { partials, plans } = scratch;
    plan(plans, args, runs);
    let out = Shared(out.as_mut_ptr());
    let n_tasks: usize = plans.iter().map(Plan::n_tasks).sum();
    let n_pieces = number_units(plans, |plan| plan.n_tasks() * plan.n_blocks);
    let stride = runs.iter().map(|run| run.kv.layout.v_stride).max();
    let partial_len = PARTIAL_HEAD + MAX_ROWS * stride.unwrap_or(0);
    let partials_bytes = n_pieces * partial_len * size_of::<f32>();
    let are_few = n_tasks < 4 * pool.n_threads() && pool.n_threads() > 1;
    if are_few && n_pieces > n_tasks && partials_bytes <= MAX_PARTIALS_BYTES {
        let partials = Shared(partials.at_least(partials_bytes).as_mut_ptr().cast::<f32>());
        let plans = &plans[..];
        // neighbours share their queries, and each asks for what the next one reads
        let grain = n_pieces / (PIECES_OF_THREAD * pool.n_threads());
        pool.parallel_for(n_pieces, grain, &|pieces| {
            let mut queries = MaybeUninit::<[f32; MAX_ROW_VALUES]>::uninit();
            let queries = queries.as_mut_ptr().cast::<f32>();
            let mut packed = None;
            for piece in pieces {
                let (sequence, index) = of_unit(plans, piece);
                let (plan, kv) = (&plans[sequence], runs[sequence].kv);
                let (number, block) = (index / plan.n_blocks, index % plan.n_blocks);
                let task = plan.task(args, kv, q, number);
                if task.blocks().contains(&block) {
                    // SAFETY: the caller's promise; every piece has its own partial; queries are packed before they are
                    // read.
                    unsafe {
                        let partial = partials.get().add(piece * partial_len);
                        if packed != Some((sequence, number)) {
                            (kernels.pack)(&task, queries);
                            packed = Some((sequence, number));
                        }
                        (kernels.block)(&task, queries, block, partial);
                    }
                }
            }
        });
        pool.parallel_for(n_tasks, 1, &|tasks| {
            for index in tasks {
                let sequence = plans.partition_point(|plan| plan.first_task <= index) - 1;
                let (plan, kv) = (&plans[sequence], runs[sequence].kv);
                let index = index - plan.first_task;
                let task = plan.task(args, kv, q, index);
                let blocks = task.blocks();
                let partial = |block: usize| {
                    let piece = plan.first_unit + index * plan.n_blocks + block;
                    // SAFETY: within the scratch, as above.
                    unsafe { partials.get().add(piece * partial_len) }
                };
                let sum = partial(blocks.start);
                for block in blocks.start + 1..blocks.end {
                    // SAFETY: the caller's promise; two partials written above.
                    unsafe {
                        (kernels.merge)(sum, partial(block), task.n_rows(), kv.layout.v_stride);
                    }
                }
                // SAFETY: a task's rows are its own.
                unsafe { task.finish(sum, plan.rows_of(&task, out)) };
            }
        });
    } else {
        // Several runs of tokens go over a block of positions together, while it lies in the second-level cache.
        let n_units = number_units(plans, |plan| plan.n_runs.div_ceil(BATCH) * plan.n_heads);
        let plans = &plans[..];
        pool.parallel_for(n_units, 1, &|units| {
            let mut rows = [const { MaybeUninit::<Rows>::uninit() }; BATCH];
            let mut partial = MaybeUninit::<[f32; PARTIAL_HEAD + MAX_ROW_VALUES]>::uninit();
            let partial = partial.as_mut_ptr().cast::<f32>();
            for unit in units {
                let (sequence, index) = of_unit(plans, unit);
                let (plan, kv) = (&plans[sequence], runs[sequence].kv);
                let task = |index: usize| plan.task(args, kv, q, index);
                let (batch, head) = (index / plan.n_heads, index % plan.n_heads);
                let runs = batch * BATCH..plan.n_runs.min((batch + 1) * BATCH);
                let last = task(runs.start * plan.n_heads);
                let first = task((runs.end - 1) * plan.n_heads);
                let mut tasks = rows.iter_mut().zip(runs).map(|(rows, run)| {
                    let rows = rows.as_mut_ptr();
                    // SAFETY: fields of what `rows` has room for.
                    let (queries, sum) =
                        unsafe { (&raw mut (*rows).queries, &raw mut (*rows).sum) };
                    (
                        task(run * plan.n_heads + head),
                        queries.cast::<f32>(),
                        sum.cast::<f32>(),
                    )
                });
                let tasks: [Option<_>; BATCH] = std::array::from_fn(|_| tasks.next());
                let tasks = || tasks.iter().flatten();
                // SAFETY: the caller's promise; queries are packed and a task's first block is written before they are
                // read; a task's rows of `out` are its own.
                unsafe {
                    for (task, queries, _) in tasks() {
                        (kernels.pack)(task, *queries);
                    }
                    for block in first.blocks().start..last.blocks().end {
                        for (task, queries, sum) in tasks() {
                            let blocks = task.blocks();
                            if block == blocks.start {
                                (kernels.block)(task, *queries, block, *sum);
                            } else if blocks.contains(&block) {
                                (kernels.block)(task, *queries, block, partial);
                                (kernels.merge)(*sum, partial, task.n_rows(), kv.layout.v_stride);
                            }
                        }
                    }
                    for (task, _, sum) in tasks() {
                        task.finish(*sum, plan.rows_of(task, out));
                    }
                }
            }
        });
    }
}

impl Plan {
    /// Where the outputs of its sequence begin.
    fn rows_of(&self, task: &Task<'_>, out: Shared<f32>) -> *mut f32 {
        let row = task.args.n_heads * task.kv.layout.v_head_dim;
        out.get().wrapping_add(self.first_query * row)
    }
}

/// What the rows of a task need while they go over the positions.
#[repr(C, align(64))]
struct Rows {
    queries: [f32; MAX_ROW_VALUES],
    /// The partial of the blocks so far.
    sum: [f32; PARTIAL_HEAD + MAX_ROW_VALUES],
}

impl Task<'_> {
    fn n_rows(&self) -> usize {
        self.n_heads * self.n_tokens
    }

    /// Where a row's query and output are: token, head.
    fn place(&self, row: usize) -> (usize, usize) {
        (
            self.first_token + row / self.n_heads,
            self.first_head + row % self.n_heads,
        )
    }

    /// The positions that a row sees.
    fn positions(&self, row: usize) -> Range<usize> {
        let end = self.kv.len - self.n_queries + self.place(row).0 + 1;
        match self.args.window {
            window if self.args.is_causal => end - window.unwrap_or(end).min(end)..end,
            Some(window) => {
                let reach = window / 2;
                (end - 1).saturating_sub(reach)..end.saturating_add(reach).min(self.kv.len)
            }
            None => 0..self.kv.len,
        }
    }

    /// The positions that some row sees.
    fn all_positions(&self) -> Range<usize> {
        self.positions(0).start..self.positions(self.n_rows() - 1).end
    }

    /// The blocks that some row sees.
    fn blocks(&self) -> Range<usize> {
        let positions = self.all_positions();
        positions.start / BLOCK..positions.end.div_ceil(BLOCK)
    }

    /// Divides by the sums and writes the outputs.
    ///
    /// # Safety
    /// `partial` is this task's, `out` is the sequence's `[n_queries, n_heads, v_head_dim]`.
    unsafe fn finish(&self, partial: *const f32, out: *mut f32) {
        let v_head_dim = self.kv.layout.v_head_dim;
        let v_stride = self.kv.layout.v_stride;
        for row in 0..self.n_rows() {
            let (token, head) = self.place(row);
            // SAFETY: the caller's promise.
            unsafe {
                let scale = 1.0 / partial.add(MAX_ROWS + row).read();
                let values = partial.add(PARTIAL_HEAD + row * v_stride);
                let out = out.add((token * self.args.n_heads + head) * v_head_dim);
                for dim in 0..v_head_dim {
                    out.add(dim).write(values.add(dim).read() * scale);
                }
            }
        }
    }
}

/// How the cache stores keys and values, see [`KvType`].
trait Stored {
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
struct Keys {
    start: *const u8,
    /// Bytes from tile to tile.
    tile_stride: usize,
    /// What is read next.
    next: *const u8,
}

/// A head's values in a page, from the first tile that is wanted.
#[derive(Clone, Copy)]
struct Values {
    start: *const u8,
    /// Bytes from tile to tile.
    tile_stride: usize,
    /// Bytes from unit to unit of dimensions, see [`Layout`](crate::kv::Layout).
    unit_stride: usize,
    /// Floats from row to row of what is added up.
    v_stride: usize,
    /// What is read next.
    next: *const u8,
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
    unsafe fn unit(&self, dims: usize, dim: usize, n: usize) -> (*const u8, *const u8) {
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
