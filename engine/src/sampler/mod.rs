//! Logits to the next token: biases, penalties, then what to keep, then temperature and a draw.
//!
//! The order is llama.cpp's default chain, which Ollama runs too (`common_params_sampling::samplers`: penalties, DRY,
//! top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature; those named here in that order, the others do not
//! exist here): every filter sees the probabilities at temperature 1, and temperature only shapes the final draw. One
//! file per stage. A stage never removes the last candidate, and a logit that is no number is never a candidate.
//!
//! A seed gives the same tokens for the same logits in every version: the generator and the draw are our own, and the
//! candidates reach the draw in a settled order (by likelihood, or by id where nothing was sorted).

mod bias;
mod candidates;
mod logprobs;
mod min_p;
mod penalties;
mod random;
mod temperature;
mod top_k;
mod top_p;
mod typical_p;

#[cfg(test)]
mod tests;

pub use logprobs::TokenLogprobs;

use crate::tokenizer::TokenId;
use candidates::Candidate;
use penalties::Penalties;
use random::Random;

/// How to choose the next token. The neutral value of each switches it off.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k most likely; 0 is off.
    pub top_k: usize,
    /// Nucleus; 1 is off.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the best; 0 is off.
    pub min_p: f32,
    /// Locally typical sampling; 1 is off.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens; 1 is off.
    pub repeat_penalty: f32,
    /// Window of the three penalties in tokens; 0 is off, `usize::MAX` the whole context.
    pub repeat_last_n: usize,
    /// Subtracted once from the logit of a recent token; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted per occurrence; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens, ahead of all else.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Same seed, same text; `None` draws one.
    pub seed: Option<u64>,
}

impl Default for SamplingParams {
    /// Ollama's defaults.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// The state of one sequence's sampling: parameters, recent tokens, random stream.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    penalties: Penalties,
    random: Random,
    /// Kept to spare an allocation per token.
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler whose penalties see the end of `prompt`.
    pub fn new(params: &SamplingParams, prompt: &[TokenId]) -> Self {
        let seed = params.seed.unwrap_or_else(|| fastrand::u64(..));
        Self {
            params: params.clone(),
            penalties: Penalties::new(params, prompt),
            random: Random::new(seed),
            candidates: Vec::new(),
        }
    }
    /// Chooses the next token and remembers it. `logits` is scratch afterwards. Where no logit is a finite number or
    /// +∞, the first token is chosen.
    ///
    /// # Panics
    /// When `logits` is empty.
    pub fn sample(&mut self, logits: &mut [f32]) -> TokenId {
        assert!(!logits.is_empty(), "there is nothing to choose from");
        bias::apply(logits, &self.params.logit_bias);
        self.penalties.apply(logits);
        let token = if self.params.temperature > 0.0 {
            self.draw(logits)
        } else {
            greedy(logits)
        };
        self.penalties.accept(token);
        token
    }

    fn draw(&mut self, logits: &[f32]) -> TokenId {
        let params = &self.params;
        let candidates = &mut self.candidates;
        top_k::select(logits, params.top_k, candidates);
        if candidates.is_empty() {
            return 0;
        }
        typical_p::keep(candidates, params.typical_p);
        top_p::keep(candidates, params.top_p);
        min_p::keep(candidates, params.min_p);
        temperature::draw(candidates, params.temperature, &mut self.random)
    }
}

/// The first of the greatest logits; 0 when all are −∞ or no number.
fn greedy(logits: &[f32]) -> TokenId {
    // lanes that do not wait for each other, then a search for the value found
    const LANES: usize = 16;
    let greater = |best: f32, logit: f32| if logit > best { logit } else { best };
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut best = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (best, &logit) in best.iter_mut().zip(chunk) {
            *best = greater(*best, logit);
        }
    }
    let max = best
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, greater);
    let place = logits
        .iter()
        .position(|&logit| logit == max && max > f32::NEG_INFINITY);
    place.map_or(0, |place| place as TokenId)
}
