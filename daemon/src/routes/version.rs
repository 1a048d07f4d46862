//! `GET /api/version`.

use crate::state::App;
use axum::{Json, extract::State};
use slm_api::ollama::{SlmInfo, VersionResponse};
use std::sync::Arc;

/// The release of Ollama whose API this is. Clients compare it with what they need, so it is not our own version; that
/// one is in the `Server` header and under `slm`.
const API_VERSION: &str = "0.33.0";

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<VersionResponse> {
    Json(VersionResponse {
        version: API_VERSION.to_owned(),
        slm: Some(SlmInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu: app.cpu.info(),
        }),
    })
}
