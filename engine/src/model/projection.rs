//! `y = s · W x + b` for the tokens of a step, with what the adapters of each token's sequence add.

use super::{Adapters, decoder::resize, lora::Rows, weights::Linear};
use crate::TokenId;
use slm_kernels::{Activations, Compute, Matrix};

/// Buffers that products share, and the adapters of the rows of a step.
#[derive(Default)]
pub(super) struct Projection {
    activations: Activations,
    rows: Rows,
}

impl Projection {
    /// Bytes that the buffers take, those of adapters left out.
    pub(super) fn size_bytes(&self) -> usize {
        self.activations.size_bytes()
    }

    /// The rows of what is projected next have these adapters, so many each.
    pub(super) fn rows_have<'a>(&mut self, runs: impl IntoIterator<Item = (usize, &'a Adapters)>) {
        self.rows.are(runs);
    }

    /// Adds to the embeddings of `tokens` what the rows' adapters change them by.
    pub(super) fn embed(&mut self, compute: &Compute, tokens: &[TokenId], x: &mut [f32]) {
        if !self.rows.are_plain() {
            self.rows
                .add_to_embeddings(compute, &mut self.activations, tokens, x);
        }
    }

    /// `y = W x` and nothing more. See [`Compute::matmul`].
    pub(super) fn multiply(
        &mut self,
        compute: &Compute,
        x: &[f32],
        n_tokens: usize,
        outputs: &mut [(&Matrix, &mut [f32])],
    ) {
        compute.matmul(&mut self.activations, x, n_tokens, outputs);
    }

    /// One quantisation of `x`, one parallel region, for all `outputs` that read it; scaled, and biases added.
    pub(super) fn project(
        &mut self,
        compute: &Compute,
        x: &[f32],
        n_tokens: usize,
        outputs: &mut [(&Linear, &mut Vec<f32>)],
    ) {
        let products = outputs.iter_mut().map(|(linear, out)| {
            resize(out, n_tokens * linear.matrix.n_rows());
            (&linear.matrix, out.as_mut_slice())
        });
        let mut products: Vec<(&Matrix, &mut [f32])> = products.collect();
        self.multiply(compute, x, n_tokens, &mut products);
        for (linear, out) in outputs {
            if let Some(scale) = linear.scale {
                compute.scale(out, scale);
            }
            self.adapt(compute, linear, None, x, out);
            add_bias(out, linear.bias.as_deref());
        }
    }

    /// The same for runs of tokens, each with matrices of its own. `tokens` says which tokens of the step they are, in
    /// order within a run.
    pub(super) fn project_runs(
        &mut self,
        compute: &Compute,
        x: &[f32],
        (runs, tokens): (&[usize], &[usize]),
        outputs: &mut [(&[&Linear], &mut [f32])],
    ) {
        let matrices: Vec<Vec<&Matrix>> = outputs
            .iter()
            .map(|(linears, _)| linears.iter().map(|linear| &linear.matrix).collect())
            .collect();
        let mut products: Vec<(&[&Matrix], &mut [f32])> = matrices
            .iter()
            .zip(&mut *outputs)
            .map(|(matrices, (_, out))| (&matrices[..], &mut **out))
            .collect();
        compute.matmul_by_runs(&mut self.activations, x, runs, &mut products);
        for (linears, out) in outputs {
            let (mut x, mut tokens, mut out) = (x, tokens, &mut **out);
            for (linear, &n_tokens) in linears.iter().zip(runs) {
                let (own_x, other_x) = x.split_at(n_tokens * linear.matrix.n_cols());
                let (own_tokens, other_tokens) = tokens.split_at(n_tokens);
                let (own, others) = out.split_at_mut(n_tokens * linear.matrix.n_rows());
                if let Some(scale) = linear.scale {
                    compute.scale(own, scale);
                }
                self.adapt(compute, linear, Some(own_tokens), own_x, own);
                (x, tokens, out) = (other_x, other_tokens, others);
            }
        }
    }

    /// Adds what the adapters of the rows make of `x`; `rows` says which rows of the step they are, `None` is all.
    fn adapt(
        &mut self,
        compute: &Compute,
        linear: &Linear,
        rows: Option<&[usize]>,
        x: &[f32],
        out: &mut [f32],
    ) {
        if self.rows.are_plain() {
            return;
        }
        let out = (linear.matrix.n_rows(), out);
        let activations = &mut self.activations;
        self.rows
            .add(compute, activations, linear.slot, rows, x, out);
    }
}

/// Adds `bias` to each row.
pub(super) fn add_bias(rows: &mut [f32], bias: Option<&[f32]>) {
    let Some(bias) = bias else { return };
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}
