//! The tokens that may still be chosen, and what the filters have in common.
use crate::tokenizer::TokenId;
use std::cmp::Ordering;

/// A token and its logit, which is finite or +∞.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: TokenId,
    pub(super) logit: f32,
}

/// Most likely first, equal ones by id: a total order, so that no choice depends on the sorting algorithm.
pub(super) fn most_likely_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The greatest logit.
pub(super) fn max_logit(candidates: &[Candidate]) -> f32 {
    let logits = candidates.iter().map(|candidate| candidate.logit);
    logits.fold(f32::NEG_INFINITY, f32::max)
}

/// e^(logit − max) without the ∞ − ∞ of an infinite maximum.
pub(super) fn weight(logit: f32, max: f32) -> f64 {
    if logit == max {
        1.0
    } else {
        f64::from(logit - max).exp()
    }
}

/// Sum of the weights.
pub(super) fn total_weight(candidates: &[Candidate], max: f32) -> f64 {
    candidates
        .iter()
        .map(|candidate| weight(candidate.logit, max))
        .sum()
}

/// Sorts only as much of the front of `items` as `enough` asks for: it is called with each item in order, and the number
/// of items up to the first for which it says yes is returned (all, if for none).
pub(super) fn sorted_prefix<T>(
    items: &mut [T],
    order: impl Fn(&T, &T) -> Ordering,
    mut enough: impl FnMut(&T) -> bool,
) -> usize {
    const FIRST: usize = 128;
    let (mut sorted, mut chunk) = (0, FIRST);
    while sorted < items.len() {
        let rest = &mut items[sorted..];
        let n = chunk.min(rest.len());
        if n < rest.len() {
            rest.select_nth_unstable_by(n - 1, &order);
        }
        rest[..n].sort_unstable_by(&order);
        if let Some(at) = rest[..n].iter().position(&mut enough) {
            return sorted + at + 1;
        }
        sorted += n;
        chunk *= 4;
    }
    items.len()
}
