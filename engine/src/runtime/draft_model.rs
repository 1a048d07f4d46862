//! Guesses at what sequences say next, from a small model with the same vocabulary.
//!
//! The small model writes a few tokens, its likeliest each, and the next step of the large one checks them all. What is
//! generated is the same with them and without. How many are worth it follows from what is measured: how long a step of
//! either model takes, by its width, and how often guesses were right of late. Where none pay there are none, but for a
//! trial now and then.

use super::{draft::MAX_DRAFT, pace::Pace, sequence::Sequence, worth::Luck};
use crate::{
    KvCache, LoadError, LoadOptions, TokenId, Tokenizer,
    model::{LogitsFor, Model, Part, Scratch},
};
use slm_kernels::KvPool;
use std::{path::Path, time::Instant};

/// Tokens of a sequence that the small model reads beside a step of the large one, where it is behind.
const CATCH_UP: usize = 64;
/// Share of a new measurement in what is known.
const WEIGHT: f64 = 0.2;
/// Tokens without a guess after which one is tried, at first and at most; and how many the small model may be behind then.
const TRIAL: std::ops::Range<usize> = 32..512;
/// Tokens of a guess before anything was measured, and of a trial.
const FIRST: usize = 3;

/// See the module.
pub(super) struct DraftModel {
    model: Model,
    scratch: Scratch,
    logits: Vec<f32>,
    /// Seconds that a step of one token for each sequence takes.
    step: Option<f64>,
}

/// What a sequence keeps for guesses of a model.
pub(super) struct DraftState {
    /// The small model's.
    cache: Option<KvCache>,
    luck: Luck,
    /// Whether the guess that stands now is the model's.
    is_standing: bool,
    /// Tokens of the sequence at the last guess.
    last_at: usize,
    /// Tokens until the next trial.
    trial: usize,
}

impl DraftState {
    /// Of a sequence with so many tokens of prompt.
    pub(super) fn new(n_prompt: usize) -> Self {
        Self {
            cache: None,
            luck: Luck::default(),
            is_standing: false,
            last_at: n_prompt,
            trial: TRIAL.start,
        }
    }

    /// Forgets the small model's state, and the guess.
    pub(super) fn lose_state(&mut self) {
        self.cache = None;
        self.is_standing = false;
    }

    /// Says that the guess that stood does not any more.
    pub(super) fn forget_guess(&mut self) {
        self.is_standing = false;
    }

    /// Learns from the guess that stood, if it was the model's; false if it was not.
    pub(super) fn judge(&mut self, n_tokens: usize, n_right: usize) -> bool {
        if !std::mem::take(&mut self.is_standing) {
            return false;
        }
        self.luck.judge(n_tokens, n_right);
        true
    }
}

impl DraftModel {
    /// Loads the model, which is to guess for `target`.
    ///
    /// # Errors
    /// One that has another vocabulary, or whose state cannot be taken back; else as [`Model::load`].
    pub(super) fn load(
        path: &Path,
        target: &Model,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let options = LoadOptions {
            draft: None,
            prefix_store: None,
            progress: None,
            ..options.clone()
        };
        let model = Model::load(path, &options)?;
        if model.decoder().new_cache().is_recurrent() {
            return Err(LoadError::Draft(
                "its state cannot be taken back to where a guess went wrong".to_owned(),
            ));
        }
        if let Some(difference) = difference(target.tokenizer(), model.tokenizer()) {
            return Err(LoadError::Draft(difference));
        }
        Ok(Self {
            model,
            scratch: Scratch::default(),
            logits: Vec::new(),
            step: None,
        })
    }

    /// Where all states lie.
    pub(super) fn kv_pool(&self) -> &KvPool {
        self.model.decoder().kv_pool()
    }

