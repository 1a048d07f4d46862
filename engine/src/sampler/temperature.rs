//! Temperature and the draw: one random number decides.
use super::candidates::{Candidate, max_logit};
use super::random::Random;
use crate::tokenizer::TokenId;

/// Draws one of `candidates` (not empty) with probability proportional to e^(logit / temperature); `temperature` > 0.
pub(super) fn draw(candidates: &[Candidate], temperature: f32, random: &mut Random) -> TokenId {
    let max = max_logit(candidates);
    let scaled = |candidate: &Candidate| {
        if candidate.logit == max {
            1.0
        } else {
            (f64::from(candidate.logit - max) / f64::from(temperature)).exp()
        }
    };
    let total: f64 = candidates.iter().map(scaled).sum();
    let mut left = random.unit() * total;
    for candidate in candidates {
        left -= scaled(candidate);
        if left < 0.0 {
            return candidate.token;
        }
    }
    // rounding ate the last share
    let last_possible = candidates.iter().rev().find(|last| scaled(last) > 0.0);
    last_possible.map_or(candidates[0].token, |candidate| candidate.token)
}
