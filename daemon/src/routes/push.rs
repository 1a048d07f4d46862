//! `POST /api/push`: uploads a model to a registry, with progress; ends when the client leaves.

use super::{as_asked, model_name, named, reference};
use crate::{
    body::LenientJson,
    error::ApiError,
    ndjson,
    pushes::{self, Wish},
    state::App,
};
use axum::{extract::State, response::Response};
use futures_util::StreamExt;
use slm_api::ollama::{Progress, PushRequest};
use slm_registry::remote::{Format, PullOptions, PushOptions};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<PushRequest>,
) -> Result<Response, ApiError> {
    let raw = named(request.model, request.name);
    if raw.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let model = model_name(&raw)?;
    let destination = reference(request.destination.as_deref().unwrap_or(&raw))?;
    let insecure = request.insecure.unwrap_or(false);
    if destination.is_http() && !insecure {
        return Err(ApiError::bad_request("insecure protocol http"));
    }
    let format: Format = match request.format.as_deref() {
        Some(format) => format
            .parse()
            .map_err(|error: slm_registry::remote::FormatError| {
                ApiError::bad_request(error.to_string())
            })?,
        None => Format::default(),
    };
    let name = model.clone();
    app.blocking(move |app| Ok(app.store.find(&name)?))
        .await
        .map_err(|error| as_asked(error, &raw))?;
    let options = PushOptions {
        format,
        remote: PullOptions {
            insecure,
            throttles: Vec::new(),
            network: Arc::clone(&app.config.network),
        },
    };
    let lines = pushes::run(
        app.store.clone(),
        Wish {
            model,
            destination,
            options,
        },
    );
    if request.stream.unwrap_or(true) {
        return Ok(ndjson::lines(lines));
    }
    let mut lines = Box::pin(lines);
    let mut last = Progress::default();
    while let Some(line) = lines.next().await {
        last = line?;
    }
    Ok(ndjson::object(&last))
}
