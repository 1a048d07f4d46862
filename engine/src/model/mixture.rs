//! A mixture of experts: a router gives each token a few of many feed-forward layers.
//!
//! `y = Σ w_e · down_e(gate(gate_e x) ⊙ up_e x)` over the chosen experts `e`, weighted by the softmax of the router
//! (Switch Transformers, arXiv 2101.03961; Mixtral, arXiv 2401.04088). Tokens are gathered by expert, so that a step reads
//! each matrix once, however many tokens chose it.

use super::{
    ExpertsSpec, Gate,
    decoder::resize,
    projection::Projection,
    weights::{Dense, Linear},
};
use slm_kernels::{Compute, Matrix};

/// Weights of the mixture of one block.
pub(super) struct Mixture {
    /// `[n_experts, hidden_size]`.
    pub(super) router: Linear,
    /// One for each expert.
    pub(super) gate: Vec<Linear>,
    pub(super) up: Vec<Linear>,
    pub(super) down: Vec<Linear>,
    /// The layer that computes every token besides.
    pub(super) shared: Option<Dense>,
}

/// Buffers of a mixture, reused from step to step.
#[derive(Default)]
pub(super) struct MixtureScratch {
    /// What the router gives, `[n_tokens, n_experts]`.
    scores: Vec<f32>,
    /// Token after token, the experts that it chose.
    choices: Vec<Choice>,
    /// How many tokens chose an expert, then where its next one goes.
    counts: Vec<usize>,
    /// The tokens by expert, and where each choice went among them.
    tokens: Vec<usize>,
    terms: Vec<(usize, f32)>,
    /// Rows of `tokens`.
    gathered: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl MixtureScratch {
    /// Bytes that the large buffers take.
    pub(super) fn size_bytes(&self) -> usize {
        let rows = [&self.scores, &self.gathered, &self.gate, &self.up];
        let n_values: usize = rows.into_iter().map(Vec::capacity).sum();
        n_values * size_of::<f32>()
    }
}

/// An expert that a token chose, and its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Choice {
    expert: usize,
    weight: f32,
}

impl Mixture {
    /// All matrices.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let experts = [&self.gate, &self.up, &self.down].into_iter().flatten();
        let shared = self.shared.iter().flat_map(Dense::linears);
        let linears = experts.chain(shared).map(|linear| &linear.matrix);
        linears.chain([&self.router.matrix])
    }

    /// What the chosen experts make of `x`, `[n_tokens, hidden_size]`, in `out`, which has the same shape.
    pub(super) fn forward(
        &self,
        (compute, spec, gate): (&Compute, &ExpertsSpec, Gate),
        projection: &mut Projection,
        s: &mut MixtureScratch,
        x: &[f32],
        out: &mut [f32],
    ) {
        let d = self.router.matrix.n_cols();
        let n_tokens = x.len() / d;
        let mut scores = [(&self.router, &mut s.scores)];
        projection.project(compute, x, n_tokens, &mut scores);
        s.choices.clear();
        for scores in s.scores.chunks_exact_mut(spec.n_experts) {
            choose(spec, scores, &mut s.choices);
        }
        s.sort_by_expert(spec);

        let chosen: Vec<usize> = (0..spec.n_experts).filter(|&e| s.counts[e] > 0).collect();
        let runs: Vec<usize> = chosen.iter().map(|&e| s.counts[e]).collect();
        let mut project = |x: &[f32], outputs: &mut [(&[&Linear], &mut [f32])]| {
            projection.project_runs(compute, x, (&runs, &s.tokens), outputs);
        };
        let [gates, ups, downs] = [&self.gate, &self.up, &self.down]
            .map(|linears| chosen.iter().map(|&e| &linears[e]).collect::<Vec<_>>());
        let n_rows = s.tokens.len();
        resize(&mut s.gathered, n_rows * d);
        compute.gather_rows(x, d, &s.tokens, &mut s.gathered);
        resize(&mut s.gate, n_rows * spec.ffn_size);
        resize(&mut s.up, n_rows * spec.ffn_size);
        project(&s.gathered, &mut [(&gates, &mut s.gate), (&ups, &mut s.up)]);
        gate.apply(compute, &mut s.gate, &s.up);
        project(&s.gate, &mut [(&downs, &mut s.gathered)]);
        compute.sum_rows(&s.gathered, d, &s.terms, spec.n_used, out);
    }
}

