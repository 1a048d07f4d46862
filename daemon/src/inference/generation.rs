//! One running generation: engine results in, text, thoughts, calls and a final account out.

use super::close_json::closing;
use crate::{error::ApiError, inference::prompt::Prompt, models::Lease, observe::Watch};
use slm_api::ollama::{Logprob, Metrics};
use slm_chat::{Answer, AnswerParser};
use slm_engine::{
    Finish, GenerateRequest, StepResult, StopReason, TokenId, TokenLogprobs, Tokenizer,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text or calls, and how likely the tokens were, where the request asks for that.
    Delta(Answer, Vec<Logprob>),
    /// The end; nothing follows.
    Finished(Outcome),
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `stop` or `length`.
    pub(crate) reason: &'static str,
    /// The stop string that ended it, if one did.
    pub(crate) stop: Option<String>,
    pub(crate) metrics: Metrics,
    /// Of the answer, tokens of thoughts, without the marks around them.
    pub(crate) n_thinking_tokens: u64,
    /// Prompt and answer.
    pub(crate) tokens: Vec<TokenId>,
}

/// A running generation. Dropping it cancels the engine's work and gives the model back.
#[derive(Debug)]
pub(crate) struct Generation {
    results: mpsc::Receiver<StepResult>,
    parser: AnswerParser,
    tokens: Vec<TokenId>,
    n_prompt: usize,
    /// Of the tokens since the last event.
    logprobs: Vec<Logprob>,
    /// The answer so far, where it is JSON that has to be closed.
    json: Option<String>,
    n_truncated: usize,
    thoughts: Thoughts,
    /// Whether what stands ahead of the prompt's text is the model's.
    is_of_text: bool,
    /// Whether all of the prompt is the model's.
    is_blank: bool,
    /// Whether the answer ends behind its first call.
    has_one_call: bool,
    ended: Option<Outcome>,
    watch: Watch,
    abort: CancellationToken,
    /// Of the request: the stream outlives its handler.
    span: tracing::Span,
    lease: Lease,
}

impl Generation {
    /// Queues the request at the engine. `n_truncated` is how many tokens were left out of the prompt.
    ///
    /// # Errors
    /// When too many wait there already.
    pub(crate) fn start(
        lease: Lease,
        (prompt, n_truncated): (Prompt, usize),
        request: GenerateRequest,
        mut watch: Watch,
        abort: CancellationToken,
    ) -> Result<Self, ApiError> {
        watch.prompt(prompt.tokens.len());
        let results = lease.engine().generate(request);
        let results = results.inspect_err(|_| watch.failed())?;
        Ok(Self {
            results,
            parser: prompt.parser,
            n_prompt: prompt.tokens.len(),
            tokens: prompt.tokens,
            logprobs: Vec::new(),
            json: None,
            n_truncated,
            thoughts: Thoughts::default(),
            is_of_text: false,
            is_blank: prompt.is_blank,
            has_one_call: false,
            ended: None,
            watch,
            abort,
            span: tracing::Span::current(),
            lease,
        })
    }

    /// Tokens of the prompt.
    pub(crate) fn n_prompt_tokens(&self) -> usize {
        self.n_prompt
    }

    /// The same generation of JSON; where the length limit cuts it off, what is missing is put behind it.
    pub(crate) fn closing_json(mut self) -> Self {
        self.json = Some(String::new());
        self
    }

    /// The same generation, which `abort` ends; it is a child of what ends all.
    pub(crate) fn ended_by(mut self, abort: CancellationToken) -> Self {
        self.abort = abort;
        self
    }

    /// The same generation, which ends behind its first call.
    pub(crate) fn with_one_call(mut self) -> Self {
        self.has_one_call = true;
        self
    }

    /// The same generation, whose prompt is a text: a token that the model wants ahead of every text is none of it.
    pub(crate) fn of_text(mut self) -> Self {
        self.is_of_text = true;
        self
    }

