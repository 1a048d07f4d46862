//! `GET /api/status`: memory, sums and the last requests, for whoever watches the daemon.

use super::timestamp;
use crate::{
    models::Loading,
    observe::{self, Ended},
    state::App,
};
use axum::{Json, extract::State};
use slm_api::status::{
    RecentRequest, StatusLoading, StatusMemory, StatusRequests, StatusResponse, StatusTokens,
};
use std::{sync::Arc, time::Duration};

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<StatusResponse> {
    let totals = app.observed.totals();
    Json(StatusResponse {
        uptime_ms: u64::try_from(app.observed.uptime().as_millis()).unwrap_or(u64::MAX),
        memory: StatusMemory {
            total: observe::total_bytes(),
            available: slm_engine::memory::available_bytes(),
            resident: observe::resident_bytes(),
            limit: app.config.memory,
        },
        requests: StatusRequests {
            running: totals.n_running,
            finished: totals.n_finished,
            cancelled: totals.n_cancelled,
            failed: totals.n_failed,
        },
        tokens: StatusTokens {
            prompt: totals.n_prompt,
            cached: totals.n_cached,
            generated: totals.n_generated,
        },
        loading: app.models.loading().map(loading),
        recent: app.observed.recent().iter().map(row).collect(),
    })
}

fn loading(loading: Loading) -> StatusLoading {
    let total = loading.progress.total_bytes();
    StatusLoading {
        model: loading.record.name.to_string(),
        phase: if total == 0 { "room" } else { "weights" }.to_owned(),
        completed: loading.progress.packed_bytes(),
        total,
    }
}

fn row(ended: &Ended) -> RecentRequest {
    let figures = &ended.figures;
    RecentRequest {
        ended_at: timestamp(ended.at),
        model: ended.model.clone(),
        endpoint: ended.endpoint.to_string(),
        status: ended.ending.name().to_owned(),
        prompt_tokens: figures.n_prompt as u64,
        cached_tokens: figures.n_cached as u64,
        generated_tokens: figures.n_generated as u64,
        queued_ms: ms(figures.queued),
        prefill_ms: ms(figures.prefill),
        decode_ms: ms(figures.decode),
        first_token_ms: ended.first_token.map(ms),
        total_ms: ms(ended.total),
        tokens_per_second: speed(figures.n_generated, figures.decode),
    }
}

/// To the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The first token belongs to the prompt.
fn speed(n_generated: usize, decode: Duration) -> Option<f64> {
    let seconds = decode.as_secs_f64();
    (n_generated > 1 && seconds > 0.0).then(|| (n_generated - 1) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestDaemon, eventually, golden_model};
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    async fn status(daemon: &TestDaemon) -> Value {
        daemon.get("/api/status").await.json()
    }

    #[tokio::test]
    async fn answers_and_vectors_of_every_dialect_are_counted() {
        let daemon = TestDaemon::with_model().await;
        daemon.create("vec", &golden_model("bert-mean")).await;
        let fresh = status(&daemon).await;
        assert_eq!(fresh["recent"], json!([]));
        let options = json!({"num_predict": 4, "temperature": 0});
        let body = json!({"model": "tiny", "prompt": "hello", "options": options});
        let answer = daemon.post("/api/generate", &body.to_string()).await;
        let generated = answer.lines().last().unwrap().clone();
        let body = json!({"model": "tiny", "prompt": "hello", "max_tokens": 3, "temperature": 0});
        daemon.post("/v1/completions", &body.to_string()).await;
        let body = json!({"model": "vec", "input": "some text"});
        let embedded = daemon.post("/api/embed", &body.to_string()).await.json();

        let now = status(&daemon).await;
        let recent = now["recent"].as_array().unwrap();
        let told: Vec<Value> = recent
            .iter()
            .map(|r| {
                json!([
                    r["model"],
                    r["endpoint"],
                    r["status"],
                    r["generated_tokens"]
                ])
            })
            .collect();
        assert_eq!(
            told,
            [
                json!(["vec:latest", "/api/embed", "embedded", 0]),
                json!(["tiny:latest", "/v1/completions", "length", 3]),
                json!(["tiny:latest", "/api/generate", "length", 4]),
            ]
        );
        // what the answer itself says
        let first = &recent[2];
        assert_eq!(first["prompt_tokens"], generated["prompt_eval_count"]);
        assert_eq!(recent[0]["prompt_tokens"], embedded["prompt_eval_count"]);
        let decode = generated["eval_duration"].as_f64().unwrap() / 1e6;
        assert!((first["decode_ms"].as_f64().unwrap() - decode).abs() < 0.01);
        assert!(first["first_token_ms"].as_f64() <= first["total_ms"].as_f64());
        assert!(first["tokens_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(recent[0].get("first_token_ms"), None);
        let requests = json!({"running": 0, "finished": 3, "cancelled": 0, "failed": 0});
        assert_eq!(
            (&now["requests"], &now["tokens"]["generated"]),
            (&requests, &json!(7))
        );
        assert!(!now.to_string().contains("hello"), "no text is kept");
        #[cfg(target_os = "linux")]
        for name in ["total", "available", "resident"] {
            assert!(now["memory"][name].as_u64().unwrap() > 0, "{name}");
        }
    }

    #[tokio::test]
    async fn who_hangs_up_and_what_does_not_fit_is_counted() {
        let daemon = TestDaemon::with_model().await;
        // it goes on whether somebody reads or not, until somebody leaves
        let endless = json!({"num_predict": -1, "ignore_eos": true});
        let body = json!({"model": "tiny", "prompt": "hello", "shift": true, "options": endless});
        let request = Request::post("/api/generate").body(Body::from(body.to_string()));
        let response = daemon.open(request.unwrap()).await;
        let mut chunks = response.into_body();
        chunks.frame().await.unwrap().unwrap();
        assert_eq!(status(&daemon).await["requests"]["running"], 1);
        drop(chunks);
        eventually(|| daemon.app.observed.totals().n_cancelled == 1).await;
        let long =
            json!({"model": "tiny", "prompt": "a b ".repeat(5000), "options": {"num_ctx": 64}});
        assert_eq!(
            daemon.post("/api/generate", &long.to_string()).await.status,
            400
        );
        let now = status(&daemon).await;
        assert_eq!(now["recent"][0]["status"], "failed");
        assert_eq!(now["recent"][1]["status"], "cancelled");
        assert!(now["recent"][1]["generated_tokens"].as_u64().unwrap() > 0);
        assert_eq!(now["requests"]["running"], 0);
    }
}
