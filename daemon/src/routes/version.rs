//! `GET /api/version`.

use axum::Json;
use slm_api::ollama::VersionResponse;

/// The release of Ollama whose API this is. Clients compare it with what they need, so it is not our own version; that
/// one is in the `Server` header.
const API_VERSION: &str = "0.33.0";

/// Answers.
pub(super) async fn answer() -> Json<VersionResponse> {
    Json(VersionResponse {
        version: API_VERSION.to_owned(),
    })
}