    /// How likely the tokens of the prompt were; nothing is known of the very first.
    fn of_prompt(&self, logprobs: &[TokenLogprobs]) -> Vec<Logprob> {
        let tokenizer = self.lease.engine().tokenizer();
        let unknown = TokenLogprobs {
            logprob: f32::NAN,
            top: Vec::new(),
        };
        let all = std::iter::once(&unknown).chain(logprobs);
        let all = self.tokens.iter().zip(all).enumerate();
        let is_models = |index, token| {
            index == 0
                && (self.is_blank || self.is_of_text && tokenizer.leading_bos() == Some(token))
        };
        let shown = all.filter(|(index, (token, _))| !is_models(*index, **token));
        shown
            .map(|(_, (token, logprobs))| on_wire(*token, logprobs, tokenizer))
            .collect()
    }

    /// The next event; `None` after the end.
    ///
    /// # Errors
    /// The engine cannot go on, or the daemon ends.
    pub(crate) async fn next(&mut self) -> Result<Event, ApiError> {
        if let Some(outcome) = self.ended.take() {
            return Ok(Event::Finished(outcome));
        }
        loop {
            let result = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Err(ApiError::shutting_down()),
                result = self.results.recv() => result,
            };
            let delta = match result {
                Some(StepResult::Prompt(logprobs)) => {
                    self.logprobs = self.of_prompt(&logprobs);
                    Answer::default()
                }
                Some(StepResult::Token {
                    token,
                    text,
                    logprobs,
                }) => {
                    self.tokens.push(token);
                    self.watch.token();
                    if let Some(logprobs) = logprobs {
                        let tokenizer = self.lease.engine().tokenizer();
                        self.logprobs.push(on_wire(token, &logprobs, tokenizer));
                    }
                    let delta = self.parser.push(&text);
                    self.thoughts.token(&delta);
                    if let Some(json) = &mut self.json {
                        json.push_str(&delta.content);
                    }
                    self.cut(delta)
                }
                Some(StepResult::Finished(finish)) => {
                    let mut delta = self.parser.push(&finish.text);
                    delta.extend(self.parser.finish());
                    self.thoughts.end(&delta);
                    if let Some(json) = &mut self.json {
                        json.push_str(&delta.content);
                        // of thoughts that never ended there is nothing to close
                        if finish.reason == StopReason::Length && !json.is_empty() {
                            delta.content += &closing(json);
                        }
                    }
                    if self.has_one_call {
                        delta.tool_calls.truncate(1);
                    }
                    let outcome = self.outcome(&finish);
                    if delta.is_empty() {
                        return Ok(Event::Finished(outcome));
                    }
                    self.ended = Some(outcome);
                    delta
                }
                Some(StepResult::Failed(why)) => {
                    self.watch.failed();
                    return Err(ApiError::internal(why));
                }
                None => {
                    self.watch.failed();
                    return Err(ApiError::internal(
                        "the engine stopped without an answer; try again, the model will be loaded anew",
                    ));
                }
            };
            if !delta.is_empty() || !self.logprobs.is_empty() {
                return Ok(Event::Delta(delta, std::mem::take(&mut self.logprobs)));
            }
        }
    }

    /// Where one call is enough, what follows it is not waited for.
    fn cut(&mut self, mut delta: Answer) -> Answer {
        if !self.has_one_call || delta.tool_calls.is_empty() {
            return delta;
        }
        delta.tool_calls.truncate(1);
        self.results.close();
        self.watch.enough();
        let n_generated = self.tokens.len() - self.n_prompt;
        let decode = self.watch.since_first_token();
        self.ended = Some(Outcome {
            reason: "stop",
            stop: None,
            metrics: Metrics {
                total_duration: Some(nanos(self.watch.elapsed())),
                load_duration: Some(nanos(self.lease.load_time)),
                prompt_eval_count: Some(self.n_prompt as u64),
                eval_count: Some(n_generated as u64),
                eval_duration: decode.map(nanos),
                prompt_truncated_count: some(self.n_truncated),
                ..Metrics::default()
            },
            n_thinking_tokens: self.thoughts.n_tokens,
            tokens: std::mem::take(&mut self.tokens),
        });
        delta
    }

    fn outcome(&mut self, finish: &Finish) -> Outcome {
        let stats = &finish.stats;
        self.watch.generated(finish);
        let reason = match finish.reason {
            StopReason::Stop => "stop",
            StopReason::Length => "length",
        };
        let span = self.span.clone();
        let _in_request = span.enter();
        tracing::info!(
            n_prompt_tokens = stats.n_prompt_tokens,
            n_cached_tokens = stats.n_cached_tokens,
            n_generated_tokens = stats.n_generated_tokens,
            queued_ms = stats.queued.as_millis() as u64,
            prefill_ms = stats.prefill.as_millis() as u64,
            decode_ms = stats.decode.as_millis() as u64,
            constraining_ms = stats.constraining.as_millis() as u64,
            reason,
            "generated"
        );
        Outcome {
            reason,
            stop: finish.stop.clone(),
            metrics: Metrics {
                total_duration: Some(nanos(self.watch.elapsed())),
                load_duration: Some(nanos(self.lease.load_time)),
                prompt_eval_count: Some(stats.n_prompt_tokens as u64),
                prompt_eval_duration: Some(nanos(stats.prefill)),
                eval_count: Some(stats.n_generated_tokens as u64),
                eval_duration: Some(nanos(stats.decode)),
                prompt_cached_count: some(stats.n_cached_tokens),
                prompt_truncated_count: some(self.n_truncated),
                context_shifted_count: some(stats.n_shifted_tokens),
            },
            n_thinking_tokens: self.thoughts.n_tokens,
            tokens: std::mem::take(&mut self.tokens),
        }
    }
}

