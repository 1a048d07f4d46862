//! `GET /v1/models` and `GET /v1/models/{id}`, where an id may have slashes. OpenAI and Anthropic both have these: who
//! sends a version of Anthropic's API gets the answer, errors included, in its words.

use super::{anthropic, as_asked, model_name, openai};
use crate::{error::ApiError, parts::PathText, state::App};
use axum::{extract::State, response::Response};
use http::HeaderMap;
use slm_registry::ModelEntry;
use std::sync::Arc;

/// All models.
pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let entries = app.listing().await;
    if is_to_anthropic(&headers) {
        anthropic::models(entries)
    } else {
        openai::models(entries)
    }
}

/// One model, called as the client calls it.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    name: Result<PathText, ApiError>,
    headers: HeaderMap,
) -> Response {
    let (entry, name) = match name {
        Ok(PathText(name)) => (find(&app, &name).await, name),
        Err(error) => (Err(error), String::new()),
    };
    if is_to_anthropic(&headers) {
        anthropic::model(entry, name)
    } else {
        openai::model(entry, name)
    }
}

async fn find(app: &Arc<App>, name: &str) -> Result<ModelEntry, ApiError> {
    let parsed = model_name(name)?;
    let entry = app.blocking(move |app| Ok(app.store.find(&parsed)?)).await;
    entry.map_err(|error| as_asked(error, name))
}

fn is_to_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}
