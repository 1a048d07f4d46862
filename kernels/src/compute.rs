//! [`Compute`]: one CPU tier and one thread pool, and the operations that run on them.

use std::ops::Range;

use crate::{Activations, AttentionArgs, AttentionScratch, Isa, KvLayer, Matrix, UnsupportedCpu};

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
    isa: Isa,
    n_threads: usize,
}

impl Compute {
    /// Starts `n_threads - 1` threads (the caller is the last one) for `isa`, by default the best that this CPU has.
    ///
    /// # Errors
    /// When this CPU lacks `isa`.
    pub fn new(n_threads: usize, isa: Option<Isa>) -> Result<Compute, UnsupportedCpu> {
        let isa = isa.unwrap_or_else(Isa::best);
        if !isa.is_supported() {
            return Err(UnsupportedCpu { isa });
        }
        Ok(Compute { isa, n_threads })
    }

    /// The tier that runs.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads compute, the caller included.
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs `task` over disjoint sub-ranges of `0..n_items`, of `grain` items at least, on all threads (the caller is
    /// one), and returns when all are done. A panic of a task is carried to the caller.
    pub fn parallel_for(
        &self,
        _n_items: usize,
        _grain: usize,
        _task: &(dyn Fn(Range<usize>) + Sync),
    ) {
        todo!()
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
        _scratch: &mut Activations,
        _x: &[f32],
        _n_tokens: usize,
        _outputs: &mut [(&Matrix, &mut [f32])],
    ) {
        todo!()
    }

    /// `out = x * weight / sqrt(mean(x²) + eps)` for each row of `weight.len()` values.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn rms_norm(&self, _x: &[f32], _weight: &[f32], _eps: f32, _out: &mut [f32]) {
        todo!()
    }

    /// `x += y`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn add_assign(&self, _x: &mut [f32], _y: &[f32]) {
        todo!()
    }

    /// `gate = silu(gate) * up`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn silu_mul(&self, _gate: &mut [f32], _up: &[f32]) {
        todo!()
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
        _x: &mut [f32],
        _n_heads: usize,
        _head_dim: usize,
        _n_rot: usize,
        _style: RopeStyle,
        _cos: &[f32],
        _sin: &[f32],
    ) {
        todo!()
    }

    /// Causal attention of `n_tokens` queries at positions `kv.len() - n_tokens .. kv.len()` over one layer's cache.
    ///
    /// `q` is `[n_tokens, n_heads, head_dim]`, `out` is `[n_tokens, n_heads, v_head_dim]`.
    ///
    /// # Panics
    /// When the shapes disagree, or the cache holds fewer than `n_tokens` positions.
    pub fn attention(
        &self,
        _scratch: &mut AttentionScratch,
        _args: &AttentionArgs,
        _kv: &KvLayer,
        _q: &[f32],
        _out: &mut [f32],
    ) {
        todo!()
    }
}
