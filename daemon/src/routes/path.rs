//! `POST /api/path`, which Ollama does not have: where the large files of a model are, on this machine.

use super::{as_asked, model_name};
use crate::{body::LenientJson, error::ApiError, paths, state::App};
use axum::{Json, extract::State};
use slm_api::store::{PathRequest, PathResponse};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<PathRequest>,
) -> Result<Json<PathResponse>, ApiError> {
    let name = model_name(&request.model)?;
    app.blocking(move |app| {
        let found = paths::of_model(&app.store, &name);
        found
            .map(Json)
            .map_err(|error| as_asked(error, &request.model))
    })
    .await
}
