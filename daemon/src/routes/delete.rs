//! `DELETE /api/delete`: removes a model, and the blobs that no other model uses.

use super::{model_name, named};
use crate::{body::LenientJson, error::ApiError, state::App};
use axum::extract::State;
use slm_api::ollama::DeleteRequest;
use slm_registry::Error;
use std::sync::Arc;

/// Answers with an empty body.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<DeleteRequest>,
) -> Result<(), ApiError> {
    let raw = named(request.model, request.name);
    let name = model_name(&raw)
        .map_err(|_| ApiError::bad_request(format!("name \"{raw}\" is invalid")))?;
    app.blocking(move |app| match app.store.remove(&name) {
        Err(Error::NotFound { .. }) => Err(ApiError::no_model(raw)),
        other => Ok(other?),
    })
    .await
}
