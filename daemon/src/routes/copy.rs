//! `POST /api/copy`: gives a model a second name.

use super::model_name;
use crate::{body::LenientJson, error::ApiError, state::App};
use axum::extract::State;
use slm_api::ollama::CopyRequest;
use slm_registry::Error;
use std::sync::Arc;

/// Answers with an empty body.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<CopyRequest>,
) -> Result<(), ApiError> {
    let read = |what: &str, raw: &str| {
        model_name(raw).map_err(|_| ApiError::bad_request(format!("{what} \"{raw}\" is invalid")))
    };
    let source = read("source", &request.source)?;
    let destination = read("destination", &request.destination)?;
    app.blocking(move |app| match app.store.copy(&source, &destination) {
        Err(Error::NotFound { .. }) => Err(ApiError::new(
            http::StatusCode::NOT_FOUND,
            format!("model \"{}\" not found", request.source),
        )),
        other => Ok(other?),
    })
    .await
}
