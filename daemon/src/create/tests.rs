use crate::testing::{TestDaemon, golden_model};
use serde_json::json;

#[tokio::test]
async fn weights_are_quantized_with_progress_and_the_model_runs() {
    let daemon = TestDaemon::with_model().await;
    for (key, wanted, label) in [
        ("quantize", "q8_0", "Q8_0"),
        ("quantization", "Q4_K", "Q4_K_M"),
    ] {
        let body = json!({"model": "small", "from": "tiny", key: wanted});
        let lines = daemon.post("/api/create", &body.to_string()).await.lines();
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line["status"] == format!("quantizing F32 model to {label}"))
            .collect();
        let last = told.last().unwrap();
        assert!(last["total"].as_u64().unwrap() > 500_000, "{last}");
        assert_eq!(last["completed"], last["total"]);
        assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
        let show = daemon
            .post("/api/show", r#"{"model": "small"}"#)
            .await
            .json();
        assert_eq!(show["details"]["quantization_level"], label);
        let body = json!({"model": "small", "prompt": "the", "stream": false, "options": {"num_predict": 3}});
        let answer = daemon.post("/api/generate", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_quantized_already_is_refused_in_the_stream_or_with_a_status() {
    let daemon = TestDaemon::new();
    daemon.create("q8", &golden_model("qwen3-q8_0")).await;
    let mut body = json!({"model": "small", "from": "q8", "quantize": "q4_k_m"});
    let lines = daemon.post("/api/create", &body.to_string()).await.lines();
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    let expected = "quantization is only supported for F16, BF16 and F32 models, and `";
    assert!(error.starts_with(expected), "{error}");
    body["stream"] = json!(false);
    let refused = daemon.post("/api/create", &body.to_string()).await;
    assert_eq!(refused.status, 400, "{refused:?}");
}
