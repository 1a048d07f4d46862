//! Anthropic's dialect: `POST /v1/messages` and `POST /v1/messages/count_tokens`. A disconnect cancels the generation.
//!
//! A model thinks only where the request asks it to. An assistant message at the end is what the answer goes on from. `x-api-key` and the version headers are accepted, and mean nothing.

mod blocks;
mod models;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use models::{model, models};

use super::{as_asked, chat::prepare, dialect, events, model_name, table::Table, wishes::Ignored};
use crate::{
    body::LenientJson,
    caller::Caller,
    catalog::{Capability, Record},
    error::ApiError,
    inference::{self, Outcome},
    middleware::request_log,
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use slm_api::{
    anthropic::{ErrorBody, ErrorDetail, ErrorDetails, MessagesRequest, TokenCount, Usage},
    ollama::{ChatRequest, Message, Think},
};
use std::{sync::Arc, time::Instant};

/// Words for statuses that the other dialects have others for.
const KINDS: &[(u16, &str)] = &[
    (413, "request_too_large"),
    (503, "overloaded_error"),
    (529, "overloaded_error"),
];
/// Tells clients to send the whole conversation.
const NO_THREADS: &str = "thread_unsupported_request";
/// Parameters that change no answer here.
const HARMLESS: &[&str] = &["metadata", "service_tier", "cache_control", "betas"];

/// The routes.
pub(super) fn router() -> Table {
    Table::new()
        .route("/v1/messages", post(answer))
        .route("/v1/messages/count_tokens", post(count))
}

/// An error in Anthropic's shape.
#[derive(Debug)]
pub(super) struct Error(ApiError);

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let id = request_log::current_id();
        self.0.respond(error_body(&self.0, id))
    }
}

fn error_body(error: &ApiError, request_id: Option<String>) -> ErrorBody {
    let kind = dialect::error_kind(error.status(), KINDS);
    // the other codes are OpenAI's
    let code = error.code().filter(|&code| code == NO_THREADS);
    ErrorBody {
        kind: "error".to_owned(),
        error: ErrorDetail {
            kind: kind.to_owned(),
            message: error.message().to_owned(),
            details: code.map(|code| ErrorDetails {
                error_code: code.to_owned(),
            }),
        },
        request_id,
    }
}

async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<MessagesRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    if request.max_tokens.is_none_or(|n| n < 1) {
        let text = "max_tokens: a number of at least 1 is required";
        return Err(ApiError::bad_request(text).into());
    }
    let model = request.model.clone();
    let is_streamed = request.stream.unwrap_or(false);
    let stops = request.stop_sequences.as_ref();
    let has_stops = stops.is_some_and(|stops| !stops.is_empty());
    let mut ignored = Ignored::of(&request.rest, HARMLESS);
    let (record, request) = translated(&app, request, &mut ignored).await?;
    ignored.check(&app)?;
    let (job, source) = prepare(&app, client, began, request, &record).await?;
    let generation = inference::start(&app, job, source).await?;
    let message = stream::begun(model, generation.n_prompt_tokens());
    let response = if is_streamed {
        events::streamed(vec![generation], stream::Script::new(message, has_stops)).await?
    } else {
        let answers = events::whole(vec![generation]).await?;
        let ended = answers.into_iter().next();
        let ended =
            ended.map(|ended| stream::whole(message, ended.answer, &ended.outcome, has_stops));
        Json(ended).into_response()
    };
    Ok(ignored.tell(response))
}

async fn count(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<MessagesRequest>, ApiError>,
) -> Result<Json<TokenCount>, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let mut ignored = Ignored::default();
    let (record, request) = translated(&app, request, &mut ignored).await?;
    let (job, source) = prepare(&app, client, began, request, &record).await?;
    let n = inference::count_tokens(&app, &job, source).await?;
    Ok(Json(TokenCount {
        input_tokens: n as u64,
    }))
}

