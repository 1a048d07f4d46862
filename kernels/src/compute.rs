//! [`Compute`]: one CPU tier and one thread pool, and the operations that run on them.

use std::ops::Range;

use crate::activations::{RecordKind, SPAN, cut_into_groups};
use crate::attention;
use crate::dispatch::{self, KernelTable};
use crate::matmul::Job;
use crate::memory::{Arena, Shared};
use crate::pool::Pool;
use crate::recurrent::{Convolution, DeltaTask};
use crate::{
    Activations, AttentionArgs, AttentionRun, AttentionScratch, DeltaShape, Isa, Matrix,
    UnsupportedCpu,
};

/// Weights that a thread takes at once, at least: enough to be worth the taking, a few microseconds.
const GRAIN_BYTES: usize = 32 << 10;
/// Values of small operations that a thread takes at once, at least.
const GRAIN_VALUES: usize = 16 << 10;
/// Values of activations from which on they are quantised by several threads.
const GRAIN_ACTIVATIONS: usize = 4 << 10;

/// So many tokens at once take hardly longer than one, since reading the weights takes as long as computing with them.
const NARROW: usize = 8;

/// How many threads this process may run at once: CPU affinity and cgroup quota counted, at least 1.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Which dimensions of a head a rotation pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Dimensions `2i` and `2i + 1`.
    Norm,
    /// Dimensions `i` and `i + n_rot / 2`.
    Neox,
}

/// One CPU tier and one thread pool. Used by one engine thread at a time.
pub struct Compute {
    kernels: &'static KernelTable,
    pool: Pool,
    arena: Arena,
    /// Threads for few tokens.
    n_narrow: usize,
}

impl Compute {
    /// Starts `n_threads - 1` threads (the caller is the last one) for `isa`, by default the best that this CPU has.
    ///
    /// # Errors
    /// When this CPU lacks `isa`.
    pub fn new(n_threads: usize, isa: Option<Isa>) -> Result<Compute, UnsupportedCpu> {
        let kernels = dispatch::table(isa.unwrap_or_else(Isa::best))?;
        Ok(Compute {
            kernels,
            pool: Pool::new(n_threads),
            arena: Arena::default(),
            n_narrow: n_threads,
        })
    }

    /// With only `n_threads` of them for few tokens at once ([`Compute::prepare`]): what is bound by memory gains nothing
    /// by slow cores.
    pub fn with_narrow(self, n_threads: usize) -> Compute {
        Compute {
            n_narrow: n_threads,
            ..self
        }
    }

    /// Chooses the threads for what follows: operations on `n_tokens` tokens. Changes no result.
    pub fn prepare(&self, n_tokens: usize) {
        let n_threads = if n_tokens <= NARROW {
            self.n_narrow
        } else {
            self.n_threads()
        };
        self.pool.use_threads(n_threads);
    }

    /// The tier that runs.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// How many threads compute, the caller included.
    pub fn n_threads(&self) -> usize {
        self.pool.n_threads()
    }

