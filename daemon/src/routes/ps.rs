//! `GET /api/ps`: the loaded models.

use super::timestamp;
use crate::{models::Running, state::App};
use axum::{Json, extract::State};
use slm_api::ollama::{PsModel, PsResponse};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<PsResponse> {
    let models = app.models.running().iter().map(row).collect();
    Json(PsResponse { models })
}

fn row(running: &Running) -> PsModel {
    let record = &running.record;
    let name = record.name.to_string();
    PsModel {
        model: name.clone(),
        name,
        size: running.size_bytes,
        digest: record.digest.hex(),
        details: record.details(),
        expires_at: timestamp(running.expires_at),
        size_vram: 0,
        context_length: running.context_length as u64,
    }
}
