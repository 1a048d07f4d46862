//! `POST /api/chat`: a conversation, and the assistant's next turn. A disconnect cancels the generation.

use super::{as_asked, model_name, now, tool_choice::ToolChoice};
use crate::{
    body::{LenientJson, non_empty},
    caller::{Caller, Client},
    catalog::{Capability, Needs, Record},
    error::ApiError,
    inference::{
        self, ChatPrompt, Event, Generation, Job, PromptSource, RunOptions, conversation, from_wire,
    },
    models::KeepFor,
    ndjson,
    state::App,
};
use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};
use slm_api::ollama::{ChatRequest, ChatResponse, GenerateRequest, Message, Metrics, Think};
use slm_chat::Answer;
use std::{sync::Arc, time::Instant};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
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
        app.models.unload(&record.weights_key);
        return Ok(ndjson::object(&done(&model, "unload")));
    }
    let stream = request.stream.unwrap_or(true);
    let (job, source) = prepare(&app, client, began, request, &record).await?;
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

/// Checks the rest of a request to `record`: how to run it, and what the model is to read.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn prepare(
    app: &Arc<App>,
    client: Client,
    began: Instant,
    mut request: ChatRequest,
    record: &Arc<Record>,
) -> Result<(Job, PromptSource), ApiError> {
    let no_options = Map::new();
    let choice = ToolChoice::read(request.tool_choice.as_ref(), &mut request.tools)?;
    let options = request.options.as_ref().unwrap_or(&no_options);
    let adapters = inference::choose_adapters(app, record, request.adapters.clone()).await?;
    let job = Job {
        adapters,
        options: RunOptions {
            one_call: request.parallel_tool_calls == Some(false),
            logprobs: Wishes::of_chat(&request).n_logprobs(),
            truncate: request.truncate.unwrap_or(false),
            shift: request.shift.unwrap_or(false),
            ..RunOptions::merge([&record.params, options])?.with_format(request.format.as_ref())?
        },
        record: Arc::clone(record),
        keep: KeepFor::from_wire(request.keep_alive.as_ref())?,
        client,
        began,
    };
    let has_form = job.options.grammar.is_some();
    let source = source(request, record, &choice, has_form)?;
    Ok((job, source))
}

/// Checks the rest of the request and says what the model is to read.
fn source(
    request: ChatRequest,
    record: &Record,
    choice: &ToolChoice,
    has_form: bool,
) -> Result<PromptSource, ApiError> {
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
    let messages = conversation(record.system.as_deref(), &record.messages, messages);
    let needs = Needs {
        tools: tools.is_some(),
        tool_calls: messages
            .iter()
            .any(|m| m.tool_calls.is_some() || m.role == "tool"),
        thinking: request.think.is_some() && enable_thinking.is_some(),
    };
    let template = Arc::clone(record.template.choose(needs)?);
    let tools = tools.map(Value::Array);
    let may_repeat = request.parallel_tool_calls != Some(false);
    let must_call = choice.must_call().map(|only| {
        let tools = tools.as_ref().unwrap_or(&Value::Null);
        let form = template
            .tool_syntax()
            .form(tools, only, only.is_none() && may_repeat);
        form.map_err(|error| inference::no_form(&error))
    });
    let must_call = must_call.transpose()?;
    let may_call = match &tools {
        Some(tools) if must_call.is_none() && !has_form => template
            .tool_syntax()
            .may_call(tools, may_repeat)
            .map_err(|error| inference::no_form(&error))?,
        _ => None,
    };
    Ok(PromptSource::Chat(Box::new(ChatPrompt {
        template,
        messages,
        tools,
        // a call that must come leaves no room for another form
        has_form: has_form && must_call.is_none(),
        must_call,
        may_call,
        enable_thinking,
        think_level: think_level(request.think.as_ref()),
        thinking_tags: record.template.thinking_tags(),
        suffix: None,
        context: Vec::new(),
    })))
}

/// An assistant's turn as it comes about.
struct Turn {
    generation: Generation,
    model: String,
    /// Calls so far: they are numbered over the whole turn.
    n_calls: usize,
}

impl Turn {
    async fn next(&mut self) -> Result<ChatResponse, ApiError> {
        let event = self.generation.next().await?;
        Ok(chunk(event, &self.model, &mut self.n_calls))
    }
}

