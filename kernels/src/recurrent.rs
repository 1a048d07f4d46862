//! The steps of layers that carry a state from token to token instead of a cache, written once for all tiers: a short
//! causal convolution and the gated delta rule (arXiv 2412.06464).
//!
//! Tokens are taken one after the other, so that a result does not depend on how a text is cut into batches. Threads
//! share channels and columns of the state, which do not depend on each other.

use crate::tier::Tier;

/// Columns of a state that are computed together: the lanes of a vector.
pub(crate) const COLUMNS: usize = 16;

/// Shapes of one call of [`Compute::delta_rule`](crate::Compute::delta_rule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of queries and keys; divides `n_v_heads`. Value head `h` reads key head `h % n_k_heads`.
    pub n_k_heads: usize,
    /// Heads of values, each with a state of its own.
    pub n_v_heads: usize,
    /// Width of a query or key head.
    pub k_head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
}

impl DeltaShape {
    /// Floats of the states of all heads, `[n_v_heads][v_head_dim / 16, rounded up][k_head_dim][16]`.
    pub fn state_len(&self) -> usize {
        self.n_blocks() * self.block_len()
    }

    /// Blocks of columns, of all heads.
    pub(crate) fn n_blocks(&self) -> usize {
        self.n_v_heads * self.v_head_dim.div_ceil(COLUMNS)
    }

    /// Floats of the state of a block.
    pub(crate) fn block_len(&self) -> usize {
        self.k_head_dim * COLUMNS
    }
}

/// What the blocks of one call share.
#[derive(Clone, Copy)]
pub(crate) struct DeltaTask<'a> {
    pub(crate) shape: DeltaShape,
    pub(crate) n_tokens: usize,
    /// `[n_tokens, n_k_heads, k_head_dim]`.
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    /// `[n_tokens, n_v_heads, v_head_dim]`.
    pub(crate) v: &'a [f32],
    /// `[n_tokens, n_v_heads]`.
    pub(crate) decay: &'a [f32],
    pub(crate) beta: &'a [f32],
}

/// What the tokens of one convolution share.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    /// `[n_taps, n_channels]`.
    pub(crate) taps: &'a [f32],
    /// `[n_taps - 1, n_channels]`, the rows before those of `x`.
    pub(crate) history: &'a [f32],
    /// `[n_tokens, n_channels]`.
    pub(crate) x: &'a [f32],
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

/// One token: `out[c] = Σ_j taps[j][c] · rows[token + j][c]`, where `rows` are those of the history, then those of `x`.
///
/// # Safety
/// The CPU has the tier.
#[inline(always)]
pub(crate) unsafe fn convolve<T: Tier>(
    convolution: &Convolution<'_>,
    token: usize,
    out: &mut [f32],
) {
    let Convolution {
        taps,
        history,
        x,
        silu,
    } = *convolution;
    let n_channels = out.len();
    let n_taps = taps.len() / n_channels;
    let row = |index: usize| match (index * n_channels).checked_sub(history.len()) {
        Some(at) => &x[at..][..n_channels],
        None => &history[index * n_channels..][..n_channels],
    };
    for (chunk, out) in out.chunks_mut(COLUMNS).enumerate() {
        let channels = chunk * COLUMNS..chunk * COLUMNS + out.len();
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = T::splat(0.0);
            for tap in 0..n_taps {
                let taps = &taps[tap * n_channels..][channels.clone()];
                let values = &row(token + tap)[channels.clone()];
                sum = T::mul_add(load::<T>(taps), load::<T>(values), sum);
            }
            if silu {
                let exp = T::exp(T::sub(T::splat(0.0), sum));
                sum = T::div(sum, T::add(T::splat(1.0), exp));
            }
            if out.len() == COLUMNS {
                T::store(out.as_mut_ptr(), sum);
            } else {
                out.copy_from_slice(&T::to_array(sum)[..out.len()]);
            }
        }
    }
}

/// Up to 16 values, zeroes behind them.
#[inline(always)]
unsafe fn load<T: Tier>(values: &[f32]) -> T::F {
    if values.len() == COLUMNS {
        // SAFETY: there are 16 values; the caller's promise, that the CPU has the tier.
        return unsafe { T::load(values.as_ptr()) };
    }
    let mut lanes = [0.0; COLUMNS];
    lanes[..values.len()].copy_from_slice(values);
    // SAFETY: as above.
    unsafe { T::load(lanes.as_ptr()) }
}

/// The delta rule for all tokens of one block of columns:
/// `S' = g·S; δ = β · (v − S'ᵀk); S = S' + k δᵀ; out = Sᵀ q`.
///
/// # Safety
/// The CPU has the tier; `state` has the floats of the block, `out` is `[n_tokens, n_v_heads, v_head_dim]`; the lengths
/// of the task are right.
#[inline(always)]
pub(crate) unsafe fn delta_rule<T: Tier>(
    task: &DeltaTask<'_>,
    block: usize,
    state: *mut f32,
    out: *mut f32,
) {
    let DeltaShape {
        n_k_heads,
        n_v_heads,
        k_head_dim,
        v_head_dim,
    } = task.shape;
    let blocks_of_head = v_head_dim.div_ceil(COLUMNS);
    let (head, first) = (block / blocks_of_head, block % blocks_of_head * COLUMNS);
    let n_columns = COLUMNS.min(v_head_dim - first);
    for token in 0..task.n_tokens {
        let key_head = (token * n_k_heads + head % n_k_heads) * k_head_dim;
        let (q, k) = (
            &task.q[key_head..][..k_head_dim],
            &task.k[key_head..][..k_head_dim],
        );
        let value_head = token * n_v_heads + head;
        let columns = value_head * v_head_dim + first;
        // SAFETY: the caller's promise; a block's columns of `out` are its own.
        unsafe {
            let decay = T::splat(task.decay[value_head]);
            let mut sums = [T::splat(0.0); 4];
            for (row, k) in k.iter().enumerate() {
                let s = T::load(state.add(row * COLUMNS));
                sums[row % 4] = T::mul_add(s, T::splat(*k), sums[row % 4]);
            }
            let expected = T::add(T::add(sums[0], sums[1]), T::add(sums[2], sums[3]));
            let v = load::<T>(&task.v[columns..][..n_columns]);
            let error = T::sub(v, T::mul(expected, decay));
            let delta = T::mul(error, T::splat(task.beta[value_head]));
            let mut sums = [T::splat(0.0); 4];
            for (row, (k, q)) in k.iter().zip(q).enumerate() {
                let s = T::mul(T::load(state.add(row * COLUMNS)), decay);
                let s = T::mul_add(T::splat(*k), delta, s);
                T::store(state.add(row * COLUMNS), s);
                sums[row % 4] = T::mul_add(s, T::splat(*q), sums[row % 4]);
            }
            let sum = T::add(T::add(sums[0], sums[1]), T::add(sums[2], sums[3]));
            let lanes = T::to_array(sum);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), out.add(columns), n_columns);
        }
    }
}
