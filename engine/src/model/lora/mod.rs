//! Low-rank adapters (LoRA, arXiv 2106.09685): `y = W x + s · B (A x)`, with small matrices `A` and `B` beside a weight.
//!
//! An [`Adapter`] is loaded for one model and checked against it as a whole; the model's weights stay as they are, and
//! any number of sequences share them, each with [`Adapters`] of its own. What a weight is called in files, and which
//! rows of it a [`Linear`](super::weights::Linear) has, is known from loading the model ([`Targets`]).
//!
//! An adapter of the token embeddings changes what is looked up. Where the embeddings are the output matrix too, that
//! stays as it is: adapters are trained so.

mod load;
mod targets;

pub(super) use load::Base;
pub(super) use targets::{Slot, Targets};

use super::decoder::resize;
use crate::TokenId;
use slm_kernels::{Activations, Compute, Matrix};
use std::{collections::HashMap, fmt, sync::Arc};

/// An adapter, loaded for one model. Clones share it.
#[derive(Clone)]
pub struct Adapter(Arc<Inner>);

struct Inner {
    /// Those of the model: they tell models apart.
    targets: Arc<Targets>,
    deltas: HashMap<Slot, Delta>,
    embedding: Option<Delta>,
    size_bytes: usize,
}

/// What is added to one matrix.
pub(super) struct Delta {
    /// `[rank, n_cols]`, of embeddings `[vocab_size, rank]`; experts' parts of one tensor share it.
    a: Arc<Matrix>,
    /// `[n_rows, rank]`.
    b: Matrix,
    /// The file's `alpha`; `None` counts as the rank.
    alpha: Option<f32>,
}

impl Adapter {
    /// Bytes of its packed matrices.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// A handle that does not keep it.
    pub(crate) fn downgrade(&self) -> WeakAdapter {
        WeakAdapter(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("n_deltas", &self.0.deltas.len())
            .field("size_bytes", &self.0.size_bytes)
            .finish_non_exhaustive()
    }
}

/// An adapter, as long as somebody else has it.
pub(crate) struct WeakAdapter(std::sync::Weak<Inner>);

impl WeakAdapter {
    /// Its bytes; `None` once it is gone.
    pub(crate) fn size_bytes(&self) -> Option<usize> {
        self.0.upgrade().map(|inner| inner.size_bytes)
    }
}

/// The adapters of a sequence, each with a factor, in order. Equal are lists of the same adapters with the same factors.
#[derive(Clone, Default)]
pub struct Adapters(Arc<[(Adapter, f32)]>);

impl Adapters {
    /// Those of `list` whose factor is not zero.
    pub fn new(list: impl IntoIterator<Item = (Adapter, f32)>) -> Self {
        let list = list.into_iter().filter(|(_, scale)| *scale != 0.0);
        Self(list.collect())
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all were loaded for the model with these targets.
    pub(super) fn are_for(&self, targets: &Arc<Targets>) -> bool {
        let mut adapters = self.0.iter();
        adapters.all(|(adapter, _)| Arc::ptr_eq(&adapter.0.targets, targets))
    }
}

impl PartialEq for Adapters {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(a, b): (&(Adapter, f32), &(Adapter, f32))| {
            Arc::ptr_eq(&a.0.0, &b.0.0) && a.1.to_bits() == b.1.to_bits()
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&*other.0).all(is_same)
    }
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.0).finish()
    }
}

/// The adapters of the rows of a step, and buffers for what they add.
#[derive(Default)]
pub(super) struct Rows {
    /// Rows up to `end`, which goes up; without adapters there are none.
    runs: Vec<Run>,
    /// What `A` gives.
    narrow: Vec<f32>,
    /// What `B` gives.
    wide: Vec<f32>,
}

struct Run {
    end: usize,
    adapters: Adapters,
}

