//! Top-k: the k greatest logits, found in one pass over the vocabulary without sorting it.
use super::candidates::{Candidate, most_likely_first};
use crate::TokenId;

/// Logits that are looked at together.
const RUN: usize = 64;

/// Replaces `out` by the `k` most likely tokens, most likely first, or for `k` = 0 by all of them in the order of their
/// ids. Logits of −∞ or no number are left out.
pub(super) fn select(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    if k == 0 {
        let all = (0..)
            .zip(logits)
            .filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        out.extend(all.map(|(token, &logit)| Candidate { token, logit }));
        return;
    }
    // Candidates gather above a threshold that rises each time the buffer is full.
    let full = k.saturating_mul(4).max(1024);
    let mut threshold = f32::NEG_INFINITY;
    for (idx, run) in logits.chunks(RUN).enumerate() {
        // nearly all runs have nothing above the threshold, and that is told without a branch for each logit
        if !run
            .iter()
            .fold(false, |any, &logit| any | (logit > threshold))
        {
            continue;
        }
        for (token, &logit) in ((idx * RUN) as TokenId..).zip(run) {
            // of equal logits the first token wins, so a later one must be strictly greater
            if logit > threshold {
                out.push(Candidate { token, logit });
                if out.len() == full {
                    keep_best(out, k);
                    threshold = out[k - 1].logit;
                }
            }
        }
    }
    keep_best(out, k);
    out.sort_unstable_by(most_likely_first);
}

/// Keeps the `k` best; the k-th of them comes last.
fn keep_best(candidates: &mut Vec<Candidate>, k: usize) {
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, most_likely_first);
        candidates.truncate(k);
    }
}
