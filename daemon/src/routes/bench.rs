//! `GET /api/bench`, which Ollama does not have: what `slm bench` has measured on this machine, for the web page and
//! whoever else draws it.
//!
//! Only reads. Results come to be where somebody runs a benchmark on this machine as the daemon's user; no request adds
//! one.

use crate::{error::ApiError, state::App};
use axum::{Json, extract::State};
use http::StatusCode;
use slm_api::bench::{BenchResponse, BenchRun};
use slm_benchmarks::{Kept, Kind};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Result<Json<BenchResponse>, ApiError> {
    app.blocking(|app| {
        let kept = match &app.config.benchmarks {
            Some(benchmarks) => benchmarks.list().map_err(cannot_read)?,
            None => Vec::new(),
        };
        let runs = kept.into_iter().map(run).collect();
        Ok(Json(BenchResponse { runs }))
    })
    .await
}

/// The path stays with those who may read it.
fn cannot_read(error: std::io::Error) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("cannot read the folder of benchmarks: {error}"),
    )
}

fn run(kept: Kept) -> BenchRun {
    BenchRun {
        id: kept.id,
        kind: match kept.kind {
            Kind::Model => "model",
            Kind::Server => "server",
        }
        .to_owned(),
        started_at: kept.started_at,
        results: kept.results,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use serde_json::{Map, Value, json};
    use slm_benchmarks::{Benchmarks, Kind};

    #[tokio::test]
    async fn what_is_kept_is_told_and_nothing_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Benchmarks::new(folder.path(), 5);
        let daemon = TestDaemon::with(|config| config.benchmarks = Some(kept.clone()));
        let ask = async || daemon.get("/api/bench").await.json();
        assert_eq!(ask().await, json!({"runs": []}));
        let fields = json!({"model_filename": "/srv/a.gguf", "median_ts": 5.0});
        let result: Map<String, Value> = fields.as_object().unwrap().clone();
        kept.begin(Kind::Model).add(result).unwrap();
        let runs = ask().await["runs"].clone();
        assert_eq!(runs.as_array().unwrap().len(), 1);
        assert_eq!(runs[0]["kind"], "model");
        assert!(runs[0]["started_at"].as_str().unwrap().ends_with('Z'));
        let kept = json!([{"model_filename": "a.gguf", "median_ts": 5.0}]);
        assert_eq!(runs[0]["results"], kept);

        let none = TestDaemon::new().get("/api/bench").await;
        assert_eq!(
            (none.status.as_u16(), none.json()),
            (200, json!({"runs": []}))
        );
    }

    #[tokio::test]
    async fn no_request_adds_or_removes_a_result() {
        let daemon = TestDaemon::new();
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = daemon
                .call(method, "/api/bench", r#"{"results":[{}]}"#)
                .await;
            assert_eq!(answer.status, 405, "{method}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_that_is_none_is_said_without_its_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("benchmarks"), "a file").unwrap();
        let kept = Benchmarks::new(folder.path(), 5);
        let daemon = TestDaemon::with(|config| config.benchmarks = Some(kept));
        let answer = daemon.get("/api/bench").await;
        assert_eq!(answer.status, 500);
        let path = folder.path().display().to_string();
        assert!(!answer.error().contains(&path), "{answer:?}");
    }
}