impl Rows {
    /// The next rows of a step have these adapters, so many each.
    pub(super) fn are<'a>(&mut self, runs: impl IntoIterator<Item = (usize, &'a Adapters)>) {
        let mut end = 0usize;
        self.runs.clear();
        self.runs.extend(runs.into_iter().map(|(n, adapters)| {
            end = end.saturating_add(n);
            Run {
                end,
                adapters: adapters.clone(),
            }
        }));
        if self.runs.iter().all(|run| run.adapters.is_empty()) {
            self.runs.clear();
        }
    }

    /// Whether no row has any.
    pub(super) fn are_plain(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds to `out`, `[n, n_rows]`, what the rows' adapters make of `x`, `[n, n_cols]`. The rows are those of the step
    /// with the numbers `rows`, which go up; `None` is all of them.
    pub(super) fn add(
        &mut self,
        compute: &Compute,
        activations: &mut Activations,
        slot: Slot,
        rows: Option<&[usize]>,
        x: &[f32],
        (n_rows, out): (usize, &mut [f32]),
    ) {
        let Self { runs, narrow, wide } = self;
        let n = out.len() / n_rows;
        let n_cols = x.len() / n.max(1);
        for (part, adapters) in parts(runs, rows, n) {
            let x = &x[part.start * n_cols..part.end * n_cols];
            let out = &mut out[part.start * n_rows..part.end * n_rows];
            for (adapter, scale) in &*adapters.0 {
                let Some(delta) = adapter.0.deltas.get(&slot) else {
                    continue;
                };
                resize(narrow, part.len() * delta.a.n_rows());
                compute.matmul(activations, x, part.len(), &mut [(&delta.a, narrow)]);
                delta.widen(compute, activations, *scale, narrow, wide);
                compute.add_assign(out, wide);
            }
        }
    }

    /// Adds to the embeddings of `tokens` in `x` what the rows' adapters change them by.
    pub(super) fn add_to_embeddings(
        &mut self,
        compute: &Compute,
        activations: &mut Activations,
        tokens: &[TokenId],
        x: &mut [f32],
    ) {
        let Self { runs, narrow, wide } = self;
        let d = x.len() / tokens.len().max(1);
        for (part, adapters) in parts(runs, None, tokens.len()) {
            let x = &mut x[part.start * d..part.end * d];
            for (adapter, scale) in &*adapters.0 {
                let Some(delta) = &adapter.0.embedding else {
                    continue;
                };
                let rank = delta.rank();
                resize(narrow, part.len() * rank);
                let rows = narrow.chunks_exact_mut(rank);
                for (row, &token) in rows.zip(&tokens[part.clone()]) {
                    delta.a.dequantize_row(token as usize, row);
                }
                delta.widen(compute, activations, *scale, narrow, wide);
                compute.add_assign(x, wide);
            }
        }
    }
}

/// The runs that have adapters, as ranges of `n` rows, whose numbers in the step are `rows` or their own.
fn parts<'a>(
    runs: &'a [Run],
    rows: Option<&'a [usize]>,
    n: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, &'a Adapters)> {
    let mut first = 0;
    let parts = runs.iter().map(move |run| {
        let end = match rows {
            None => run.end.min(n),
            Some(rows) => rows.partition_point(|row| *row < run.end),
        };
        let part = first..end;
        first = end;
        (part, &run.adapters)
    });
    parts.filter(|(part, adapters)| !part.is_empty() && !adapters.is_empty())
}

impl Delta {
    fn rank(&self) -> usize {
        self.b.n_cols()
    }