    /// Where its matrices lie.
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Runs `task` over disjoint sub-ranges of `0..n_items`, of `grain` items at least, on all threads (the caller is
    /// one), and returns when all are done. A panic of a task is carried to the caller.
    pub fn parallel_for(&self, n_items: usize, grain: usize, task: &(dyn Fn(Range<usize>) + Sync)) {
        self.pool.parallel_for(n_items, grain, task);
    }

    /// `y = W x` for each token and each matrix.
    ///
    /// `x` is `[n_tokens, n_cols]`; `outputs[i].1` is `[n_tokens, outputs[i].0.n_rows()]`, all row-major. One
    /// quantisation of `x` and one parallel region serve all matrices.
    ///
    /// # Panics
    /// When the shapes disagree.
    pub fn matmul(
        &self,
        scratch: &mut Activations,
        x: &[f32],
        n_tokens: usize,
        outputs: &mut [(&Matrix, &mut [f32])],
    ) {
        let Some(n_cols) = outputs.first().map(|(matrix, _)| matrix.n_cols()) else {
            return;
        };
        assert_eq!(x.len(), n_tokens * n_cols, "the activations' length");
        for (matrix, out) in outputs.iter() {
            assert_eq!(matrix.n_cols(), n_cols, "the matrices' columns");
            assert_eq!(out.len(), n_tokens * matrix.n_rows(), "the outputs' length");
        }
        if n_tokens == 0 {
            return;
        }
        scratch.groups.clear();
        cut_into_groups(0..n_tokens, self.kernels.widths, &mut scratch.groups);
        let groups = 0..scratch.groups.len();
        let products = outputs.iter_mut().map(|(matrix, out)| Product {
            matrix,
            groups: groups.clone(),
            out: Shared(out.as_mut_ptr()),
        });
        let products: Vec<Product<'_>> = products.collect();
        let grain = GRAIN_BYTES / (products[0].matrix.shape().tile_bytes * n_tokens);
        // SAFETY: the lengths were checked above; each output is its own slice.
        unsafe { self.multiply(scratch, x, n_cols, grain, &products) };
    }

    /// `y = W x` with another matrix for each run of tokens, as the experts of a mixture have it.
    ///
    /// `x` is `[n_tokens, n_cols]`, its tokens in runs of `runs[j]`; `outputs[i].0[j]` is the matrix of run `j`, and
    /// `outputs[i].1` is `[n_tokens, n_rows]`, all row-major. One quantisation of `x` and one parallel region serve
    /// all matrices.
    ///
    /// # Panics
    /// When the shapes disagree.
    pub fn matmul_by_runs(
        &self,
        scratch: &mut Activations,
        x: &[f32],
        runs: &[usize],
        outputs: &mut [(&[&Matrix], &mut [f32])],
    ) {
        let n_tokens: usize = runs.iter().sum();
        let all = outputs.iter().flat_map(|(matrices, _)| matrices.iter());
        let Some(largest) = all.max_by_key(|matrix| matrix.shape().tile_bytes) else {
            return;
        };
        let (n_cols, largest) = (largest.n_cols(), largest.shape().tile_bytes);
        assert_eq!(x.len(), n_tokens * n_cols, "the activations' length");
        if n_tokens == 0 {
            return;
        }
        let mut ranges = Vec::with_capacity(runs.len());
        let mut first = 0;
        scratch.groups.clear();
        for &n in runs {
            let start = scratch.groups.len();
            let columns = first..first + n;
            cut_into_groups(columns, self.kernels.widths, &mut scratch.groups);
            ranges.push(start..scratch.groups.len());
            first += n;
        }
        let mut products = Vec::with_capacity(outputs.len() * runs.len());
        for (matrices, out) in outputs.iter_mut() {
            assert_eq!(matrices.len(), runs.len(), "a matrix for each run");
            let out_start = Shared(out.as_mut_ptr());
            for (matrix, groups) in matrices.iter().zip(&ranges) {
                assert_eq!(matrix.n_cols(), n_cols, "the matrices' columns");
                assert_eq!(out.len(), n_tokens * matrix.n_rows(), "the outputs' length");
                products.push(Product {
                    matrix,
                    groups: groups.clone(),
                    out: out_start,
                });
            }
        }
        let grain = GRAIN_BYTES / (largest * n_tokens.div_ceil(runs.len()));
        // SAFETY: the lengths were checked above; products of one output have columns of their own.
        unsafe { self.multiply(scratch, x, n_cols, grain, &products) };
    }

    /// Quantises `x` as the products want it, then computes all of them in one parallel region.
    ///
    /// # Safety
    /// `x` holds the columns of all groups of the scratch, `n_cols` values each; so does every matrix. Outputs have room
    /// for all those columns, and no two products have both an output and a column in common.
    unsafe fn multiply(
        &self,
        scratch: &mut Activations,
        x: &[f32],
        n_cols: usize,
        grain: usize,
        products: &[Product<'_>],
    ) {
        let groups = &scratch.groups[..];
        let n_tokens = x.len() / n_cols;
        let mut records = [Shared(std::ptr::null_mut()); 3];
        for kind in RecordKind::ALL {
            if products
                .iter()
                .any(|product| product.matrix.record_kind() == kind)
            {
                let fields = kind.fields(n_cols);
                let bytes = scratch.records[kind as usize].at_least(4 * n_tokens * fields);
                let start = Shared(bytes.as_mut_ptr().cast::<u32>());
                let n_spans = n_cols.div_ceil(SPAN);
                let grain = GRAIN_ACTIVATIONS.div_ceil(SPAN * groups[0].width);
                let n_items = groups.len() * n_spans;
                self.pool.parallel_for(n_items, grain, &|mut items| {
                    while !items.is_empty() {
                        let (group, span) = (groups[items.start / n_spans], items.start % n_spans);
                        let n = items.len().min(n_spans - span);
                        let values = span * SPAN..n_cols.min((span + n) * SPAN);
                        // SAFETY: the table proved the CPU; the scratch has room for the fields of all columns, and
                        // those of a group's values are their own; `pack` saw that blocks divide the columns.
                        unsafe {
                            let records = start.get().add(group.first * fields);
                            (self.kernels.write_group)(kind, x, n_cols, group, values, records);
                        }
                        items.start += n;
                    }
                });
                records[kind as usize] = start;
            }
        }

        let n_tiles = products
            .iter()
            .map(|product| product.matrix.n_tiles())
            .sum();
        self.pool.parallel_for(n_tiles, grain.max(1), &|range| {
            let mut first = 0;
            for product in products {
                let matrix = product.matrix;
                let end = first + matrix.n_tiles();
                let tiles = range.start.max(first)..range.end.min(end);
                if !tiles.is_empty() && !product.groups.is_empty() {
                    let job = Job {
                        weights: matrix.weights(),
                        shape: matrix.shape(),
                        tiles: tiles.start - first..tiles.end - first,
                        n_rows: matrix.n_rows(),
                        n_cols,
                        records: records[matrix.record_kind() as usize].get().cast_const(),
                        groups: &groups[product.groups.clone()],
                        out: product.out.get(),
                    };
                    // SAFETY: the table proved the CPU; the kernel is that of the matrix' format; records were written
                    // above; lengths are the caller's promise, and so is that tasks write to places of their own.
                    unsafe { (self.kernels.matmul)(matrix.quant_type())(&job) };
                }
                first = end;
            }
        });
    }

    /// `out = x * weight / sqrt(mean(x²) + eps)` for each row of `weight.len()` values.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "the output's length");
        assert!(x.len().is_multiple_of(weight.len()), "whole rows");
        self.by_rows(out, weight.len(), &|first, out| {
            let x = &x[first * weight.len()..][..out.len()];
            for (x, out) in x
                .chunks_exact(weight.len())
                .zip(out.chunks_exact_mut(weight.len()))
            {
                // SAFETY: the table proved the CPU.
                unsafe { (self.kernels.rms_norm)(x, weight, eps, out) };
            }
        });
    }

    /// `out = (x - mean(x)) * weight / sqrt(variance(x) + eps) + bias` for each row of `weight.len()` values.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "the output's length");
        assert_eq!(weight.len(), bias.len(), "the bias' length");
        assert!(x.len().is_multiple_of(weight.len()), "whole rows");
        self.by_rows(out, weight.len(), &|first, out| {
            let x = &x[first * weight.len()..][..out.len()];
            for (x, out) in x
                .chunks_exact(weight.len())
                .zip(out.chunks_exact_mut(weight.len()))
            {
                // SAFETY: the table proved the CPU.
                unsafe { (self.kernels.layer_norm)(x, weight, bias, eps, out) };
            }
        });
    }

