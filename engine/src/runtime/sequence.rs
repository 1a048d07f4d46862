//! One generation in progress: its tokens, how far its cache has got with them, and what it has to say.
//!
//! A sequence is a list of tokens, prompt and answer alike, of which the cache has the state of the first ones. A step
//! feeds it some of the others. Once it has all, the logits of the last give the next token.

use super::{
    Entry, Finish, GenerateRequest, Stats, StepResult, StopReason,
    draft::{Drafter, MAX_DRAFT},
    draft_model::DraftState,
    request::Place,
};
use crate::{
    Constraint, KvCache, TokenId,
    model::{Decoder, LogitsFor, Model, Part},
    sampler::{Sampler, TokenLogprobs},
    text_stream::{Delta, TextStream},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// Tokens at the end of a prompt ahead of which a state that cannot be taken back is copied: the same prompt again, or
/// one that goes on from this one without the answer's beginning, starts from there.
const PROMPT_END: usize = 8;
/// How long a client may take nothing before its generation is given up, so that it does not keep others out.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Whether a sequence can be stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It can.
    Ready,
    /// The client has not taken earlier results yet.
    Waiting,
    /// Finished, failed or cancelled.
    Ended,
}

/// A generation: its request, its state, and what it has to say.
pub(super) struct Sequence {
    request: GenerateRequest,
    results: Sender<StepResult>,
    /// Results that did not fit into the channel; as many as a step gives.
    unsent: VecDeque<StepResult>,
    has_ended: bool,
    /// Since when the client has taken nothing.
    waiting_since: Option<Instant>,
    /// Prompt and answer.
    tokens: Vec<TokenId>,
    /// A guess at what follows, fed in with the next step.
    draft: Vec<TokenId>,
    drafter: Drafter,
    /// How many tokens of a guess lie before where all is computed anew.
    n_alike: usize,
    /// How many tokens there were when it last stood still for others' prompts.
    paused_at: Option<usize>,
    draft_state: DraftState,
    cache: KvCache,
    sampler: Sampler,
    /// What the next tokens may be; has seen those that were chosen.
    constraint: Option<Constraint>,
    /// The model's own logits, where the request wants to know them.
    raw_logits: Vec<f32>,
    /// How likely the prompt's tokens from the second on were, as far as they have been read.
    of_prompt: Vec<TokenLogprobs>,
    /// Where the part of the current step begins, if it is of such a prompt.
    telling_from: Option<usize>,
    text: TextStream,
    started_at: Instant,
    first_token_at: Option<Instant>,
    stats: Stats,
    /// Until its end is told: whoever has an answer takes up no place.
    place: Option<Place>,
}

impl Sequence {
    /// A generation that goes on from what `cache` has of its prompt.
    pub(super) fn new(entry: Entry, cache: KvCache, model: &Model) -> Self {
        let Entry {
            mut request,
            results,
            queued_at,
            place,
            ..
        } = entry;
        let constraint = request.constraint.take();
        let prompt = &request.prompt;
        let started_at = Instant::now();
        let stop = match &constraint {
            Some(constraint) if !constraint.is_optional() => Vec::new(),
            _ => request.stop.clone(),
        };
        let mut text = TextStream::after(prompt, model.tokenizer(), stop);
        if constraint.as_ref().is_some_and(Constraint::begins_at_once) {
            text = text.exact();
        }
        Self {
            sampler: Sampler::new(&request.sampling, prompt),
            constraint,
            raw_logits: Vec::new(),
            of_prompt: Vec::new(),
            telling_from: None,
            text: text.showing(request.shown.clone()),
            stats: Stats {
                n_prompt_tokens: prompt.len(),
                n_cached_tokens: cache.len(),
                queued: started_at - queued_at,
                ..Stats::default()
            },
            tokens: prompt.clone(),
            draft: Vec::new(),
            drafter: Drafter::new(!cache.is_recurrent()),
            n_alike: usize::MAX,
            paused_at: None,
            draft_state: DraftState::new(prompt.len()),
            request,
            results,
            unsent: VecDeque::new(),
            has_ended: false,
            waiting_since: None,
            cache,
            started_at,
            first_token_at: None,
            place: Some(place),
        }
    }