    /// `wide = s · B narrow`.
    fn widen(
        &self,
        compute: &Compute,
        activations: &mut Activations,
        scale: f32,
        narrow: &mut [f32],
        wide: &mut Vec<f32>,
    ) {
        let rank = self.rank();
        let scale = match self.alpha {
            Some(alpha) => scale * alpha / rank as f32,
            None => scale,
        };
        compute.scale(narrow, scale);
        let n = narrow.len() / rank;
        resize(wide, n * self.b.n_rows());
        compute.matmul(activations, narrow, n, &mut [(&self.b, wide)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_kernels::format::QuantType;

    const N_COLS: usize = 40;
    const N_ROWS: usize = 24;

    fn matrix(compute: &Compute, n_rows: usize, n_cols: usize, seed: f32) -> Matrix {
        let value = |i: usize| (seed + i as f32 * 0.7).sin();
        let bytes: Vec<u8> = (0..n_rows * n_cols)
            .flat_map(|i| value(i).to_le_bytes())
            .collect();
        Matrix::pack(compute, QuantType::F32, n_rows, n_cols, &bytes).unwrap()
    }

    /// Of rank `rank`, for the slot of a model without others.
    fn adapter(compute: &Compute, rank: usize, seed: f32) -> Adapter {
        let delta = Delta {
            a: Arc::new(matrix(compute, rank, N_COLS, seed)),
            b: matrix(compute, N_ROWS, rank, seed + 0.5),
            alpha: Some(3.0),
        };
        Adapter(Arc::new(Inner {
            targets: Arc::default(),
            deltas: HashMap::from([(Slot::default(), delta)]),
            embedding: None,
            size_bytes: 0,
        }))
    }

    /// A step of tokens of several sequences gives each what it gets alone, bit for bit.
    #[test]
    fn rows_get_their_own_adapters_whatever_stands_beside_them() {
        let compute = Compute::new(2, None).unwrap();
        let (one, two) = (adapter(&compute, 4, 1.0), adapter(&compute, 7, 2.0));
        let sets = [
            Adapters::new([(one.clone(), 0.5)]),
            Adapters::default(),
            Adapters::new([(two, -1.5), (one, 2.0)]),
        ];
        let lengths = [2, 3, 4];
        let x: Vec<f32> = (0..9 * N_COLS).map(|i| (i as f32).cos()).collect();
        let mut activations = Activations::default();
        let mut rows = Rows::default();
        let mut add = |rows: &mut Rows, of: Option<&[usize]>, x: &[f32]| {
            let mut out = vec![0.25; x.len() / N_COLS * N_ROWS];
            let to = (N_ROWS, &mut out[..]);
            rows.add(&compute, &mut activations, Slot::default(), of, x, to);
            out
        };
        rows.are(lengths.into_iter().zip(&sets));
        let together = add(&mut rows, None, &x);
        let some = [1, 4, 5, 8].map(|row| row..row + 1);
        let x_of_some: Vec<f32> = some
            .clone()
            .into_iter()
            .flat_map(|r| &x[r.start * N_COLS..r.end * N_COLS])
            .copied()
            .collect();
        let of_some = add(&mut rows, Some(&[1, 4, 5, 8]), &x_of_some);
        for (i, row) in some.into_iter().enumerate() {
            let [from_some, from_all] = [(&of_some, i), (&together, row.start)]
                .map(|(out, at)| &out[at * N_ROWS..][..N_ROWS]);
            assert_eq!(from_some, from_all, "row {}", row.start);
        }
        let mut first = 0;
        for (n, set) in lengths.into_iter().zip(&sets) {
            rows.are([(usize::MAX, set)]);
            let alone = add(&mut rows, None, &x[first * N_COLS..(first + n) * N_COLS]);
            assert_eq!(alone, together[first * N_ROWS..(first + n) * N_ROWS]);
            assert_eq!(alone.iter().all(|y| *y == 0.25), set.is_empty());
            first += n;
        }
    }

    /// `y += s · alpha / rank · B (A x)`.
    #[test]
    fn what_is_added_is_the_definitions() {
        let compute = Compute::new(1, None).unwrap();
        let adapter = adapter(&compute, 4, 1.0);
        let x: Vec<f32> = (0..N_COLS).map(|i| (i as f32).cos()).collect();
        let mut rows = Rows::default();
        rows.are([(usize::MAX, &Adapters::new([(adapter, 0.5)]))]);
        let mut out = [1.0; N_ROWS];
        let to = (N_ROWS, &mut out[..]);
        rows.add(
            &compute,
            &mut Activations::default(),
            Slot::default(),
            None,
            &x,
            to,
        );
        let value = |seed: f32, i: usize| f64::from((seed + i as f32 * 0.7).sin());
        for (row, y) in out.iter().enumerate() {
            let narrow = |k: usize| -> f64 {
                let terms = x.iter().enumerate();
                terms
                    .map(|(i, x)| value(1.0, k * N_COLS + i) * f64::from(*x))
                    .sum()
            };
            let wide: f64 = (0..4).map(|k| value(1.5, row * 4 + k) * narrow(k)).sum();
            let expected = 1.0 + 0.5 * 3.0 / 4.0 * wide;
            assert!((f64::from(*y) - expected).abs() < 1e-4, "{y} {expected}");
        }
    }

    #[test]
    fn runs_are_found_among_all_rows_and_among_some() {
        let targets = Arc::new(Targets::default());
        let adapter = Adapter(Arc::new(Inner {
            targets,
            deltas: HashMap::new(),
            embedding: None,
            size_bytes: 0,
        }));
        let one = Adapters::new([(adapter.clone(), 1.0)]);
        let none = Adapters::new([(adapter, 0.0)]);
        assert!(none.is_empty() && none == Adapters::default() && none != one);
        let mut rows = Rows::default();
        rows.are([(2, &one), (3, &none), (1, &one)]);
        let ranges = |rows: &Rows, of: Option<&[usize]>, n| -> Vec<_> {
            parts(&rows.runs, of, n).map(|(part, _)| part).collect()
        };
        assert_eq!(ranges(&rows, None, 6), [0..2, 5..6]);
        assert_eq!(ranges(&rows, Some(&[1, 3, 5]), 3), [0..1, 2..3]);
        assert!(ranges(&rows, Some(&[2, 3]), 2).is_empty());
        rows.are([(usize::MAX, &one)]);
        assert_eq!(ranges(&rows, None, 4).first(), Some(&(0..4)));
        rows.are([(2, &none), (3, &none)]);
        assert!(rows.are_plain());
    }
}
