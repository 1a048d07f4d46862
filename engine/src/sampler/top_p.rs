//! Top-p, the nucleus: the most likely tokens until their probabilities reach p (Holtzman et al., arXiv:1904.09751).
use super::candidates::{
    Candidate, max_logit, most_likely_first, sorted_prefix, total_weight, weight,
};

/// Keeps the nucleus of `candidates`, at least one; `p` of 1 or more, or no number, is off.
pub(super) fn keep(candidates: &mut Vec<Candidate>, p: f32) {
    if p.is_nan() || p >= 1.0 || candidates.len() < 2 {
        return;
    }
    let max = max_logit(candidates);
    let wanted = total_weight(candidates, max) * f64::from(p);
    let mut sum = 0.0;
    let n_kept = sorted_prefix(candidates, most_likely_first, |candidate| {
        sum += weight(candidate.logit, max);
        sum >= wanted
    });
    candidates.truncate(n_kept);
}
