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
//!
//! `plan` says who computes what, `block` computes, and `plain` and `coded` know how keys and values are stored.

mod block;
mod coded;
mod plain;
mod plan;

use std::ops::Range;

use crate::KvLayer;
use crate::kv::{PAGE_POSITIONS as BLOCK, VECTOR_DIMS};
use crate::memory::Scratch;
pub(crate) use block::{block, merge, pack};
use plan::Plan;
pub(crate) use plan::attention;

/// Scratch that spreading rows over threads may take; both ways give the same bits.
const MAX_PARTIALS_BYTES: usize = 64 << 20;
/// Rows computed together at most.
const MAX_ROWS: usize = 12;
/// Rows times dimensions of a head computed together at most.
const MAX_ROW_VALUES: usize = 3072;
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