impl MixtureScratch {
    /// Fills `counts`, `tokens` and `terms` from the choices: tokens by expert, in their own order within each.
    fn sort_by_expert(&mut self, spec: &ExpertsSpec) {
        let Self {
            choices,
            counts,
            tokens,
            terms,
            ..
        } = self;
        counts.clear();
        counts.resize(spec.n_experts, 0);
        for choice in &*choices {
            counts[choice.expert] += 1;
        }
        let mut next = Vec::with_capacity(spec.n_experts);
        let mut n_before = 0;
        for count in &*counts {
            next.push(n_before);
            n_before += count;
        }
        tokens.clear();
        tokens.resize(choices.len(), 0);
        terms.clear();
        for (i, choice) in choices.iter().enumerate() {
            let row = &mut next[choice.expert];
            tokens[*row] = i / spec.n_used;
            terms.push((*row, choice.weight));
            *row += 1;
        }
    }
}

/// The experts of one token, best first, the lower index of equals; `scores` becomes their softmax.
fn choose(spec: &ExpertsSpec, scores: &mut [f32], choices: &mut Vec<Choice>) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - max).exp();
        sum += *score;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_rank = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
    if spec.n_used < order.len() {
        order.select_nth_unstable_by(spec.n_used, by_rank);
        order.truncate(spec.n_used);
    }
    order.sort_unstable_by(by_rank);
    let chosen = order.iter().map(|&e| scores[e]);
    let sum = if spec.is_normalised {
        chosen.sum()
    } else {
        sum
    };
    choices.extend(order.iter().map(|&expert| Choice {
        expert,
        weight: scores[expert] / sum * spec.weight_scale,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(n_experts: usize, n_used: usize) -> ExpertsSpec {
        ExpertsSpec {
            n_experts,
            n_used,
            ffn_size: 1,
            shared_ffn_size: 0,
            is_normalised: true,
            weight_scale: 1.0,
        }
    }

    fn chosen(spec: &ExpertsSpec, scores: &[f32]) -> Vec<(usize, f32)> {
        let mut choices = vec![];
        choose(spec, &mut scores.to_vec(), &mut choices);
        choices.iter().map(|c| (c.expert, c.weight)).collect()
    }

    #[track_caller]
    fn assert_near(choices: &[(usize, f32)], expected: &[(usize, f64)]) {
        assert_eq!(choices.len(), expected.len());
        for (choice, expected) in choices.iter().zip(expected) {
            assert_eq!(choice.0, expected.0, "{choices:?}");
            assert!(
                (f64::from(choice.1) - expected.1).abs() < 1e-6,
                "{choices:?}"
            );
        }
    }

    /// Scores are logarithms, so that probabilities can be read off: 1, 4, 3 and 2 of 10.
    #[test]
    fn the_best_are_chosen_and_their_weights_sum_to_one_or_stay() {
        let scores = [1.0f32, 4.0, 3.0, 2.0].map(f32::ln);
        let mut spec = spec(4, 2);
        assert_near(&chosen(&spec, &scores), &[(1, 4.0 / 7.0), (2, 3.0 / 7.0)]);
        spec.is_normalised = false;
        spec.weight_scale = 2.5;
        assert_near(&chosen(&spec, &scores), &[(1, 1.0), (2, 0.75)]);
        spec.n_used = 4;
        let all = [(1, 1.0), (2, 0.75), (3, 0.5), (0, 0.25)];
        assert_near(&chosen(&spec, &scores), &all);
    }

    #[test]
    fn of_equals_the_first_are_chosen_and_broken_numbers_do_no_harm() {
        assert_near(&chosen(&spec(5, 2), &[7.0; 5]), &[(0, 0.5), (1, 0.5)]);
        let huge = [1e30, -1e30, 1e30, 0.0];
        assert_near(&chosen(&spec(4, 2), &huge), &[(0, 0.5), (2, 0.5)]);
        assert_eq!(chosen(&spec(3, 2), &[f32::NAN; 3]).len(), 2);
        assert_eq!(chosen(&spec(3, 3), &[f32::NEG_INFINITY; 3]).len(), 3);
    }

    #[test]
    fn tokens_are_sorted_by_expert_and_found_again() {
        let choice = |expert, weight| Choice { expert, weight };
        let mut s = MixtureScratch {
            choices: vec![
                choice(2, 0.1),
                choice(0, 0.2),
                choice(2, 0.3),
                choice(3, 0.4),
            ],
            ..MixtureScratch::default()
        };
        s.sort_by_expert(&spec(4, 2));
        assert_eq!(s.counts, [1, 0, 2, 1]);
        assert_eq!(s.tokens, [0, 0, 1, 1]);
        assert_eq!(s.terms, [(1, 0.1), (0, 0.2), (2, 0.3), (3, 0.4)]);
    }
}