/// Counts tokens of thoughts. A token whose text is held back belongs to what its text turns out to be.
#[derive(Debug, Default)]
struct Thoughts {
    n_tokens: u64,
    /// Whose text has not come out.
    n_open: u64,
}

impl Thoughts {
    /// A token came, and with it `delta`.
    fn token(&mut self, delta: &Answer) {
        self.n_open += 1;
        self.end(delta);
    }

    /// What is left came out.
    fn end(&mut self, delta: &Answer) {
        if !delta.thinking.is_empty() {
            self.n_tokens += self.n_open;
        }
        if !delta.is_empty() {
            self.n_open = 0;
        }
    }
}

/// A token's likelihood as clients read it. In its text, bytes that are no text of their own show as U+FFFD.
fn on_wire(token: TokenId, logprobs: &TokenLogprobs, tokenizer: &Tokenizer) -> Logprob {
    let item = |token, logprob| {
        let bytes = tokenizer.token_bytes(token).into_owned();
        Logprob {
            logprob,
            token: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
            top_logprobs: Vec::new(),
        }
    };
    let top = logprobs.top.iter();
    Logprob {
        top_logprobs: top.map(|&(token, logprob)| item(token, logprob)).collect(),
        ..item(token, logprobs.logprob)
    }
}

/// Counts that are nothing are left out.
fn some(count: usize) -> Option<u64> {
    (count > 0).then_some(count as u64)
}

/// Clients take a duration of zero for one that is missing.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_thoughts_are_counted_where_their_text_comes_out() {
        let mut thoughts = Thoughts::default();
        let delta = |thinking: &str, content: &str| Answer {
            thinking: thinking.to_owned(),
            content: content.to_owned(),
            tool_calls: Vec::new(),
        };
        // two whose text is held back, then it comes with a third
        for text in ["", "", "hm, so", " well"] {
            thoughts.token(&delta(text, ""));
        }
        assert_eq!(thoughts.n_tokens, 4);
        // the mark at the end shows as nothing, then the answer begins
        for text in ["", "Yes", "."] {
            thoughts.token(&delta("", text));
        }
        assert_eq!(thoughts.n_tokens, 4);
        let mut cut = Thoughts::default();
        cut.token(&delta("", ""));
        cut.end(&delta("half a th", ""));
        assert_eq!(cut.n_tokens, 1);
    }
}
