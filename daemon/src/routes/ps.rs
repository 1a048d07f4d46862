//! `GET /api/ps`: the loaded models.

use super::timestamp;
use crate::{models::Running, state::App};
use axum::{Json, extract::State};
use slm_api::ollama::{PsMemory, PsModel, PsRequests, PsResponse};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<PsResponse> {
    let models = app.models.running().iter().map(row).collect();
    Json(PsResponse { models })
}

fn row(running: &Running) -> PsModel {
    let Running {
        record,
        memory,
        business,
        ..
    } = running;
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
        memory: Some(PsMemory {
            weights: memory.weights_bytes,
            buffers: memory.scratch_bytes + memory.other_bytes,
            kv_limit: memory.kv_bytes_limit,
            kv_used: memory.kv_bytes_in_use,
        }),
        requests: Some(PsRequests {
            running: business.n_running as u64,
            waiting: business.n_waiting as u64,
            estimated_wait_ms: u64::try_from(business.wait.as_millis()).unwrap_or(u64::MAX),
        }),
        pinned: running.is_pinned,
    }
}
