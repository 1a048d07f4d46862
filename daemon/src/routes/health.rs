//! `GET /health`: whether the daemon answers at all; `GET /ready`: whether it takes work. For supervisors and proxies.

use crate::{error::ApiError, state::App};
use axum::{Json, extract::State};
use serde_json::{Value, json};
use std::sync::Arc;

/// It does, if this is answered.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Until the end begins.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.shutdown.begun.is_cancelled() {
        return Err(ApiError::ending());
    }
    Ok(Json(json!({"status": "ready"})))
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use serde_json::json;

    #[tokio::test]
    async fn a_daemon_is_ready_until_it_is_told_to_end() {
        let daemon = TestDaemon::new();
        assert_eq!(daemon.get("/health").await.json(), json!({"status": "ok"}));
        assert_eq!(
            daemon.get("/ready").await.json(),
            json!({"status": "ready"})
        );
        daemon.app.shutdown.begun.cancel();
        assert_eq!(daemon.get("/ready").await.status, 503);
        assert_eq!(daemon.get("/health").await.status, 200);
    }
}
