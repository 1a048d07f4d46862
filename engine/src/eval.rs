//! How well a model predicts a text, and how far its predictions are from another's, with the chunks and the formulas
//! of llama-perplexity.
//!
//! A text is cut into chunks of `n_ctx` tokens, each computed by itself, with BOS in the place of its first token where
//! the vocabulary asks for it. Only predictions in the second half count, so that each has something to go by: those of
//! the tokens at `n_ctx / 2 + 1 .. n_ctx`. Perplexity is `exp` of the mean of their `-ln p`.

use crate::{
    KvCache, Model, TokenId,
    model::{LogitsFor, Scratch},
};

/// Logits that are held at once, at most.
const WIDEST_BUFFER: usize = 16 << 20;

/// Computes the predictions of a text, chunk by chunk.
pub struct Eval<'m> {
    model: &'m Model,
    n_ctx: usize,
    cache: KvCache,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'m> Eval<'m> {
    /// Predictions that count in a chunk of `n_ctx` tokens.
    pub const fn predictions(n_ctx: usize) -> usize {
        n_ctx - 1 - n_ctx / 2
    }

    /// Chunks of `n_ctx` tokens, at least 4.
    ///
    /// # Panics
    /// When `n_ctx` is smaller.
    pub fn new(model: &'m Model, n_ctx: usize) -> Self {
        assert!(n_ctx >= 4, "a chunk of {n_ctx} tokens predicts nothing");
        Self {
            model,
            n_ctx,
            cache: model.decoder().new_cache(),
            scratch: Scratch::default(),
            logits: Vec::new(),
        }
    }

    /// Gives `judge` the logits ahead of each token that counts in `chunk`, and the token, in order.
    ///
    /// # Panics
    /// When `chunk` is not `n_ctx` long, or has an id outside the vocabulary.
    pub fn chunk(&mut self, chunk: &[TokenId], mut judge: impl FnMut(&[f32], TokenId)) {
        assert_eq!(chunk.len(), self.n_ctx, "the chunk's length");
        let decoder = self.model.decoder();
        let n_vocab = decoder.spec().vocab_size;
        let mut tokens = chunk.to_vec();
        if let Some(bos) = self.model.tokenizer().leading_bos() {
            tokens[0] = bos;
        }
        self.cache.rewind(0);
        decoder.resume(&mut self.cache, &tokens);
        let first = self.n_ctx / 2;
        let mut run = |tokens: &[TokenId], wanted, logits: &mut Vec<f32>| {
            decoder.forward(&mut self.cache, &mut self.scratch, tokens, wanted, logits);
        };
        run(&tokens[..first], LogitsFor::Nothing, &mut self.logits);
        let counted = &tokens[first..self.n_ctx - 1];
        let at_once = (WIDEST_BUFFER / n_vocab).clamp(1, counted.len());
        let mut next = chunk[first + 1..].iter();
        for tokens in counted.chunks(at_once) {
            run(tokens, LogitsFor::All, &mut self.logits);
            for (logits, token) in self.logits.chunks_exact(n_vocab).zip(&mut next) {
                judge(logits, *token);
            }
        }
    }
}

/// `ln` of the sum of `e^logit`, as the largest logit and what is added to it.
fn log_sum_exp(logits: &[f32]) -> (f32, f64) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from((x - largest).exp())).sum();
    (largest, sum.ln())
}

/// `-ln p` of `token`.
pub fn surprise(logits: &[f32], token: TokenId) -> f64 {
    let (largest, rest) = log_sum_exp(logits);
    rest - f64::from(logits[token as usize] - largest)
}

/// A mean of numbers as they come, and its standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    sum_squares: f64,
    n: usize,
}

impl Mean {
    /// One more number.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.sum_squares += value * value;
        self.n += 1;
    }

    /// Numbers so far.
    pub fn count(&self) -> usize {
        self.n
    }

    /// The mean; 0 of none.
    pub fn value(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }

    /// Its standard error; 0 of a handful, as in the reference.
    pub fn error(&self) -> f64 {
        let variance = self.sum_squares / self.n.max(1) as f64 - self.value().powi(2);
        if self.n > 10 && variance > 0.0 {
            (variance / (self.n - 1) as f64).sqrt()
        } else {
            0.0
        }
    }
}