    /// Guesses for those of `sequences` that are to be decoded and have no guess yet, at most `most` tokens for each, with
    /// states of at most `room` more bytes.
    pub(super) fn guess<'a>(
        &mut self,
        sequences: impl Iterator<Item = &'a mut Sequence>,
        most: usize,
        pace: &Pace,
        room: u64,
    ) {
        let mut guessing: Vec<Guessing<'_>> = sequences.filter_map(Guessing::of).collect();
        let n_sequences = guessing.len();
        let luck = guessing.iter().map(|g| g.state.luck.chance());
        let luck = luck.sum::<f64>() / n_sequences.max(1) as f64;
        let worth = self.worth(luck, n_sequences, most.min(MAX_DRAFT), pace);
        guessing.retain_mut(|g| g.begin(worth, most));
        let mut left = room;
        let decoder = self.model.decoder();
        let spec = decoder.spec();
        guessing.retain_mut(|g| {
            let cache = g.cache.get_or_insert_with(|| decoder.new_cache());
            decoder.resume(cache, g.tokens);
            let rest = &g.tokens[cache.len()..];
            let needed = cache.growth_bytes(rest.len() + g.most);
            // the large model may have more rows than there are tokens
            let is_known = rest.iter().all(|token| (*token as usize) < spec.vocab_size);
            let is_short = g.tokens.len() + g.most <= spec.context_length;
            let fits = needed <= left && is_known && is_short;
            left -= if fits { needed } else { 0 };
            // what does not fit is not kept for later
            if !fits {
                g.cache = None;
            }
            fits
        });
        while !guessing.is_empty() {
            self.step(&mut guessing);
        }
    }

    /// The number of guessed tokens for each of `n_sequences` that gives most tokens in a second; 0 where none pays.
    fn worth(&self, luck: f64, n_sequences: usize, most: usize, pace: &Pace) -> usize {
        let Some(step) = self.step else {
            return FIRST.min(most);
        };
        let rate = |n: usize| {
            // the first one is always right, each other only after the one before it
            let tokens: f64 = (0..=n).map(|i| luck.powi(i as i32)).sum();
            let checking = pace.plain_seconds(n_sequences * (n + 1))?;
            Some(tokens / (n as f64 * step + checking))
        };
        let best = (0..=most).max_by(|a, b| {
            rate(*a)
                .partial_cmp(&rate(*b))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        best.unwrap_or(0)
    }

    /// Gives each one more token, or lets it read what the small model has not seen yet; takes out those that are done.
    fn step(&mut self, guessing: &mut Vec<Guessing<'_>>) {
        let decoder = self.model.decoder();
        let n_vocab = decoder.spec().vocab_size;
        let n_tokens = self.model.tokenizer().vocab_size();
        let mut parts = Vec::with_capacity(guessing.len());
        for g in &mut *guessing {
            g.all.truncate(g.tokens.len());
            g.all.extend_from_slice(g.draft);
            let Some(cache) = &mut g.cache else {
                continue;
            };
            let first = cache.len();
            let rest = &g.all[first..];
            let tokens = &rest[..rest.len().min(CATCH_UP)];
            let wanted = match tokens.len() == rest.len() {
                true => LogitsFor::Last,
                false => LogitsFor::Nothing,
            };
            g.has_logits = tokens.len() == rest.len();
            parts.push(Part {
                cache,
                tokens,
                wanted,
            });
        }
        let is_short = parts.iter().all(|part| part.tokens.len() == 1);
        let started = Instant::now();
        decoder.step(&mut parts, &mut self.scratch, &mut self.logits);
        if is_short {
            let seconds = started.elapsed().as_secs_f64();
            let known = self.step.get_or_insert(seconds);
            *known += WEIGHT * (seconds - *known);
        }
        let mut rows = self.logits.chunks_exact(n_vocab);
        guessing.retain_mut(|g| {
            if !g.has_logits {
                // it goes on with the next step of the large model
                return false;
            }
            let token = rows
                .next()
                .and_then(|logits| likeliest(&logits[..n_tokens]));
            g.draft.extend(token);
            token.is_some() && g.draft.len() < g.most
        });
    }
}

/// A sequence that a guess is made for.
struct Guessing<'a> {
    tokens: &'a [TokenId],
    draft: &'a mut Vec<TokenId>,
    state: &'a mut DraftState,
    /// The small model's state, put back at the end.
    cache: Option<KvCache>,
    /// Tokens and guess.
    all: Vec<TokenId>,
    most: usize,
    /// Whether it is only to see what it is worth now.
    is_trial: bool,
    has_logits: bool,
}

impl<'a> Guessing<'a> {
    fn of(sequence: &'a mut Sequence) -> Option<Self> {
        let (tokens, draft, state, n_left) = sequence.drafting()?;
        Some(Self {
            tokens,
            draft,
            cache: state.cache.take(),
            state,
            all: Vec::new(),
            is_trial: false,
            most: n_left,
            has_logits: false,
        })
    }

    /// Whether there is to be a guess, where `worth` tokens are worth it.
    fn begin(&mut self, worth: usize, most: usize) -> bool {
        let n_known = self.cache.as_ref().map_or(0, KvCache::len);
        let is_time = self.tokens.len() >= self.state.last_at + self.state.trial
            && self.tokens.len() <= n_known + TRIAL.end;
        let n = match worth {
            0 if is_time => FIRST,
            n => n,
        };
        self.is_trial = worth == 0;
        self.most = self.most.min(n).min(most);
        if self.most > 0 {
            self.all = self.tokens.to_vec();
        }
        self.most > 0
    }
}

impl Drop for Guessing<'_> {
    fn drop(&mut self) {
        self.state.cache = self.cache.take();
        self.state.is_standing = !self.draft.is_empty();
        if self.state.is_standing {
            self.state.last_at = self.tokens.len();
            self.state.trial = match self.is_trial {
                true => (2 * self.state.trial).min(TRIAL.end),
                false => TRIAL.start,
            };
        }
    }
}

fn likeliest(logits: &[f32]) -> Option<TokenId> {
    let finite = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| logit.is_finite());
    let best = finite.max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(token, _)| token as TokenId)
}

/// How the vocabulary of the small model differs from that of the large one.
fn difference(target: &Tokenizer, draft: &Tokenizer) -> Option<String> {
    let (n_target, n_draft) = (target.vocab_size(), draft.vocab_size());
    if n_target != n_draft {
        return Some(format!(
            "its vocabulary has {n_draft} tokens instead of {n_target}"
        ));
    }
    // what shows of a token is the large model's affair
    let differs = |&token: &TokenId| target.token_text(token) != draft.token_text(token);
    let first = (0..n_target as TokenId).find(differs)?;
    Some(format!("token {first} of its vocabulary is another"))
}
