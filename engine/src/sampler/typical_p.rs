//! Locally typical sampling: the tokens whose surprise is nearest to the expected one, until their probabilities exceed p
//! (Meister et al., arXiv:2202.00666).
use super::candidates::{Candidate, max_logit, sorted_prefix, total_weight, weight};

/// Keeps the typical part of `candidates`; `p` outside 0..1 is off.
pub(super) fn keep(candidates: &mut Vec<Candidate>, p: f32) {
    if !(0.0..1.0).contains(&p) || candidates.len() < 2 {
        return;
    }
    let max = max_logit(candidates);
    let total = total_weight(candidates, max);
    let probability = |candidate: &Candidate| weight(candidate.logit, max) / total;
    let surprise = |probability: f64| {
        if probability > 0.0 {
            -probability.ln()
        } else {
            0.0
        }
    };
    let entropy: f64 = candidates
        .iter()
        .map(probability)
        .map(|probability| probability * surprise(probability))
        .sum();
    let mut scored: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let probability = probability(candidate);
            let distance = if probability > 0.0 {
                (surprise(probability) - entropy).abs()
            } else {
                f64::INFINITY
            };
            (distance, probability, *candidate)
        })
        .collect();
    let mut sum = 0.0;
    let n_kept = sorted_prefix(
        &mut scored,
        |a, b| a.0.total_cmp(&b.0).then(a.2.token.cmp(&b.2.token)),
        |(_, probability, _)| {
            sum += probability;
            sum > f64::from(p)
        },
    );
    candidates.clear();
    candidates.extend(scored[..n_kept].iter().map(|(_, _, candidate)| *candidate));
}