/// Log-probabilities of all tokens at one place in 16 bits each, as llama-perplexity stores them: `scale · code + least`,
/// where nothing is less than `e^-16` times the most likely.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// What a code of one means.
    pub scale: f32,
    /// What a code of zero means.
    pub least: f32,
    /// One for each token.
    pub codes: Vec<u16>,
}

impl Distribution {
    /// Rounds the probabilities of `logits`.
    pub fn of(logits: &[f32]) -> Self {
        let (largest, rest) = log_sum_exp(logits);
        let smallest = logits.iter().copied().fold(f32::INFINITY, f32::min);
        let smallest = smallest.max(largest - 16.0);
        let scale = (largest - smallest) / f32::from(u16::MAX);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let code = |x: &f32| (inverse * (x - smallest).max(0.0)).round_ties_even() as u16;
        Self {
            scale,
            least: smallest - largest - rest as f32,
            codes: logits.iter().map(code).collect(),
        }
    }

    /// `ln p` of a token.
    pub fn log_probability(&self, token: usize) -> f32 {
        self.scale * f32::from(self.codes[token]) + self.least
    }

    /// The most likely token; the first of several.
    pub fn most_likely(&self) -> usize {
        let best = self.codes.iter().max();
        let at = self.codes.iter().position(|code| Some(code) == best);
        at.unwrap_or(0)
    }

    /// `Σ p · ln(p / q)` in nats, from this distribution `p` to the one `q` of `logits`, over tokens of some likelihood.
    pub fn divergence(&self, logits: &[f32]) -> f64 {
        let (largest, rest) = log_sum_exp(logits);
        let total = f64::from(largest) + rest;
        let terms = logits.iter().enumerate().map(|(token, logit)| {
            let log_p = self.log_probability(token);
            match log_p > -16.0 {
                true => f64::from(log_p.exp()) * (f64::from(log_p) - f64::from(*logit) + total),
                false => 0.0,
            }
        });
        terms.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_the_negative_logarithm_of_the_probability() {
        let logits = [1.0, 3.0, -2.0];
        let sum: f64 = logits.iter().map(|x: &f32| f64::from(*x).exp()).sum();
        for (token, logit) in (0..).zip(logits) {
            let expected = -(f64::from(logit).exp() / sum).ln();
            assert!((surprise(&logits, token) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_mean_has_an_error_when_there_is_enough_of_it() {
        let mut mean = Mean::default();
        (1..=12).for_each(|n| mean.add(f64::from(n)));
        assert_eq!(mean.value(), 6.5);
        // the variance of 1..=12 is 143 / 12
        assert!((mean.error() - (143.0 / 12.0 / 11.0f64).sqrt()).abs() < 1e-12);
        assert_eq!(Mean::default().value(), 0.0);
    }

    #[test]
    fn a_distribution_keeps_probabilities_and_is_no_distance_from_itself() {
        let logits: Vec<f32> = (0..50)
            .map(|i| (i as f32 * 0.77).sin() * 6.0 - 3.0)
            .collect();
        let stored = Distribution::of(&logits);
        for token in 0..50 {
            let exact = -surprise(&logits, token as TokenId);
            let kept = f64::from(stored.log_probability(token));
            assert!((exact - kept).abs() < 2e-4, "{token}: {exact} {kept}");
        }
        assert!(stored.divergence(&logits).abs() < 1e-3);
        let best = (0..50).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        assert_eq!(Some(stored.most_likely()), best);
    }

    #[test]
    fn a_divergence_is_that_of_the_definition() {
        let (p, q) = ([0.5f64, 0.25, 0.25], [0.25f64, 0.5, 0.25]);
        let logits = |p: [f64; 3]| p.map(|p| p.ln() as f32);
        let expected: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        let found = Distribution::of(&logits(p)).divergence(&logits(q));
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    #[test]
    fn equal_logits_are_a_distribution_too() {
        let stored = Distribution::of(&[2.0; 4]);
        assert_eq!(stored.codes, [0; 4]);
        assert!((stored.log_probability(1) - 0.25f32.ln()).abs() < 1e-6);
    }
}
