//! From the states of a text's tokens to its vector: pooling, then the projections that some models have behind it.

use super::{
    projection::Projection,
    spec::Hparams,
    weights::{Linear, Loader},
};
use crate::LoadError;
use slm_kernels::Compute;

/// Projections behind the pooling, in order; each under the names that different programs write.
const DENSE: [[&str; 2]; 2] = [["dense_2", "dense.0"], ["dense_3", "dense.1"]];

/// Which of the states count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

impl Pooling {
    /// What the file says under `pooling_type`, if it says anything.
    ///
    /// # Errors
    /// A kind that gives no vector: scores of rerankers, or one unknown.
    pub(super) fn read(hparams: &Hparams<'_>) -> Result<Option<Self>, LoadError> {
        const KEY: &str = "pooling_type";
        match hparams.opt_u32(KEY)? {
            None | Some(0) => Ok(None),
            Some(1) => Ok(Some(Self::Mean)),
            Some(2) => Ok(Some(Self::First)),
            Some(3) => Ok(Some(Self::Last)),
            Some(4) => hparams.refuse(KEY, 4, "rerankers are not supported, only vectors"),
            Some(other) => hparams.refuse(KEY, other, "is no kind of pooling that is known"),
        }
    }
}

/// What stands behind a model's last norm when it makes vectors.
pub(crate) struct VectorHead {
    pooling: Pooling,
    dense: Vec<Linear>,
}

/// The states of a text as far as they are known, pooled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pooled {
    values: Vec<f64>,
    n_tokens: usize,
}

impl VectorHead {
    /// `n_cols`: values of a state.
    pub(super) fn load(
        loader: &Loader<'_>,
        pooling: Pooling,
        n_cols: usize,
    ) -> Result<Self, LoadError> {
        let mut dense = Vec::new();
        let mut n_cols = n_cols;
        for stems in DENSE {
            for stem in stems {
                if let Some(n_rows) = loader.n_rows(&format!("{stem}.weight"), n_cols)? {
                    dense.push(loader.linear(stem, n_rows, n_cols)?);
                    n_cols = n_rows;
                }
            }
        }
        Ok(Self { pooling, dense })
    }

    /// Adds `states`, `[n, width]`, which follow those in `pooled`.
    pub(crate) fn pool(&self, pooled: &mut Pooled, states: &[f32], width: usize) {
        let mut rows = states.chunks_exact(width);
        pooled.n_tokens += rows.len();
        pooled.values.resize(width, 0.0);
        let is_first = pooled.n_tokens == rows.len();
        let only = match self.pooling {
            Pooling::Mean => {
                for row in rows {
                    let sums = pooled.values.iter_mut().zip(row);
                    sums.for_each(|(sum, x)| *sum += f64::from(*x));
                }
                return;
            }
            Pooling::First => rows.next().filter(|_| is_first),
            Pooling::Last => rows.next_back(),
        };
        if let Some(row) = only {
            pooled.values = row.iter().map(|x| f64::from(*x)).collect();
        }
    }

    /// The vector of a text whose states were all pooled, as long as it comes.
    pub(crate) fn vector(&self, compute: &Compute, pooled: &Pooled) -> Vec<f32> {
        let n = match self.pooling {
            Pooling::Mean => pooled.n_tokens.max(1) as f64,
            Pooling::First | Pooling::Last => 1.0,
        };
        let mut vector: Vec<f32> = pooled.values.iter().map(|x| (x / n) as f32).collect();
        let mut projection = Projection::default();
        for linear in &self.dense {
            let mut out = Vec::new();
            let mut outputs = [(linear, &mut out)];
            projection.project(compute, &vector, 1, &mut outputs);
            vector = out;
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_in_parts_is_pooling_at_once() {
        let states = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0];
        let compute = Compute::new(1, None).unwrap();
        for (pooling, expected) in [
            (Pooling::Mean, [3.0, 5.0]),
            (Pooling::First, [1.0, 2.0]),
            (Pooling::Last, [5.0, 9.0]),
        ] {
            let head = VectorHead {
                pooling,
                dense: Vec::new(),
            };
            for first in [2, 4, 6] {
                let mut pooled = Pooled::default();
                head.pool(&mut pooled, &states[..first], 2);
                head.pool(&mut pooled, &states[first..], 2);
                assert_eq!(head.vector(&compute, &pooled), expected, "{pooling:?}");
            }
        }
    }
}
