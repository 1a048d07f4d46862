//! `GET /metrics`: for Prometheus.

use crate::{error::ApiError, state::App};
use axum::{extract::State, response::IntoResponse};
use http::header;
use std::sync::Arc;

/// What the text is, for the scraper.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers.
///
/// # Errors
/// Never in practice.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Result<impl IntoResponse, ApiError> {
    let text = app
        .observed
        .metrics(&app.models.running())
        .map_err(|error| ApiError::internal(format!("metrics cannot be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use serde_json::json;

    #[tokio::test]
    async fn an_answer_leaves_its_figures() {
        let daemon = TestDaemon::with_model().await;
        let body = json!({"model": "tiny", "prompt": "hello", "stream": false,
            "options": {"num_predict": 4, "temperature": 0}});
        let answer = daemon.post("/api/generate", &body.to_string()).await.json();
        let metrics = daemon.get("/metrics").await;
        assert_eq!(metrics.headers["content-type"], super::OPEN_METRICS);
        let text = metrics.body;
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name));
            let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let tokens = answer["eval_count"].as_f64().unwrap();
        assert_eq!(
            value("slm_generated_tokens_total{model=\"tiny:latest\"}"),
            tokens
        );
        let prompt = answer["prompt_eval_count"].as_f64().unwrap();
        assert_eq!(value("slm_prompt_tokens_total{"), prompt);
        assert_eq!(value("slm_requests_total{"), 1.0);
        assert_eq!(value("slm_time_to_first_token_seconds_count{"), 1.0);
        assert!(value("slm_model_memory_bytes{") > 0.0);
        assert_eq!(
            value("vllm:num_requests_waiting{model_name=\"tiny:latest\"}"),
            0.0
        );
        assert!(value("vllm:kv_cache_usage_perc{") <= 1.0);
    }
}
