//! `POST /v1/completions`: texts, and how they go on. A disconnect cancels all answers.
//!
//! Prompts are read as they are, without the model's template; one with a suffix goes through the template that the
//! model has for filling gaps, or is put between the tokens that it has for that.

use super::{
    Account, Error, FINGERPRINT, error_body, find, id, logprobs, logprobs::OfCompletion, messages,
    n_choices, now, options, wants_usage,
};
use crate::{
    body::{LenientJson, non_empty},
    caller::Caller,
    error::ApiError,
    inference::{self, Event, PromptSource},
    routes::{
        events::{self, Ended, Frames, Script},
        generate,
        wishes::Ignored,
    },
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use slm_api::{
    ollama::GenerateRequest,
    openai::{Completion, CompletionChoice, CompletionRequest, Usage},
};
use std::{sync::Arc, time::Instant};

/// Bytes that a suffix takes in all prompts together, at most: each has it in its own text.
const MAX_SUFFIX_BYTES: usize = 64 << 20;
/// Parameters that change no answer here.
const HARMLESS: &[&str] = &["user"];

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<CompletionRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let ignored = Ignored::of(&request.rest, HARMLESS);
    let record = find(&app, &request.model).await?;
    let prompts = prompts(request.prompt)?;
    let n = n_choices(request.n, prompts.len())?;
    let is_streamed = request.stream.unwrap_or(false);
    let with_usage = wants_usage(request.stream_options.as_ref());
    let suffix = non_empty(request.suffix);
    let echo = request.echo.unwrap_or(false);
    let wants_logprobs = request.logprobs.is_some();
    let n_top = logprobs::n_top(wants_logprobs, "logprobs", request.logprobs)?;
    if echo && wants_logprobs && suffix.is_some() {
        let text =
            "`echo` with `logprobs` needs a prompt without a `suffix`; leave out one of the three";
        return Err(ApiError::bad_request(text).of_field("echo").into());
    }
    let keep_alive = request.sampling.keep_alive.clone();
    let schema = request.sampling.json_schema.as_ref();
    let format = messages::format(None, schema)?;
    let raw = GenerateRequest {
        model: request.model,
        raw: Some(suffix.is_none()),
        suffix,
        options: Some(options(request.sampling, &record)),
        format,
        logprobs: Some(wants_logprobs),
        top_logprobs: Some(n_top),
        keep_alive,
        ..GenerateRequest::default()
    };
    let mut job = generate::job(&app, client, began, &raw, &record).await?;
    job.options.prompt_logprobs = echo && wants_logprobs;
    let suffix_bytes = raw.suffix.as_ref().map_or(0, String::len);
    if suffix_bytes.saturating_mul(prompts.len()) > MAX_SUFFIX_BYTES {
        let text = "`suffix` is too long for so many prompts; send fewer at once";
        return Err(ApiError::bad_request(text).of_field("suffix").into());
    }
    let mut sources = Vec::with_capacity(prompts.len());
    let mut echoes = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let text = match prompt {
            Prompt::Text(text) => text,
            Prompt::Tokens(tokens) => {
                if raw.suffix.is_some() {
                    let text = "`suffix` needs a prompt that is a text";
                    return Err(ApiError::bad_request(text).of_field("suffix").into());
                }
                echoes.push(match echo {
                    true => inference::decode(&app, &job, tokens.clone()).await?,
                    false => String::new(),
                });
                sources.push(PromptSource::Tokens(tokens));
                continue;
            }
        };
        echoes.push(if echo { text.clone() } else { String::new() });
        let request = GenerateRequest {
            prompt: text,
            ..raw.clone()
        };
        let is_raw = raw.suffix.is_none();
        sources.push(generate::source(&app, request, &record, is_raw).await?);
    }
    ignored.check(&app)?;
    let generations = events::start(&app, &job, sources, n).await?;
    let head = Head {
        id: id("cmpl-"),
        created: now(),
        model: raw.model,
    };
    let response = if is_streamed {
        let begun = echoes.iter().flat_map(|echo| vec![Some(echo.clone()); n]);
        let script = Chunks {
            head,
            echoes: begun.collect(),
            logprobs: echoes
                .iter()
                .flat_map(|_| 0..n)
                .map(|_| OfCompletion::new(0))
                .collect(),
            account: Account::new(n),
            with_usage,
        };
        events::streamed(generations, script).await?
    } else {
        let answers = events::whole(generations).await?;
        Json(whole(&head, &echoes, answers)).into_response()
    };
    Ok(ignored.tell(response))
}