/// The model, and the request in Ollama's words.
async fn translated(
    app: &Arc<App>,
    request: MessagesRequest,
    ignored: &mut Ignored,
) -> Result<(Arc<Record>, ChatRequest), ApiError> {
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model: a name is required"));
    }
    if request
        .rest
        .get("thread")
        .is_some_and(|thread| !thread.is_null())
    {
        // answered without what was said before, it would be another conversation; clients know this code, and send all
        return Err(ApiError::bad_request(
            "thread: conversations are not kept here; send all messages, without `thread`",
        )
        .with_code(NO_THREADS));
    }
    if request.messages.is_empty() {
        return Err(ApiError::bad_request(
            "messages: at least one message is required",
        ));
    }
    let name = model_name(&request.model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, &request.model))?;
    let messages = blocks::conversation(request.system, request.messages, &request.model, ignored)?;
    let tools = blocks::tools(request.tools, ignored)?;
    let choice = request.tool_choice.as_ref();
    let choice = choice.map(blocks::tool_choice).transpose()?;
    let (tool_choice, parallel_tool_calls) =
        choice.map_or((None, None), |(choice, parallel)| (Some(choice), parallel));
    let format = format(request.output_config.as_ref())?;
    let effort = request.output_config.as_ref();
    let think = think(request.thinking.as_ref(), effort, &record, ignored)?;
    if let Some(begun) = messages.last().filter(|last| begins_answer(last)) {
        let must_think = request.thinking.as_ref();
        let must_think = must_think.is_some_and(|thinking| thinking["type"] == "enabled");
        let must_think = must_think && think != Think::Switch(false);
        check_begun(begun, must_think, format.is_some())?;
    }
    let named = [
        ("num_predict", request.max_tokens.map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("top_k", request.top_k.map(Value::from)),
        ("stop", request.stop_sequences.map(Value::from)),
    ];
    let options = dialect::options(&record, request.options, named);
    let request = ChatRequest {
        model: request.model,
        messages,
        tools: Some(tools),
        tool_choice,
        parallel_tool_calls,
        think: Some(think),
        format,
        options: Some(options),
        keep_alive: request.keep_alive,
        ..ChatRequest::default()
    };
    Ok((record, request))
}

/// Whether a last message is not a turn that has ended, but what the answer goes on from.
fn begins_answer(last: &Message) -> bool {
    last.role == "assistant" && last.tool_calls.is_none() && !last.content.is_empty()
}

/// Refuses what Anthropic's API refuses in the beginning of an answer, too: what follows could not be as it is asked for.
fn check_begun(begun: &Message, must_think: bool, has_format: bool) -> Result<(), ApiError> {
    let refuse = |text| Err(ApiError::bad_request(text));
    if begun.content.ends_with(char::is_whitespace) {
        // tokens begin with their space
        return refuse(
            "messages: final assistant content cannot end with trailing whitespace; leave it out",
        );
    }
    if must_think && begun.thinking.is_none() {
        return refuse(
            "messages: an answer that is begun without thoughts has none; begin the last assistant message with a thinking block, leave that message out, or do not ask for thinking",
        );
    }
    if has_format {
        return refuse(
            "messages: output_config.format is for whole answers; leave out the assistant message at the end",
        );
    }
    Ok(())
}

/// What the answer must look like: a schema, if any.
fn format(output_config: Option<&Value>) -> Result<Option<Value>, ApiError> {
    let format = output_config.map_or(&Value::Null, |config| &config["format"]);
    match (format["type"].as_str(), &format["schema"]) {
        _ if format.is_null() => Ok(None),
        (Some("json_schema"), schema @ Value::Object(_)) => Ok(Some(schema.clone())),
        _ => Err(ApiError::bad_request(
            "output_config.format: expected {\"type\": \"json_schema\", \"schema\": {…}}",
        )),
    }
}

/// Whether and how much to think.
fn think(
    thinking: Option<&Value>,
    output_config: Option<&Value>,
    record: &Record,
    ignored: &mut Ignored,
) -> Result<Think, ApiError> {
    let effort = output_config.and_then(|config| config["effort"].as_str());
    let level = match effort {
        None => None,
        Some(same @ ("low" | "medium" | "high" | "max")) => Some(same),
        Some("xhigh") => Some("max"),
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "output_config.effort: {other:?} is none of \"low\", \"medium\", \"high\" and \"max\""
            )));
        }
    };
    let kind = thinking.map(|thinking| thinking["type"].as_str().unwrap_or_default());
    let wanted = match kind {
        Some("enabled") => {
            ignored.add("thinking.budget_tokens");
            true
        }
        Some("adaptive") => true,
        Some("disabled") => false,
        None => level.is_some(),
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "thinking.type: {other:?} is none of \"enabled\", \"adaptive\" and \"disabled\""
            )));
        }
    };
    if wanted && !record.can(Capability::Thinking) {
        ignored.add(if kind.is_some() {
            "thinking"
        } else {
            "output_config"
        });
        return Ok(Think::Switch(false));
    }
    Ok(match level {
        Some(level) if wanted => Think::Level(level.to_owned()),
        _ => Think::Switch(wanted),
    })
}

/// What an answer took.
fn usage(outcome: &Outcome) -> Usage {
    let metrics = &outcome.metrics;
    let cached = metrics.prompt_cached_count.unwrap_or(0);
    let prompt = metrics.prompt_eval_count.unwrap_or(0);
    Usage {
        input_tokens: prompt.saturating_sub(cached),
        output_tokens: metrics.eval_count.unwrap_or(0),
        cache_read_input_tokens: cached,
        cache_creation_input_tokens: 0,
    }
}
