//! Logits to the next token: penalties, temperature, top-k, top-p, min-p, seed.
use crate::tokenizer::TokenId;

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
            seed: None,
        }
    }
}

/// The state of one sequence's sampling: parameters, recent tokens, random stream.
#[derive(Debug)]
pub struct Sampler {}

impl Sampler {
    /// A sampler whose penalties see the end of `prompt`.
    pub fn new(_params: &SamplingParams, _prompt: &[TokenId]) -> Self {
        todo!()
    }
    /// Chooses the next token and remembers it. `logits` is scratch afterwards.
    ///
    /// # Panics
    /// When `logits` is empty.
    pub fn sample(&mut self, _logits: &mut [f32]) -> TokenId {
        todo!()
    }
}
