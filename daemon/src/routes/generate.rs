//! `POST /api/generate`: one prompt, one answer. A disconnect cancels the generation.

use super::{
    as_asked,
    chat::{Wishes, checked_think, think_level},
    model_name, now,
};
use crate::{
    body::{LenientJson, non_empty},
    caller::{Caller, Client},
    catalog::{Capability, Needs, Record, Template},
    create::check_template,
    error::ApiError,
    inference::{self, ChatPrompt, Event, Generation, Job, PromptSource, RunOptions, conversation},
    models::KeepFor,
    ndjson,
    state::App,
};
use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use serde_json::Map;
use slm_api::ollama::{GenerateRequest, GenerateResponse};
use slm_chat::{ChatTemplate, Message};
use std::{sync::Arc, time::Instant};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<GenerateRequest>,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    Wishes::of_generate(&request).check_numbers()?;
    if request.model.is_empty() {
        return Err(ApiError::no_model(""));
    }
    let name = model_name(&request.model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, &request.model))?;
    let keep = KeepFor::from_wire(request.keep_alive.as_ref())?;
    let model = request.model.clone();
    if request.prompt.is_empty() && keep.is_some_and(KeepFor::is_zero) {
        app.models.unload(&record.weights_key);
        return Ok(ndjson::object(&done(&model, "unload")));
    }
    let stream = request.stream.unwrap_or(true);
    let is_load = request.prompt.is_empty();
    let raw = request.raw.unwrap_or(false);
    let source = source(&app, request.clone(), &record, raw).await?;
    let job = job(&app, client, began, &request, &record).await?;
    if is_load {
        inference::load(&app, &job).await?;
        return Ok(ndjson::object(&done(&model, "load")));
    }
    let generation = inference::start(&app, job, source).await?;
    if stream {
        streamed(generation, model, raw).await
    } else {
        whole(generation, model, raw).await
    }
}

/// How to run a request to `record`.
///
/// # Errors
/// Options, adapters or a time to stay that cannot be.
pub(super) async fn job(
    app: &Arc<App>,
    client: Client,
    began: Instant,
    request: &GenerateRequest,
    record: &Arc<Record>,
) -> Result<Job, ApiError> {
    let no_options = Map::new();
    let options = request.options.as_ref().unwrap_or(&no_options);
    let adapters = inference::choose_adapters(app, record, request.adapters.clone()).await?;
    Ok(Job {
        adapters,
        options: RunOptions {
            logprobs: Wishes::of_generate(request).n_logprobs(),
            truncate: request.truncate.unwrap_or(false),
            shift: request.shift.unwrap_or(false),
            ..RunOptions::merge([&record.params, options])?.with_format(request.format.as_ref())?
        },
        record: Arc::clone(record),
        keep: KeepFor::from_wire(request.keep_alive.as_ref())?,
        client,
        began,
    })
}

/// Checks the rest of the request, in the order that clients know, and says what the model is to read.
pub(super) async fn source(
    app: &Arc<App>,
    request: GenerateRequest,
    record: &Arc<Record>,
    raw: bool,
) -> Result<PromptSource, ApiError> {
    let system = non_empty(request.system.clone());
    let template = non_empty(request.template.clone());
    let context = request.context.clone().unwrap_or_default();
    if raw && (template.is_some() || system.is_some() || !context.is_empty()) {
        return Err(ApiError::bad_request(
            "raw mode does not support template, system, or context",
        ));
    }
    let enable_thinking = checked_think(request.think.as_ref(), record, &request.model)?;
    if !record.can(Capability::Completion) {
        return Err(ApiError::bad_request(format!(
            "\"{}\" does not support generate",
            request.model
        )));
    }
    let suffix = non_empty(request.suffix.clone());
    Wishes::of_generate(&request).check(&request.model)?;
    if let Some(suffix) = &suffix
        && !record.template.all().any(ChatTemplate::supports_insert)
    {
        return Ok(PromptSource::Gap {
            model: record.name.full(),
            prefix: request.prompt,
            suffix: suffix.clone(),
        });
    }
    if raw {
        return Ok(PromptSource::Raw(request.prompt));
    }
    let template = match template {
        None => record.template.clone(),
        Some(source) => {
            app.blocking(move |_| {
                check_template(&source)?;
                Ok(Template::parse(&source))
            })
            .await?
        }
    };
    let stored = if context.is_empty() {
        record.messages.as_slice()
    } else {
        &[]
    };
    let system = system.or_else(|| record.system.clone());
    let user = Message::new("user", request.prompt);
    let needs = Needs {
        thinking: request.think.is_some() && enable_thinking.is_some(),
        ..Needs::default()
    };
    Ok(PromptSource::Chat(Box::new(ChatPrompt {
        template: Arc::clone(template.choose(needs)?),
        messages: conversation(system.as_deref(), stored, vec![user]),
        tools: None,
        has_form: false,
        must_call: None,
        may_call: None,
        enable_thinking,
        think_level: think_level(request.think.as_ref()),
        thinking_tags: record.template.thinking_tags(),
        suffix,
        context,
    })))
}

async fn streamed(
    mut generation: Generation,
    model: String,
    raw: bool,
) -> Result<Response, ApiError> {
    // what goes wrong before the first chunk still gets a status of its own
    let first = next(&mut generation, &model, raw).await?;
    let state = (!first.done).then_some((generation, model));
    let rest = stream::unfold(state, move |state| async move {
        let (mut generation, model) = state?;
        match next(&mut generation, &model, raw).await {
            Ok(chunk) => {
                let state = (!chunk.done).then_some((generation, model));
                Some((Ok(chunk), state))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(ndjson::lines_ahead(
        stream::once(async { Ok(first) }).chain(rest),
    ))
}

async fn whole(mut generation: Generation, model: String, raw: bool) -> Result<Response, ApiError> {
    let (mut response, mut thinking) = (String::new(), String::new());
    let mut logprobs = Vec::new();
    loop {
        let next = next(&mut generation, &model, raw).await?;
        response += &next.response;
        thinking += next.thinking.as_deref().unwrap_or_default();
        logprobs.extend(next.logprobs.clone().unwrap_or_default());
        if next.done {
            return Ok(ndjson::object(&GenerateResponse {
                response,
                thinking: non_empty(Some(thinking)),
                logprobs: (!logprobs.is_empty()).then_some(logprobs),
                ..next
            }));
        }
    }
}

async fn next(
    generation: &mut Generation,
    model: &str,
    raw: bool,
) -> Result<GenerateResponse, ApiError> {
    let event = generation.next().await?;
    Ok(chunk(event, model, raw))
}

fn chunk(event: Event, model: &str, raw: bool) -> GenerateResponse {
    let empty = GenerateResponse {
        model: model.to_owned(),
        created_at: now(),
        ..GenerateResponse::default()
    };
    match event {
        Event::Delta(answer, logprobs) => GenerateResponse {
            response: answer.content,
            thinking: non_empty(Some(answer.thinking)),
            logprobs: (!logprobs.is_empty()).then_some(logprobs),
            ..empty
        },
        Event::Finished(outcome) => GenerateResponse {
            done: true,
            done_reason: Some(outcome.reason.to_owned()),
            context: (!raw).then_some(outcome.tokens),
            metrics: outcome.metrics,
            ..empty
        },
    }
}

fn done(model: &str, reason: &str) -> GenerateResponse {
    GenerateResponse {
        model: model.to_owned(),
        created_at: now(),
        done: true,
        done_reason: Some(reason.to_owned()),
        ..GenerateResponse::default()
    }
}