async fn streamed(generation: Generation, model: String) -> Result<Response, ApiError> {
    let mut turn = Turn {
        generation,
        model,
        n_calls: 0,
    };
    // what goes wrong before the first chunk still gets a status of its own
    let first = turn.next().await?;
    let state = (!first.done).then_some(turn);
    let rest = stream::unfold(state, |state| async {
        let mut turn = state?;
        match turn.next().await {
            Ok(chunk) => {
                let state = (!chunk.done).then_some(turn);
                Some((Ok(chunk), state))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(ndjson::lines_ahead(
        stream::once(async { Ok(first) }).chain(rest),
    ))
}

async fn whole(mut generation: Generation, model: String) -> Result<Response, ApiError> {
    let mut answer = Answer::default();
    let mut logprobs = Vec::new();
    loop {
        match generation.next().await? {
            Event::Delta(delta, more) => {
                answer.extend(delta);
                logprobs.extend(more);
            }
            finished @ Event::Finished(_) => {
                return Ok(ndjson::object(&ChatResponse {
                    message: assistant(answer, &mut 0),
                    logprobs: (!logprobs.is_empty()).then_some(logprobs),
                    ..chunk(finished, &model, &mut 0)
                }));
            }
        }
    }
}

fn chunk(event: Event, model: &str, n_calls: &mut usize) -> ChatResponse {
    let (message, logprobs, done_reason, metrics) = match event {
        Event::Delta(answer, logprobs) => (
            assistant(answer, n_calls),
            logprobs,
            None,
            Metrics::default(),
        ),
        Event::Finished(outcome) => (
            assistant(Answer::default(), n_calls),
            Vec::new(),
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
        logprobs: (!logprobs.is_empty()).then_some(logprobs),
        metrics,
    }
}

/// A message whose calls go on from number `n_calls`.
fn assistant(answer: Answer, n_calls: &mut usize) -> Message {
    let calls = answer.tool_calls.into_iter().map(|call| {
        let index = *n_calls;
        *n_calls += 1;
        let function = json!({"index": index, "name": call.name, "arguments": call.arguments});
        json!({"id": call_id(), "function": function})
    });
    let calls: Vec<Value> = calls.collect();
    Message {
        role: "assistant".to_owned(),
        content: answer.content,
        thinking: non_empty(Some(answer.thinking)),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..Message::default()
    }
}

/// `call_` and eight letters or digits, as Ollama's clients know it.
pub(super) fn call_id() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = (0..8).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]));
    std::iter::once("call_".to_owned())
        .chain(random.map(String::from))
        .collect()
}

fn done(model: &str, reason: &str) -> ChatResponse {
    ChatResponse {
        model: model.to_owned(),
        created_at: now(),
        message: assistant(Answer::default(), &mut 0),
        done: true,
        done_reason: Some(reason.to_owned()),
        logprobs: None,
        metrics: Metrics::default(),
    }
}

/// What a request may wish for that cannot be done, or not yet. Refused rather than silently left out.
#[derive(Debug)]
pub(super) struct Wishes {
    logprobs: bool,
    top_logprobs: i64,
    has_images: bool,
}

impl Wishes {
    pub(super) fn of_chat(request: &ChatRequest) -> Self {
        let has_images = |message: &Message| message.images.as_ref().is_some_and(|i| !i.is_empty());
        Self {
            logprobs: request.logprobs.unwrap_or(false),
            top_logprobs: request.top_logprobs.unwrap_or(0),
            has_images: request.messages.iter().any(has_images),
        }
    }

    pub(super) fn of_generate(request: &GenerateRequest) -> Self {
        Self {
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
        Ok(())
    }

    /// Whether tokens come with how likely they were, and with how many alternatives.
    pub(super) fn n_logprobs(&self) -> Option<usize> {
        let n_top = usize::try_from(self.top_logprobs).unwrap_or(0);
        self.logprobs.then_some(n_top)
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

/// The level that a request asks for.
pub(super) fn think_level(think: Option<&Think>) -> Option<String> {
    match think {
        Some(Think::Level(level)) => non_empty(Some(level.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_chat::ToolCall;

    #[test]
    fn calls_are_numbered_over_the_turn_and_have_an_id() {
        let call = |name: &str| ToolCall {
            name: name.into(),
            arguments: Map::from_iter([("b".into(), json!(1)), ("a".into(), json!(2))]),
        };
        let mut n_calls = 0;
        let mut calls_of = |names: &[&str]| {
            let answer = Answer {
                tool_calls: names.iter().copied().map(call).collect(),
                ..Answer::default()
            };
            let response = chunk(Event::Delta(answer, Vec::new()), "m", &mut n_calls);
            assert!(!response.done && response.message.content.is_empty());
            response.message.tool_calls.unwrap()
        };
        let mut calls = calls_of(&["f", "g"]);
        calls.extend(calls_of(&["h"]));
        for (index, (call, name)) in calls.iter().zip(["f", "g", "h"]).enumerate() {
            let id = call["id"].as_str().unwrap();
            let random = id.strip_prefix("call_").unwrap();
            assert!(
                random.len() == 8
                    && random
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
                "{id}"
            );
            assert_eq!(
                call["function"].to_string(),
                format!(
                    "{{\"index\":{index},\"name\":\"{name}\",\"arguments\":{{\"b\":1,\"a\":2}}}}"
                )
            );
        }
        assert_ne!(calls[0]["id"], calls[1]["id"]);
        assert!(assistant(Answer::default(), &mut 0).tool_calls.is_none());
    }
}
