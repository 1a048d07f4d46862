//! Who computes what: the heads and tokens of every sequence are cut into tasks, which threads take whole or, where there
//! are few, block by block.

use std::mem::MaybeUninit;

use super::{
    AttentionArgs, AttentionRun, AttentionScratch, BLOCK, Kernels, MAX_PARTIALS_BYTES,
    MAX_ROW_VALUES, MAX_ROWS, PARTIAL_HEAD, Task,
};
use crate::KvLayer;
use crate::memory::Shared;
use crate::pool::Pool;

/// Runs of tokens that go over a block of positions together.
const BATCH: usize = 8;
/// Runs of blocks that a thread takes at least, so that none waits long for another.
const PIECES_OF_THREAD: usize = 16;

/// How the heads of one sequence are cut into tasks, and which units of work of a parallel region are its.
#[derive(Clone, Copy)]
pub(super) struct Plan {
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
