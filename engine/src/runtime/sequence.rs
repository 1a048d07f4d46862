//! One generation in progress: prompt, then tokens, until a stop.

use super::{Entry, Finish, GenerateRequest, Stats, StepResult, StopReason};
use crate::{
    KvCache, TokenId,
    model::{DecoderSpec, LogitsFor, Model, Scratch},
    sampler::Sampler,
    text_stream::{Delta, TextStream},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// Prompt tokens per step: enough to use the weights well, few enough that others get their turn soon.
const PREFILL_CHUNK: usize = 512;
/// Values of the widest buffer of a step: it bounds the chunk for models of outlandish shapes.
const WIDEST_BUFFER: usize = 16 << 20;
/// Tokens at the end of a prompt ahead of which a state that cannot be taken back is copied: the same prompt again, or
/// one that goes on from this one without the answer's beginning, starts from there.
const PROMPT_END: usize = 8;
/// How long a client may take nothing before its generation is given up, so that it does not keep others out.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Work was done and more follows.
    Stepped,
    /// The client has not taken earlier results yet; nothing was done.
    Waiting,
    /// Finished, failed or cancelled.
    Ended,
}

/// A generation: its request, its state, and what it has to say.
pub(super) struct Sequence {
    request: GenerateRequest,
    results: Sender<StepResult>,
    /// Results that did not fit into the channel; at most two.
    unsent: VecDeque<StepResult>,
    has_ended: bool,
    /// Since when the client has taken nothing.
    waiting_since: Option<Instant>,
    cache: KvCache,
    sampler: Sampler,
    text: TextStream,
    /// The token that the next step feeds in; `None` during prefill.
    next: Option<TokenId>,
    started_at: Instant,
    first_token_at: Option<Instant>,
    stats: Stats,
}

impl Sequence {
    /// Keeps what `cache` already knows of the prompt, except the last token, whose logits are needed.
    pub(super) fn new(entry: Entry, mut cache: KvCache, model: &Model) -> Self {
        let Entry {
            request,
            results,
            queued_at,
        } = entry;
        let prompt = &request.prompt;
        cache.adapt(&request.adapters);
        let n_cached = model.decoder().resume(&mut cache, prompt);
        let started_at = Instant::now();
        Self {
            sampler: Sampler::new(&request.sampling, prompt),
            text: TextStream::after(prompt, model.tokenizer(), request.stop.clone())
                .showing(request.shown.clone()),
            stats: Stats {
                n_prompt_tokens: prompt.len(),
                n_cached_tokens: n_cached,
                queued: started_at - queued_at,
                ..Stats::default()
            },
            request,
            results,
            unsent: VecDeque::new(),
            has_ended: false,
            waiting_since: None,
            cache,
            next: None,
            started_at,
            first_token_at: None,
        }
    }

    pub(super) fn into_cache(self) -> KvCache {
        self.cache
    }

    pub(super) fn fail(self, why: &str) {
        let _receiver_may_be_gone = self.results.try_send(StepResult::Failed(why.to_owned()));
    }

    /// Sends what waits, then does one prefill chunk or one token.
    pub(super) fn step(
        &mut self,
        model: &Model,
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) -> Progress {
        match self.flush() {
            Flushed::All if self.has_ended => return Progress::Ended,
            Flushed::All => self.waiting_since = None,
            Flushed::ChannelFull => {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                return if since.elapsed() < CLIENT_TIMEOUT {
                    Progress::Waiting
                } else {
                    Progress::Ended
                };
            }
            Flushed::ReceiverGone => return Progress::Ended,
        }
        if self.results.is_closed() {
            return Progress::Ended;
        }
        let n_done = self.cache.len();
        match self.next {
            Some(token) => {
                model
                    .decoder()
                    .forward(&mut self.cache, scratch, &[token], LogitsFor::Last, logits)
            }
            None => {
                let rest = &self.request.prompt[n_done..];
                let mut n = rest.len().min(prefill_chunk(model.decoder().spec()));
                if self.cache.is_recurrent() {
                    match rest.len().saturating_sub(PROMPT_END) {
                        0 => self.cache.checkpoint(),
                        ahead => n = n.min(ahead),
                    }
                }
                let chunk = &rest[..n];
                let is_last = chunk.len() == rest.len();
                let wanted = if is_last {
                    LogitsFor::Last
                } else {
                    LogitsFor::Nothing
                };
                model
                    .decoder()
                    .forward(&mut self.cache, scratch, chunk, wanted, logits);
                if !is_last {
                    return Progress::Stepped;
                }
            }
        }
        if self.request.max_tokens == Some(0) {
            self.finish(String::new(), StopReason::Length);
        } else {
            self.choose(model, logits);
        }
        match self.flush() {
            Flushed::All if !self.has_ended => Progress::Stepped,
            Flushed::ChannelFull => Progress::Stepped,
            Flushed::All | Flushed::ReceiverGone => Progress::Ended,
        }
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
        let token = self.sampler.sample(logits);
        let now = Instant::now();
        let first_token_at = *self.first_token_at.get_or_insert(now);
        self.stats.prefill = first_token_at - self.started_at;
        self.stats.decode = now - first_token_at;
        self.stats.n_generated_tokens += 1;
        self.next = Some(token);

        if model.tokenizer().is_end_of_generation(token) {
            let text = self.text.finish();
            return self.finish(text, StopReason::Stop);
        }
        match self.text.push(model.tokenizer(), token) {
            Delta::Stop(text) => return self.finish(text, StopReason::Stop),
            Delta::Text(text) => self.unsent.push_back(StepResult::Token { token, text }),
        }
        let is_out_of_context = self.cache.len() + 1 >= self.request.context_length;
        let is_at_limit = self
            .request
            .max_tokens
            .is_some_and(|max| self.stats.n_generated_tokens >= max);
        if is_out_of_context || is_at_limit {
            let text = self.text.finish();
            self.finish(text, StopReason::Length);
        }
    }

    fn finish(&mut self, text: String, reason: StopReason) {
        self.has_ended = true;
        self.unsent.push_back(StepResult::Finished(Finish {
            text,
            reason,
            stats: self.stats,
        }));
    }

    fn give_up(&mut self, why: &str) {
        self.has_ended = true;
        self.unsent.push_back(StepResult::Failed(why.to_owned()));
    }

    fn flush(&mut self) -> Flushed {
        while let Some(result) = self.unsent.pop_front() {
            match self.results.try_send(result) {
                Ok(()) => {}
                Err(TrySendError::Full(result)) => {
                    self.unsent.push_front(result);
                    return Flushed::ChannelFull;
                }
                Err(TrySendError::Closed(_)) => return Flushed::ReceiverGone,
            }
        }
        Flushed::All
    }
}

/// Prompt tokens that a model of this shape takes at a step.
pub(crate) fn prefill_chunk(spec: &DecoderSpec) -> usize {
    PREFILL_CHUNK.min(WIDEST_BUFFER / spec.widest_row()).max(1)
}

enum Flushed {
    All,
    ChannelFull,
    ReceiverGone,
}