    /// `x += y`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn add_assign(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "the terms' lengths");
        self.by_rows(x, 1, &|first, x| {
            // SAFETY: the table proved the CPU.
            unsafe { (self.kernels.add_assign)(x, &y[first..][..x.len()]) }
        });
    }

    /// `x *= y`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn mul_assign(&self, x: &mut [f32], y: &[f32]) {
        self.gate_mul(self.kernels.mul_assign, x, y);
    }

    /// `gate = sigmoid(gate) * up`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn sigmoid_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.gate_mul(self.kernels.sigmoid_mul, gate, up);
    }

    /// `gate = silu(gate) * up`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.gate_mul(self.kernels.silu_mul, gate, up);
    }

    /// `gate = gelu(gate) * up`, GELU in its tanh form.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn gelu_tanh_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.gate_mul(self.kernels.gelu_tanh_mul, gate, up);
    }

    /// `gate = max(gate, 0)² * up`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn relu_squared_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.gate_mul(self.kernels.relu_squared_mul, gate, up);
    }

    /// One of the products of this table.
    fn gate_mul(&self, kernel: unsafe fn(&mut [f32], &[f32]), gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "the factors' lengths");
        self.by_rows(gate, 1, &|first, gate| {
            // SAFETY: the table proved the CPU.
            unsafe { kernel(gate, &up[first..][..gate.len()]) }
        });
    }

    /// `x = gelu(x)`, GELU as it is defined, by the error function.
    pub fn gelu(&self, x: &mut [f32]) {
        self.by_rows(x, 1, &|_, x| {
            // SAFETY: the table proved the CPU.
            unsafe { (self.kernels.gelu)(x) }
        });
    }

    /// `x *= factor`.
    pub fn scale(&self, x: &mut [f32], factor: f32) {
        self.by_rows(x, 1, &|_, x| {
            // SAFETY: the table proved the CPU.
            unsafe { (self.kernels.scale)(x, factor) }
        });
    }

    /// `x = cap * tanh(x / cap)`.
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        self.by_rows(x, 1, &|_, x| {
            // SAFETY: the table proved the CPU.
            unsafe { (self.kernels.softcap)(x, cap) }
        });
    }

    /// `out[i] = x[rows[i]]`, rows of `width` values.
    ///
    /// # Panics
    /// When the lengths disagree, or there is no such row.
    pub fn gather_rows(&self, x: &[f32], width: usize, rows: &[usize], out: &mut [f32]) {
        assert_eq!(out.len(), rows.len() * width, "the output's length");
        self.by_rows(out, width, &|first, out| {
            for (row, out) in rows[first..].iter().zip(out.chunks_exact_mut(width)) {
                out.copy_from_slice(&x[row * width..][..width]);
            }
        });
    }

    /// `out[i] = Σ weight · x[row]` over `terms[i * n_terms..][..n_terms]` of `(row, weight)`, rows of `width` values.
    ///
    /// # Panics
    /// When the lengths disagree, there is no such row, or no term for each row of `out`.
    pub fn sum_rows(
        &self,
        x: &[f32],
        width: usize,
        terms: &[(usize, f32)],
        n_terms: usize,
        out: &mut [f32],
    ) {
        assert_eq!(out.len() * n_terms, terms.len() * width, "whole sums");
        self.by_rows(out, width, &|first, out| {
            let sums = terms[first * n_terms..].chunks_exact(n_terms);
            for (terms, out) in sums.zip(out.chunks_exact_mut(width)) {
                out.fill(0.0);
                for &(row, weight) in terms {
                    let x = &x[row * width..][..width];
                    out.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
                }
            }
        });
    }

    /// Rotates heads in place.
    ///
    /// `x` is `[n_tokens, n_heads, head_dim]`, `cos` and `sin` are `[n_tokens, n_rot / 2]`; dimensions from `n_rot` on
    /// stay.
    ///
    /// # Panics
    /// When the lengths disagree.
    #[expect(
        clippy::too_many_arguments,
        reason = "plain shapes and tables, each needed"
    )]
    pub fn rope(
        &self,
        x: &mut [f32],
        n_heads: usize,
        head_dim: usize,
        n_rot: usize,
        style: RopeStyle,
        cos: &[f32],
        sin: &[f32],
    ) {
        let n_pairs = n_rot / 2;
        assert!(
            n_rot.is_multiple_of(2) && n_rot <= head_dim,
            "{n_rot} of {head_dim} dimensions"
        );
        if n_pairs == 0 || n_heads == 0 {
            return;
        }
        assert!(x.len().is_multiple_of(n_heads * head_dim), "whole tokens");
        let n_tokens = x.len() / (n_heads * head_dim);
        assert_eq!(cos.len(), n_tokens * n_pairs, "the cosines' length");
        assert_eq!(sin.len(), n_tokens * n_pairs, "the sines' length");
        self.by_rows(x, n_heads * head_dim, &|first, x| {
            for (index, heads) in x.chunks_exact_mut(n_heads * head_dim).enumerate() {
                let cos = &cos[(first + index) * n_pairs..][..n_pairs];
                let sin = &sin[(first + index) * n_pairs..][..n_pairs];
                // SAFETY: the table proved the CPU.
                unsafe { (self.kernels.rope)(heads, head_dim, style, cos, sin) };
            }
        });
    }

    /// Attention of the queries of all `runs`, each over its own sequence's cache of one layer. A run's queries are at
    /// the positions `kv.len() - n_tokens .. kv.len()`.
    ///
    /// `q` is `[n_tokens of all runs, n_heads, head_dim]`, `out` is `[n_tokens of all runs, n_heads, v_head_dim]`.
    ///
    /// # Panics
    /// When the shapes disagree, a cache holds fewer positions than it has queries, a position that a query sees was
    /// let go, or the window is empty.
    pub fn attention(
        &self,
        scratch: &mut AttentionScratch,
        args: &AttentionArgs,
        runs: &[AttentionRun<'_>],
        q: &[f32],
        out: &mut [f32],
    ) {
        assert!(args.window != Some(0), "a query sees its own position");
        let (mut q_len, mut out_len) = (0, 0);
        for AttentionRun { kv, n_tokens } in runs {
            assert!(
                *n_tokens <= kv.len,
                "the cache holds the queries' positions"
            );
            assert!(
                args.n_heads.is_multiple_of(kv.layout.n_kv_heads),
                "whole groups of heads"
            );
            let seen = match args.window {
                Some(window) if args.is_causal => (kv.len - n_tokens + 1).saturating_sub(window),
                _ => 0,
            };
            assert!(
                kv.first() <= seen || *n_tokens == 0,
                "the cache holds all positions that are seen"
            );
            assert_eq!(
                (kv.layout.head_dim, kv.layout.v_head_dim),
                (runs[0].kv.layout.head_dim, runs[0].kv.layout.v_head_dim),
                "heads of one layer"
            );
            q_len += n_tokens * args.n_heads * kv.layout.head_dim;
            out_len += n_tokens * args.n_heads * kv.layout.v_head_dim;
        }
        assert_eq!(q.len(), q_len, "the queries' length");
        assert_eq!(out.len(), out_len, "the output's length");
        if out.is_empty() {
            return;
        }
        // SAFETY: the table proved the CPU.
        unsafe {
            attention::attention(
                self.kernels.attention,
                &self.pool,
                scratch,
                args,
                runs,
                q,
                out,
            );
        }
    }

    /// A causal convolution of each channel over time: `out[t][c] = Σ_j taps[j][c] · x[t + j - (n_taps - 1)][c]`, and
    /// SiLU of that where it is asked for.
    ///
    /// `taps` is `[n_taps, n_channels]`, `x` and `out` are `[n_tokens, n_channels]`. `history` is `[n_taps - 1,
    /// n_channels]`: the inputs before `x`, and afterwards those before what follows.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn convolve(
        &self,
        n_channels: usize,
        taps: &[f32],
        history: &mut [f32],
        x: &[f32],
        silu: bool,
        out: &mut [f32],
    ) {
        assert!(
            !taps.is_empty() && taps.len().is_multiple_of(n_channels),
            "the taps' length"
        );
        assert_eq!(
            history.len(),
            taps.len() - n_channels,
            "the history's length"
        );
        assert!(x.len().is_multiple_of(n_channels), "whole tokens");
        assert_eq!(x.len(), out.len(), "the output's length");
        let convolution = Convolution {
            taps,
            history,
            x,
            silu,
        };
        self.by_rows(out, n_channels, &|first, out| {
            for (index, out) in out.chunks_exact_mut(n_channels).enumerate() {
                // SAFETY: the table proved the CPU.
                unsafe { (self.kernels.convolve)(&convolution, first + index, out) };
            }
        });
        if x.len() >= history.len() {
            history.copy_from_slice(&x[x.len() - history.len()..]);
        } else {
            history.copy_within(x.len().., 0);
            let kept = history.len() - x.len();
            history[kept..].copy_from_slice(x);
        }
    }

    /// The gated delta rule for each head and token in turn: `S' = decay·S; δ = beta · (v − S'ᵀk); S = S' + k δᵀ;
    /// out = Sᵀ q`, with one `S` for each value head in `state`.
    ///
    /// `q` and `k` are `[n_tokens, n_k_heads, k_head_dim]`, `v` and `out` are `[n_tokens, n_v_heads, v_head_dim]`,
    /// `decay` and `beta` are `[n_tokens, n_v_heads]`; `state` has [`DeltaShape::state_len`] floats, zeroes at first.
    ///
    /// # Panics
    /// When the lengths disagree.
    #[expect(clippy::too_many_arguments, reason = "plain tensors, each needed")]
    pub fn delta_rule(
        &self,
        shape: DeltaShape,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        decay: &[f32],
        beta: &[f32],
        state: &mut [f32],
        out: &mut [f32],
    ) {
        let n_tokens = decay.len() / shape.n_v_heads;
        let key_len = n_tokens * shape.n_k_heads * shape.k_head_dim;
        let value_len = n_tokens * shape.n_v_heads * shape.v_head_dim;
        assert_eq!(decay.len(), n_tokens * shape.n_v_heads, "whole tokens");
        assert_eq!(beta.len(), decay.len(), "the factors' length");
        assert!(q.len() == key_len && k.len() == key_len, "the keys' length");
        assert!(
            v.len() == value_len && out.len() == value_len,
            "the values' length"
        );
        assert_eq!(state.len(), shape.state_len(), "the state's length");
        let task = DeltaTask {
            shape,
            n_tokens,
            q,
            k,
            v,
            decay,
            beta,
        };
        let (state, out) = (Shared(state.as_mut_ptr()), Shared(out.as_mut_ptr()));
        let block_len = shape.block_len();
        let grain = GRAIN_VALUES.div_ceil(block_len * n_tokens.max(1));
        self.pool.parallel_for(shape.n_blocks(), grain, &|blocks| {
            for block in blocks {
                // SAFETY: the table proved the CPU; the lengths were checked above, and a block's state and
                // columns of the output are its own.
                unsafe {
                    let state = state.get().add(block * block_len);
                    (self.kernels.delta_rule)(&task, block, state, out.get());
                }
            }
        });
    }

    /// Runs `task` over runs of rows of `values`, with the index of the first one.
    fn by_rows(
        &self,
        values: &mut [f32],
        row_len: usize,
        task: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let start = Shared(values.as_mut_ptr());
        let grain = GRAIN_VALUES.div_ceil(row_len);
        self.pool
            .parallel_for(values.len() / row_len, grain, &|range| {
                // SAFETY: ranges of rows lie within `values` and do not overlap.
                let rows = unsafe {
                    std::slice::from_raw_parts_mut(
                        start.get().add(range.start * row_len),
                        range.len() * row_len,
                    )
                };
                task(range.start, rows);
            });
    }
}

/// One matrix, times some columns.
struct Product<'a> {
    matrix: &'a Matrix,
    /// Of the scratch's groups.
    groups: Range<usize>,
    /// `[n_columns, n_rows]`, of all columns from the first on.
    out: Shared<f32>,
}
