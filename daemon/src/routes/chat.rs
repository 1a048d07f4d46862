//! `POST /api/chat`: a conversation, and the assistant's next turn. A disconnect cancels the generation.

use super::{generate::as_asked, model_name, now};
use crate::{
    body::{LenientJson, non_empty},
    catalog::{Capability, Record},
    error::ApiError,
    inference::{self, Event, Generation, Job, PromptSource, RunOptions, conversation, from_wire},
    models::KeepFor,
    ndjson,
    state::App,
};
use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};
use slm_api::ollama::{ChatRequest, ChatResponse, GenerateRequest, Message, Metrics, Think};
use std::{sync::Arc, time::Instant};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<ChatRequest>,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    Wishes::of_chat(&request).check_numbers()?;
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let name = model_name(&request.model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, &request.model))?;
    let keep = KeepFor::from_wire(request.keep_alive.as_ref())?;
    let model = request.model.clone();
    let is_empty = request.messages.is_empty();
    if is_empty && keep.is_some_and(KeepFor::is_zero) {
        app.models.unload(&record.weights.digest);
        return Ok(ndjson::object(&done(&model, "unload")));
    }
    let stream = request.stream.unwrap_or(true);
    let no_options = Map::new();
    let options = request.options.as_ref().unwrap_or(&no_options);
    let job = Job {
        options: RunOptions::merge([&record.params, options])?,
        record: Arc::clone(&record),
        keep,
        began,
    };
    let source = source(request, &record)?;
    if is_empty {
        inference::load(&app, &job).await?;
        return Ok(ndjson::object(&done(&model, "load")));
    }
    let generation = inference::start(&app, job, source).await?;
    if stream {
        streamed(generation, model).await
    } else {
        whole(generation, model).await
    }
}

/// Checks the rest of the request and says what the model is to read.
fn source(request: ChatRequest, record: &Record) -> Result<PromptSource, ApiError> {
    let tools = request.tools.clone().filter(|tools| !tools.is_empty());
    if tools.is_some() && !record.can(Capability::Tools) {
        return Err(ApiError::bad_request(format!(
            "{} does not support tools",
            record.name.full()
        )));
    }
    let enable_thinking = checked_think(request.think.as_ref(), record, &request.model)?;
    if !record.can(Capability::Completion) {
        return Err(ApiError::bad_request(format!(
            "\"{}\" does not support chat",
            request.model
        )));
    }
    Wishes::of_chat(&request).check(&request.model)?;
    let messages = request.messages.iter().map(from_wire).collect();
    Ok(PromptSource::Chat {
        template: Arc::clone(record.template.ready()?),
        messages: conversation(record.system.as_deref(), &record.messages, messages),
        tools: tools.map(Value::Array),
        enable_thinking,
        context: Vec::new(),
    })
}