/// One prompt.
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// A text, texts, tokens, or lists of them.
fn prompts(prompt: Option<Value>) -> Result<Vec<Prompt>, ApiError> {
    let Some(prompt) = prompt else {
        return Err(ApiError::bad_request("`prompt` is required").of_field("prompt"));
    };
    let prompts = match prompt {
        Value::Array(items) if !items.iter().any(Value::is_number) => items,
        one => vec![one],
    };
    if prompts.is_empty() {
        return Err(ApiError::bad_request("`prompt` is empty").of_field("prompt"));
    }
    let prompt = |prompt| match prompt {
        Value::String(text) => Ok(Prompt::Text(text)),
        other => Ok(Prompt::Tokens(super::tokens(other, "prompt")?)),
    };
    prompts.into_iter().map(prompt).collect()
}

/// What all chunks of an answer have in common.
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn completion(&self, choices: Vec<CompletionChoice>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices,
            usage: None,
            timings: None,
        }
    }
}

fn whole(head: &Head, echoes: &[String], answers: Vec<Ended>) -> Completion {
    let n = answers.len() / echoes.len().max(1);
    let mut account = Account::new(n.max(1));
    let before = echoes.iter().flat_map(|echo| vec![echo; n]);
    let choices = answers.into_iter().zip(before).enumerate();
    let choices = choices.map(|(index, (ended, echo))| {
        account.add(index, &ended.outcome);
        let logprobs = ended.logprobs;
        CompletionChoice {
            index,
            text: format!("{echo}{}", ended.answer.content),
            logprobs: (!logprobs.is_empty()).then(|| OfCompletion::new(0).next(&logprobs)),
            finish_reason: Some(ended.outcome.reason.to_owned()),
        }
    });
    let choices = choices.collect();
    Completion {
        usage: Some(Some(account.usage())),
        timings: Some(account.timings()),
        ..head.completion(choices)
    }
}

/// The answers as chunks.
struct Chunks {
    head: Head,
    /// What each begins with, until it has begun.
    echoes: Vec<Option<String>>,
    logprobs: Vec<OfCompletion>,
    account: Account,
    with_usage: bool,
}

impl Chunks {
    fn send(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>, frames: &mut Frames) {
        frames.data(&Completion {
            timings: usage.as_ref().map(|_| self.account.timings()),
            usage: self.with_usage.then_some(usage),
            ..self.head.completion(choices)
        });
    }
}

impl Script for Chunks {
    fn event(&mut self, index: usize, event: Event, frames: &mut Frames) {
        let mut text = self.echoes.get_mut(index).and_then(Option::take);
        let (mut finish_reason, mut likelihoods) = (None, None);
        match event {
            Event::Delta(answer, logprobs) => {
                *text.get_or_insert_default() += &answer.content;
                let all = self
                    .logprobs
                    .get_mut(index)
                    .filter(|_| !logprobs.is_empty());
                likelihoods = all.map(|all| all.next(&logprobs));
            }
            Event::Finished(outcome) => {
                self.account.add(index, &outcome);
                finish_reason = Some(outcome.reason.to_owned());
            }
        }
        let choice = CompletionChoice {
            index,
            text: text.unwrap_or_default(),
            logprobs: likelihoods,
            finish_reason,
        };
        self.send(vec![choice], None, frames);
    }

    fn end(&mut self, frames: &mut Frames) {
        if self.with_usage {
            self.send(Vec::new(), Some(self.account.usage()), frames);
        }
        frames.text("[DONE]");
    }

    fn failed(&mut self, error: &ApiError, frames: &mut Frames) {
        frames.data(&error_body(error));
    }
}
