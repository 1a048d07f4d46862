//! Penalties for tokens that were there lately (llama.cpp's formulas, `llama_sampler_penalties_apply`).
//!
//! A token seen n > 0 times in the window: a logit ≤ 0 is multiplied by the repeat penalty, a greater one divided by it;
//! then n × frequency penalty and the presence penalty are subtracted.
use super::SamplingParams;
use crate::tokenizer::TokenId;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// The last tokens and how often each is among them.
#[derive(Debug)]
pub(super) struct Penalties {
    repeat: f32,
    frequency: f32,
    presence: f32,
    /// Largest length of `recent`; 0 when all penalties are neutral.
    window: usize,
    recent: VecDeque<TokenId>,
    counts: FxHashMap<TokenId, u32>,
}

impl Penalties {
    /// A window that ends with the end of `prompt`.
    pub(super) fn new(params: &SamplingParams, prompt: &[TokenId]) -> Self {
        let neutral = params.repeat_penalty == 1.0
            && params.frequency_penalty == 0.0
            && params.presence_penalty == 0.0;
        let mut penalties = Self {
            repeat: params.repeat_penalty,
            frequency: params.frequency_penalty,
            presence: params.presence_penalty,
            window: if neutral { 0 } else { params.repeat_last_n },
            recent: VecDeque::new(),
            counts: FxHashMap::default(),
        };
        let start = prompt.len().saturating_sub(penalties.window);
        for &token in &prompt[start..] {
            penalties.accept(token);
        }
        penalties
    }
    /// Lowers the logits of recent tokens.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            if *logit <= 0.0 {
                *logit *= self.repeat;
            } else {
                *logit /= self.repeat;
            }
            *logit -= count as f32 * self.frequency + self.presence;
        }
    }
    /// Moves the window on by one token.
    pub(super) fn accept(&mut self, token: TokenId) {
        if self.window == 0 {
            return;
        }
        if self.recent.len() == self.window
            && let Some(oldest) = self.recent.pop_front()
            && let Some(count) = self.counts.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&oldest);
            }
        }
        self.recent.push_back(token);
        *self.counts.entry(token).or_insert(0) += 1;
    }
}
