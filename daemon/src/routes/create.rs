//! `POST /api/create`: builds a model, with progress. A disconnect stops it before its next step.

use crate::{body::LenientJson, create::Recipe, error::ApiError, ndjson, state::App};
use axum::{extract::State, response::Response};
use slm_api::ollama::{CreateRequest, Progress};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<CreateRequest>,
) -> Result<Response, ApiError> {
    let stream = request.stream.unwrap_or(true);
    // compiling a template that the request brings takes a moment
    let recipe = app.blocking(move |_| Recipe::check(request)).await?;
    let (reports, lines) = mpsc::channel(ndjson::LINES_AHEAD);
    tokio::spawn(recipe.build(app, reports));
    if stream {
        return Ok(ndjson::lines(ndjson::receiver(lines)));
    }
    last_of(lines).await
}

/// The last line of progress, as the whole answer.
async fn last_of(
    mut lines: mpsc::Receiver<Result<Progress, ApiError>>,
) -> Result<Response, ApiError> {
    let mut last = Err(ApiError::internal("the work stopped unexpectedly"));
    while let Some(line) = lines.recv().await {
        last = line;
    }
    Ok(ndjson::object(&last?))
}