async fn streamed(mut generation: Generation, model: String) -> Result<Response, ApiError> {
    // what goes wrong before the first chunk still gets a status of its own
    let first = chunk(generation.next().await?, &model);
    let state = (!first.done).then_some((generation, model));
    let rest = stream::unfold(state, |state| async {
        let (mut generation, model) = state?;
        match generation.next().await {
            Ok(event) => {
                let chunk = chunk(event, &model);
                let state = (!chunk.done).then_some((generation, model));
                Some((Ok(chunk), state))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(ndjson::lines(stream::once(async { Ok(first) }).chain(rest)))
}

async fn whole(mut generation: Generation, model: String) -> Result<Response, ApiError> {
    let (mut content, mut thinking) = (String::new(), String::new());
    loop {
        let next = chunk(generation.next().await?, &model);
        content += &next.message.content;
        thinking += next.message.thinking.as_deref().unwrap_or_default();
        if next.done {
            return Ok(ndjson::object(&ChatResponse {
                message: assistant(content, thinking),
                ..next
            }));
        }
    }
}

fn chunk(event: Event, model: &str) -> ChatResponse {
    let (message, done_reason, metrics) = match event {
        Event::Delta(split) => (
            assistant(split.content, split.thinking),
            None,
            Metrics::default(),
        ),
        Event::Finished(outcome) => (
            assistant(String::new(), String::new()),
            Some(outcome.reason.to_owned()),
            outcome.metrics,
        ),
    };
    ChatResponse {
        model: model.to_owned(),
        created_at: now(),
        message,
        done: done_reason.is_some(),
        done_reason,
        metrics,
    }
}

fn assistant(content: String, thinking: String) -> Message {
    Message {
        role: "assistant".to_owned(),
        content,
        thinking: non_empty(Some(thinking)),
        ..Message::default()
    }
}

fn done(model: &str, reason: &str) -> ChatResponse {
    ChatResponse {
        model: model.to_owned(),
        created_at: now(),
        message: assistant(String::new(), String::new()),
        done: true,
        done_reason: Some(reason.to_owned()),
        metrics: Metrics::default(),
    }
}

/// What a request may wish for that cannot be done, or not yet. Refused rather than silently left out.
#[derive(Debug)]
pub(super) struct Wishes<'a> {
    format: Option<&'a Value>,
    logprobs: bool,
    top_logprobs: i64,
    has_images: bool,
}

impl<'a> Wishes<'a> {
    fn of_chat(request: &'a ChatRequest) -> Self {
        let has_images = |message: &Message| message.images.as_ref().is_some_and(|i| !i.is_empty());
        Self {
            format: request.format.as_ref(),
            logprobs: request.logprobs.unwrap_or(false),
            top_logprobs: request.top_logprobs.unwrap_or(0),
            has_images: request.messages.iter().any(has_images),
        }
    }

    pub(super) fn of_generate(request: &'a GenerateRequest) -> Self {
        Self {
            format: request.format.as_ref(),
            logprobs: request.logprobs.unwrap_or(false),
            top_logprobs: request.top_logprobs.unwrap_or(0),
            has_images: request.images.as_ref().is_some_and(|i| !i.is_empty()),
        }
    }

    /// The check that comes before all others.
    pub(super) fn check_numbers(&self) -> Result<(), ApiError> {
        if !(0..=20).contains(&self.top_logprobs) {
            return Err(ApiError::bad_request(
                "top_logprobs must be between 0 and 20",
            ));
        }
        Ok(())
    }

    /// The rest, once the model is known.
    pub(super) fn check(&self, model: &str) -> Result<(), ApiError> {
        if self.has_images {
            return Err(ApiError::bad_request(format!(
                "\"{model}\" does not support images"
            )));
        }
        if self
            .format
            .is_some_and(|format| format.as_str() != Some(""))
        {
            return Err(ApiError::bad_request(
                "`format` is not supported yet; leave it out, and ask for the format in the prompt",
            ));
        }
        if self.logprobs || self.top_logprobs > 0 {
            return Err(ApiError::bad_request(
                "`logprobs` is not supported yet; leave it out",
            ));
        }
        Ok(())
    }
}

/// Whether the model shall think: what the request says, and yes where it says nothing to a model that can. `None` for
/// a model that cannot.
pub(super) fn checked_think(
    think: Option<&Think>,
    record: &Record,
    model: &str,
) -> Result<Option<bool>, ApiError> {
    let wanted = match think {
        None => None,
        Some(Think::Switch(on)) => Some(*on),
        Some(Think::Level(level)) => match level.as_str() {
            "" => None,
            "low" | "medium" | "high" | "max" => Some(true),
            other => {
                return Err(ApiError::bad_request(format!(
                    "invalid think value `{other}`: expected true, false, \"low\", \"medium\", \"high\" or \"max\""
                )));
            }
        },
    };
    if record.can(Capability::Thinking) {
        return Ok(Some(wanted.unwrap_or(true)));
    }
    match wanted {
        Some(true) => Err(ApiError::bad_request(format!(
            "\"{model}\" does not support thinking"
        ))),
        _ => Ok(None),
    }
}
