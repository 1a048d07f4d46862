//! `POST /api/swap`: makes a model ready, and then lets the others go. A disconnect changes nothing: the load goes on.

use super::{as_asked, model_name};
use crate::{
    body::LenientJson,
    caller::Caller,
    error::ApiError,
    inference::{self, Job, RunOptions},
    models::KeepFor,
    state::App,
};
use axum::{Json, extract::State};
use serde_json::Map;
use slm_api::ollama::{SwapRequest, SwapResponse};
use std::{sync::Arc, time::Instant};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<SwapRequest>,
) -> Result<Json<SwapResponse>, ApiError> {
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let name = model_name(&request.model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, &request.model))?;
    let no_options = Map::new();
    let options = request.options.as_ref().unwrap_or(&no_options);
    let job = Job {
        adapters: inference::choose_adapters(&app, &record, None).await?,
        options: RunOptions::merge([&record.params, options])?,
        record,
        keep: KeepFor::from_wire(request.keep_alive.as_ref())?,
        client,
        began: Instant::now(),
    };
    let released = inference::swap(&app, &job, request.pin).await?;
    Ok(Json(SwapResponse {
        model: request.model,
        released: released.iter().map(|r| r.name.to_string()).collect(),
    }))
}
