//! Min-p: the tokens at least p times as likely as the best (Nguyen et al., arXiv:2407.01082).
use super::candidates::{Candidate, max_logit};

/// Keeps the best candidates and those not too far below; `p` of 0 or less, or no number, is off.
pub(super) fn keep(candidates: &mut Vec<Candidate>, p: f32) {
    if p.is_nan() || p <= 0.0 {
        return;
    }
    let max = max_logit(candidates);
    let lowest = max + p.min(1.0).ln();
    candidates.retain(|candidate| candidate.logit >= lowest);
}
