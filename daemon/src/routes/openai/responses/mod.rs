//! OpenAI's `/v1/responses`: answers that know what came before them. A disconnect cancels an answer, unless it was asked
//! for in the background.
//!
//! Requests become chats, as those of `/v1/chat/completions` do; `input` reads them, `output` tells of answers, and what is
//! kept is [`crate::responses`]'.

mod input;
mod output;
#[cfg(test)]
mod tests;

use super::{Error, find, id, logprobs, messages, now};
use crate::{
    body::LenientJson,
    caller::Caller,
    error::ApiError,
    inference,
    parts::{Asked, PathText},
    responses::{Cancelled, Kept},
    routes::{
        chat::prepare,
        dialect,
        events::{self, Frames, Script},
        table::Table,
        wishes::Ignored,
    },
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use output::{Keeper, Turn};
use serde::Deserialize;
use serde_json::{Value, json};
use slm_api::{ollama::ChatRequest, responses as wire, responses::ResponsesRequest};
use std::{sync::Arc, time::Instant};

/// Parameters that change no answer here.
const HARMLESS: &[&str] = &[
    "user",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "stream_options",
    "max_tool_calls",
];
/// What `include` calls likelihoods.
const LOGPROBS: &str = "message.output_text.logprobs";
/// Items in one page of a list, at most.
const MAX_PAGE: usize = 100;

/// The routes.
pub(super) fn router() -> Table {
    Table::new()
        .route("/v1/responses", post(create))
        .route("/v1/responses/{id}", get(retrieve).delete(delete))
        .route("/v1/responses/{id}/cancel", post(cancel))
        .route("/v1/responses/{id}/input_items", get(input_items))
}

async fn create(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<ResponsesRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    if request
        .rest
        .get("conversation")
        .is_some_and(|c| !c.is_null())
    {
        let text = "conversations are not kept here; use `previous_response_id`, or send the whole conversation as `input`";
        return Err(ApiError::bad_request(text).of_field("conversation").into());
    }
    let mut ignored = Ignored::of(&request.rest, HARMLESS);
    ignored.check(&app)?;
    let is_stored = request.store.unwrap_or(true);
    let is_streamed = request.stream.unwrap_or(false);
    let is_background = request.background.unwrap_or(false);
    if is_background && (is_streamed || !is_stored) {
        let text = "an answer in the `background` is kept and not streamed; leave out `stream`, and `store`";
        return Err(ApiError::bad_request(text).of_field("background").into());
    }
    let record = find(&app, &request.model).await?;
    let mut conversation = match &request.previous_response_id {
        None => Vec::new(),
        Some(id) => earlier(&app, id)?.conversation(),
    };
    conversation.extend(input::items(request.input.clone(), &mut ignored)?);
    let chat = chat(&request, &record, &conversation, &mut ignored)?;
    ignored.check(&app)?;
    let options = chat.options.clone().unwrap_or_default();
    let (job, source) = prepare(&app, client, began, chat, &record).await?;
    let option = |key: &str| options.get(key).or_else(|| record.params.get(key)).cloned();
    let response = begun(&request, option("temperature"), option("top_p"));
    let generation = inference::start(&app, job, source).await?;
    let cancel = app.shutdown.abort.child_token();
    let generation = generation.ended_by(cancel.clone());
    let keeper = Keeper {
        app: Arc::clone(&app),
        input: conversation,
        cancel,
        is_stored,
        id: Some(response.id.clone()),
    };
    keeper.begin(&response);
    let as_summary = request.reasoning.is_some_and(|r| r["summary"].is_string());
    let mut turn = Turn::new(response, keeper, as_summary);
    let response = if is_streamed {
        events::streamed(vec![generation], turn).await?
    } else if is_background {
        let response = Json(turn.response()).into_response();
        tokio::spawn(async move {
            if let Err(error) = finish(generation, &mut turn).await {
                error.log();
                turn.failed(&error, &mut Frames::default());
            }
        });
        response
    } else {
        if let Err(error) = finish(generation, &mut turn).await {
            if !turn.is_cancelled() {
                return Err(error.into());
            }
            turn.failed(&error, &mut Frames::default());
        }
        Json(turn.response()).into_response()
    };
    Ok(ignored.tell(response))
}

/// The answer to its end.
async fn finish(generation: inference::Generation, turn: &mut Turn) -> Result<(), ApiError> {
    let unseen = &mut Frames::default();
    for ended in events::whole(vec![generation]).await? {
        let delta = inference::Event::Delta(ended.answer, ended.logprobs);
        turn.event(0, delta, unseen);
        turn.event(0, inference::Event::Finished(ended.outcome), unseen);
    }
    turn.end(unseen);
    Ok(())
}

/// The answer that a request goes on from.
fn earlier(app: &App, id: &str) -> Result<Kept, ApiError> {
    let wrong = |text: String| {
        ApiError::bad_request(text)
            .of_field("previous_response_id")
            .with_code("previous_response_not_found")
    };
    let Some(kept) = app.responses.get(id) else {
        return Err(wrong(format!(
            "Previous response with id '{id}' not found. It may have been made with `store` false, or be gone: responses are kept in memory, the last used ones. Send the whole conversation instead."
        )));
    };
    match kept.response.status.as_str() {
        "in_progress" => Err(wrong(format!("The response '{id}' is still in progress."))),
        _ => Ok(kept),
    }
}

/// The request in Ollama's words.
fn chat(
    request: &ResponsesRequest,
    record: &crate::catalog::Record,
    conversation: &[Arc<crate::responses::Item>],
    ignored: &mut Ignored,
) -> Result<ChatRequest, ApiError> {
    let instructions = request.instructions.as_deref();
    let include = request.include.as_deref().unwrap_or_default();
    let n_top = request.top_logprobs;
    let wants_logprobs = n_top.is_some_and(|n| n > 0) || include.iter().any(|i| i == LOGPROBS);
    let effort = request
        .reasoning
        .as_ref()
        .and_then(|r| r["effort"].as_str());
    let named = [
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("num_predict", request.max_output_tokens.map(Value::from)),
    ];
    let format = input::response_format(request.text.as_ref());
    let format =
        messages::format(format.as_ref(), None).map_err(|error| error.of_field("text.format"));
    let think = messages::think(effort).map_err(|error| error.of_field("reasoning.effort"));
    Ok(ChatRequest {
        model: request.model.clone(),
        messages: input::conversation(instructions, conversation, &request.model)?,
        tools: input::tools(request.tools.as_deref(), ignored)?,
        tool_choice: request.tool_choice.clone(),
        parallel_tool_calls: request.parallel_tool_calls,
        think: think?,
        format: format?,
        logprobs: Some(wants_logprobs),
        top_logprobs: Some(logprobs::n_top(wants_logprobs, "top_logprobs", n_top)?),
        truncate: Some(request.truncation.as_deref() == Some("auto")),
        options: Some(dialect::options(record, request.options.clone(), named)),
        keep_alive: request.keep_alive.clone(),
        ..ChatRequest::default()
    })
}

/// An answer that has just begun.
fn begun(
    request: &ResponsesRequest,
    temperature: Option<Value>,
    top_p: Option<Value>,
) -> wire::Response {
    let request = request.clone();
    wire::Response {
        id: id("resp_"),
        object: "response".to_owned(),
        created_at: now(),
        status: "in_progress".to_owned(),
        background: request.background.unwrap_or(false),
        instructions: request.instructions,
        max_output_tokens: request.max_output_tokens,
        model: request.model,
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        previous_response_id: request.previous_response_id,
        reasoning: request
            .reasoning
            .unwrap_or_else(|| json!({"effort": null, "summary": null})),
        store: request.store.unwrap_or(true),
        temperature,
        text: request
            .text
            .unwrap_or_else(|| json!({"format": {"type": "text"}})),
        tool_choice: request.tool_choice.unwrap_or_else(|| json!("auto")),
        tools: request.tools.unwrap_or_default(),
        top_logprobs: request.top_logprobs.unwrap_or(0),
        top_p,
        truncation: request.truncation.unwrap_or_else(|| "disabled".to_owned()),
        metadata: request.metadata.unwrap_or_else(|| json!({})),
        ..wire::Response::default()
    }
}

fn not_found(id: &str) -> ApiError {
    let text = format!("Response with id '{id}' not found.");
    ApiError::new(StatusCode::NOT_FOUND, text)
}

async fn retrieve(
    State(app): State<Arc<App>>,
    id: Result<PathText, ApiError>,
) -> Result<Json<wire::Response>, Error> {
    let PathText(id) = id?;
    let kept = app.responses.get(&id).ok_or_else(|| not_found(&id))?;
    Ok(Json(kept.response))
}

async fn delete(
    State(app): State<Arc<App>>,
    id: Result<PathText, ApiError>,
) -> Result<Json<Value>, Error> {
    let PathText(id) = id?;
    match app.responses.remove(&id) {
        true => Ok(Json(
            json!({"id": id, "object": "response", "deleted": true}),
        )),
        false => Err(not_found(&id).into()),
    }
}

async fn cancel(
    State(app): State<Arc<App>>,
    id: Result<PathText, ApiError>,
) -> Result<Json<wire::Response>, Error> {
    let PathText(id) = id?;
    match app.responses.cancel(&id) {
        Some(Cancelled::Now(response)) => Ok(Json(*response)),
        Some(Cancelled::IsOver) => {
            let text = "Cannot cancel a response that is over.";
            Err(ApiError::bad_request(text).into())
        }
        None => Err(not_found(&id).into()),
    }
}

/// Which items of a list to show.
#[derive(Debug, Deserialize)]
struct Page {
    /// `asc`, or `desc`: the last first.
    order: Option<String>,
    limit: Option<usize>,
    /// The item ahead of the first.
    after: Option<String>,
}

async fn input_items(
    State(app): State<Arc<App>>,
    id: Result<PathText, ApiError>,
    page: Result<Asked<Page>, ApiError>,
) -> Result<Json<Value>, Error> {
    let (PathText(id), Asked(page)) = (id?, page?);
    let kept = app.responses.get(&id).ok_or_else(|| not_found(&id))?;
    let mut items = kept.input;
    if page.order.as_deref() != Some("asc") {
        items.reverse();
    }
    if let Some(after) = &page.after {
        let at = items
            .iter()
            .position(|item| item.value["id"] == after.as_str());
        let at = at.ok_or_else(|| {
            ApiError::bad_request(format!("there is no item '{after}'")).of_field("after")
        })?;
        items.drain(..=at);
    }
    let limit = page.limit.unwrap_or(20).clamp(1, MAX_PAGE);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let data: Vec<&Value> = items.iter().map(|item| &item.value).collect();
    let ids = |item: Option<&&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(Json(json!({
        "object": "list", "first_id": ids(data.first()), "last_id": ids(data.last()),
        "has_more": has_more, "data": data
    })))
}