    pub(super) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// How long ago it became active.
    pub(super) fn age(&self) -> Duration {
        self.started_at.elapsed()
    }

    pub(super) fn into_cache(self) -> KvCache {
        self.cache
    }

    /// Takes the state away: it is computed anew when the sequence is stepped next.
    pub(super) fn lose_state(&mut self, decoder: &Decoder) {
        self.draft.clear();
        self.draft_state.lose_state();
        let owner = self.cache.owner().clone();
        self.cache = decoder.new_cache();
        self.cache.own(&owner);
        self.cache.expect(self.tokens.len());
    }

    /// Takes the state away when it is that of a short sequence and this one has become long: where the model rotates
    /// those otherwise, all is computed anew, step by step as prompts are.
    pub(super) fn outgrow(&mut self, decoder: &Decoder) {
        let len = self.tokens.len();
        let is_new = self.cache.is_empty() && self.cache.expected_len() >= len;
        if decoder.is_long(len) && !self.cache.is_long() && !is_new {
            self.lose_state(decoder);
        }
    }

    /// Prompt and answer so far.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    pub(super) fn fail(self, why: &str) {
        let _receiver_may_be_gone = self.results.try_send(StepResult::Failed(why.to_owned()));
    }

    /// Sends what waits, and says whether there is more to do.
    pub(super) fn poll(&mut self) -> Readiness {
        match self.flush() {
            Flushed::All if self.has_ended || self.results.is_closed() => Readiness::Ended,
            Flushed::All => {
                self.waiting_since = None;
                Readiness::Ready
            }
            Flushed::ChannelFull => {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                if since.elapsed() < CLIENT_TIMEOUT {
                    Readiness::Waiting
                } else {
                    Readiness::Ended
                }
            }
            Flushed::ReceiverGone => Readiness::Ended,
        }
    }

    /// Whether the next step gives a token, and needs no more than that and a guess.
    pub(super) fn is_decoding(&self) -> bool {
        self.cache.len() + 1 == self.tokens.len()
    }

    /// Tokens to feed in before the next one can be chosen.
    pub(super) fn n_rest(&self) -> usize {
        self.tokens.len() - self.cache.len()
    }

    /// Stands still while others' prompts are read.
    pub(super) fn pause(&mut self) {
        self.paused_at = Some(self.tokens.len());
    }

    /// Tokens since it last stood still; `None` where it has not.
    pub(super) fn since_pause(&self) -> Option<usize> {
        let paused_at = self.paused_at?;
        Some(self.tokens.len().saturating_sub(paused_at))
    }

    /// Whether the next step tells of the prompt's tokens: each of them then has logits.
    pub(super) fn tells_of_prompt(&self) -> bool {
        let is_reading = self.first_token_at.is_none();
        is_reading && self.request.prompt_logprobs && self.cache.len() + 1 < self.tokens.len()
    }

    /// Guesses at what follows, at most `n_tokens` of it, and not beyond where all is computed anew.
    pub(super) fn guess(&mut self, n_tokens: usize, decoder: &Decoder) {
        debug_assert!(self.is_decoding(), "nothing else waits to be fed in");
        let n_left = self.n_left().saturating_sub(1);
        self.n_alike = decoder.room_before_long(self.tokens.len());
        let n = n_tokens.min(MAX_DRAFT).min(n_left).min(self.n_alike);
        self.draft_state.forget_guess();
        self.drafter.guess(&self.tokens, n, &mut self.draft);
    }

    /// How many tokens were guessed, and how likely one of them is right.
    pub(super) fn guessed(&self) -> (usize, f64) {
        (self.draft.len(), self.drafter.chance())
    }

    /// Lets go of all but the first `n_tokens` of the guess.
    pub(super) fn shorten_guess(&mut self, n_tokens: usize) {
        self.draft.truncate(n_tokens);
    }

    /// What a model needs to guess at what follows, where nothing was guessed yet: the tokens, the guess, what is kept for
    /// it, and how many tokens it may have at most.
    pub(super) fn drafting(
        &mut self,
    ) -> Option<(&[TokenId], &mut Vec<TokenId>, &mut DraftState, usize)> {
        let n_left = self.n_left().saturating_sub(1).min(self.n_alike);
        let is_wanted = self.draft.is_empty() && n_left > 0 && !self.cache.is_recurrent();
        is_wanted.then_some((&self.tokens, &mut self.draft, &mut self.draft_state, n_left))
    }

    /// How many tokens may still be generated.
    fn n_left(&self) -> usize {
        let in_context = self
            .request
            .context_length
            .saturating_sub(self.tokens.len());
        let max = self.request.max_tokens.unwrap_or(usize::MAX);
        in_context.min(max.saturating_sub(self.stats.n_generated_tokens))
    }

    /// How many tokens the next step would take of this sequence, of at most `most`.
    pub(super) fn n_next(&mut self, most: usize) -> usize {
        let n_rest = self.n_rest();
        if self.is_decoding() {
            return 1 + self.draft.len();
        }
        let n = n_rest.min(most);
        if !self.cache.is_recurrent() {
            return n;
        }
        match n_rest.saturating_sub(PROMPT_END) {
            0 => {
                self.cache.checkpoint();
                n
            }
            ahead => n.min(ahead),
        }
    }

    /// This sequence's part of a step of `n_tokens` of it, as [`Sequence::n_next`] gave them.
    pub(super) fn part<'a>(&'a mut self, n_tokens: usize) -> Part<'a> {
        let first = self.cache.len();
        self.telling_from = self.tells_of_prompt().then_some(first);
        if !self.draft.is_empty() {
            // the guess stands behind the tokens until it is judged
            self.tokens.extend_from_slice(&self.draft);
        }
        let end = first + n_tokens;
        Part {
            cache: &mut self.cache,
            wanted: match end == self.tokens.len() {
                _ if self.telling_from.is_some() => LogitsFor::All,
                true if self.draft.is_empty() => LogitsFor::Last,
                true => LogitsFor::All,
                false => LogitsFor::Nothing,
            },
            tokens: &self.tokens[first..end],
        }
    }

    /// Takes what a step gave: the logits that its part wanted, `[n, vocab_size]`.
    pub(super) fn take(&mut self, model: &Model, logits: &mut [f32]) {
        let vocab_size = model.decoder().spec().vocab_size;
        let draft = std::mem::take(&mut self.draft);
        let n_known = self.tokens.len() - draft.len();
        self.tokens.truncate(n_known);
        let logits = match self.telling_from.take() {
            Some(first) => self.tell_of_prompt(first, vocab_size, logits),
            None => logits,
        };
        if logits.is_empty() {
            return;
        }
        if self.request.prompt_logprobs && self.first_token_at.is_none() {
            let all = std::mem::take(&mut self.of_prompt);
            self.unsent.push_back(StepResult::Prompt(all));
        }
        if self.request.max_tokens == Some(0) {
            return self.finish(String::new(), StopReason::Length);
        }
        self.stats.n_drafted += draft.len();
        let mut n_right = 0;
        for row in logits.chunks_exact_mut(vocab_size) {
            let n_shifted = self.stats.n_shifted_tokens;
            self.choose(model, row);
            if self.has_ended || self.stats.n_shifted_tokens > n_shifted {
                break;
            }
            let is_right = self.tokens.last() == draft.get(n_right);
            if !is_right {
                break;
            }
            n_right += 1;
            self.stats.n_drafted_right += 1;
        }
        if !draft.is_empty() {
            if !self.draft_state.judge(draft.len(), n_right) {
                self.drafter.judge(draft.len(), n_right);
            }
            // of a wrong guess nothing is kept
            self.cache.rewind(n_known + n_right);
        }
    }

    /// Notes how likely the prompt's tokens behind those from `first` on were. What is left is of what follows the prompt.
    fn tell_of_prompt<'l>(
        &mut self,
        first: usize,
        vocab_size: usize,
        logits: &'l mut [f32],
    ) -> &'l mut [f32] {
        let n_top = self.request.logprobs.unwrap_or(0);
        let n_prompt = self.tokens.len();
        for (i, row) in logits.chunks_exact(vocab_size).enumerate() {
            // what is computed anew was told before
            let next = first + i + 1;
            if next < n_prompt && next > self.of_prompt.len() {
                self.of_prompt
                    .push(TokenLogprobs::of(row, self.tokens[next], n_top));
            }
        }
        let n_rows = logits.len() / vocab_size;
        let n_following = usize::from(first + n_rows == n_prompt);
        &mut logits[(n_rows - n_following) * vocab_size..]
    }

    /// Samples a token and decides whether it is the last.
    fn choose(&mut self, model: &Model, logits: &mut [f32]) {
        for &token in model.tokenizer().suppressed() {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        if !logits.iter().any(|logit| logit.is_finite()) {
            return self
                .give_up("the model computed no usable numbers; its file is probably damaged");
        }
        if self.request.logprobs.is_some() {
            self.raw_logits.clear();
            self.raw_logits.extend_from_slice(logits);
        }
        if let Some(constraint) = &mut self.constraint {
            let began = Instant::now();
            let masked = constraint.mask(model.tokenizer(), logits);
            self.stats.constraining += began.elapsed();
            if let Err(why) = masked {
                return self.give_up(&why);
            }
        }
        let token = self.sampler.sample(logits);
        let now = Instant::now();
        let first_token_at = *self.first_token_at.get_or_insert(now);
        self.stats.prefill = first_token_at - self.started_at;
        self.stats.decode = now - first_token_at;
        self.stats.n_generated_tokens += 1;
        self.tokens.push(token);

        let goes_on = self.request.ignore_eos && self.constraint.is_none();
        if model.tokenizer().is_end_of_generation(token) && !goes_on {
            let text = self.text.finish();
            return self.finish(text, StopReason::Stop);
        }
        match self.text.push(model.tokenizer(), token) {
            Delta::Stop(text) => return self.finish(text, StopReason::Stop),
            Delta::Text(text) => self.unsent.push_back(StepResult::Token {
                token,
                text,
                logprobs: self
                    .request
                    .logprobs
                    .map(|n_top| Box::new(TokenLogprobs::of(&self.raw_logits, token, n_top))),
            }),
        }
        if let Some(constraint) = &mut self.constraint {
            if let Err(why) = constraint.accept(model.tokenizer(), token) {
                return self.give_up(&why);
            }
            if constraint.is_complete() {
                let text = self.text.finish();
                return self.finish(text, StopReason::Stop);
            }
        }
        if self.tokens.len() >= self.request.context_length {
            self.shift();
        }
        if self.n_left() == 0 {
            let text = self.text.finish();
            self.finish(text, StopReason::Length);
        }
    }

    /// Where the request allows it, half of what may go makes room; what stays behind it is computed anew.
    fn shift(&mut self) {
        let Some(n_kept) = self.request.shift_after else {
            return;
        };
        // without half of the context to let go of it would come to this too often
        let n_kept = n_kept.min(self.request.context_length / 2);
        let n_gone = (self.tokens.len() - n_kept) / 2;
        if n_gone == 0 {
            return;
        }
        self.tokens.drain(n_kept..n_kept + n_gone);
        self.cache.rewind(n_kept);
        self.draft_state.lose_state();
        self.drafter = Drafter::new(!self.cache.is_recurrent());
        self.stats.n_shifted_tokens += n_gone;
    }

    fn finish(&mut self, text: String, reason: StopReason) {
        self.has_ended = true;
        self.unsent.push_back(StepResult::Finished(Finish {
            text,
            reason,
            stop: self.text.stopped_by().map(str::to_owned),
            stats: self.stats,
        }));
    }

    fn give_up(&mut self, why: &str) {
        self.has_ended = true;
        self.unsent.push_back(StepResult::Failed(why.to_owned()));
    }

    fn flush(&mut self) -> Flushed {
        while !self.unsent.is_empty() {
            let room = match self.results.try_reserve() {
                Ok(room) => room,
                Err(TrySendError::Full(())) => return Flushed::ChannelFull,
                Err(TrySendError::Closed(())) => return Flushed::ReceiverGone,
            };
            let Some(result) = self.unsent.pop_front() else {
                break;
            };
            if self.has_ended && self.unsent.is_empty() {
                self.place = None;
            }
            room.send(result);
        }
        Flushed::All
    }
}

enum Flushed {
    All,
    ChannelFull,
    ReceiverGone,
}
