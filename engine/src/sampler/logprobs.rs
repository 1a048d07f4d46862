//! How likely the model found the tokens, before anything else changed their likelihood.

use crate::tokenizer::TokenId;

/// Most alternatives that are given for a token.
const MAX_TOP: usize = 20;

/// How likely the model found a token of its answer: logarithms of probabilities at temperature 1, ahead of penalties,
/// filters and constraints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token itself, at most 0.
    pub logprob: f32,
    /// The likeliest tokens, the likeliest first, and theirs.
    pub top: Vec<(TokenId, f32)>,
}

impl TokenLogprobs {
    /// Those of `token` and of the `n_top` likeliest; all are finite.
    pub(crate) fn of(logits: &[f32], token: TokenId, n_top: usize) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = logits.iter().map(|&logit| f64::from(logit - max).exp());
        let total: f64 = weights.filter(|weight| weight.is_finite()).sum();
        let logprob = |logit: f32| {
            let logprob = (f64::from(logit - max) - total.ln()) as f32;
            match logprob.is_nan() {
                true => f32::MIN,
                false => logprob.clamp(f32::MIN, 0.0),
            }
        };
        let mut top: Vec<(TokenId, f32)> = Vec::with_capacity(MAX_TOP + 1);
        let n_top = n_top.min(MAX_TOP);
        for (id, &logit) in (0..).zip(logits).filter(|(_, logit)| logit.is_finite()) {
            if top.len() < n_top || top.last().is_some_and(|(_, least)| logit > *least) {
                let at = top.partition_point(|(_, better)| *better >= logit);
                top.insert(at, (id, logit));
                top.truncate(n_top);
            }
        }
        Self {
            logprob: logprob(logits.get(token as usize).copied().unwrap_or(f32::NAN)),
            top: top
                .into_iter()
                .map(|(id, logit)| (id, logprob(logit)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_of_probabilities_the_likeliest_first() {
        // of weights 1, 2, 4, 1 in 8
        let logits = [0.0, 2f32.ln(), 4f32.ln(), 0.0, f32::NEG_INFINITY];
        let found = TokenLogprobs::of(&logits, 1, 3);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(close(found.logprob, 0.25f32.ln()));
        let ids: Vec<TokenId> = found.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 1, 0]);
        let expected = [0.5f32, 0.25, 0.125].map(f32::ln);
        for ((_, logprob), expected) in found.top.iter().zip(expected) {
            assert!(close(*logprob, expected), "{found:?}");
        }
        assert_eq!(TokenLogprobs::of(&logits, 0, 0).top, []);
        assert_eq!(TokenLogprobs::of(&logits, 0, 50).top.len(), 4);
        for logits in [[f32::INFINITY, 0.0], [f32::NAN, 1.0], [-1e38, 1e38]] {
            let found = TokenLogprobs::of(&logits, 0, 2);
            assert!(
                found.logprob.is_finite() && found.logprob <= 0.0,
                "{found:?}"
            );
            assert!(found.top.iter().all(|(_, l)| l.is_finite()), "{found:?}");
        }
    }
}
