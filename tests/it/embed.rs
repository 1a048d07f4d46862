//! Vectors of texts through the daemon, against transformers and ONNX Runtime in float32 (see `tests/data/golden/README.md`).

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, fixture, golden_json, golden_model};
use std::path::Path;

/// The largest difference of a value of a vector of length 1.
const TOLERANCE: f64 = 1e-5;

fn numbers(value: &Value) -> Vec<f64> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("no numbers: {value}"));
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[track_caller]
fn vectors_agree(name: &str) {
    vectors_of_agree(&golden_model(name), name);
}

#[track_caller]
fn vectors_of_agree(model: &Path, name: &str) {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create(name, model);
    let show = daemon.http().post("/api/show", &json!({ "model": name }));
    assert_eq!(
        show.expect(200).json()["capabilities"],
        json!(["embedding"])
    );

    let golden = golden_json(name);
    let cases = golden["cases"].as_array().expect("golden cases");
    let input: Vec<&Value> = cases.iter().map(|case| &case["text"]).collect();
    let request = json!({ "model": name, "input": input });
    let answer = daemon
        .http()
        .post("/api/embed", &request)
        .expect(200)
        .json();
    let n_tokens = cases.iter().map(|c| numbers(&c["tokens"]).len());
    assert_eq!(answer["prompt_eval_count"], n_tokens.sum::<usize>());
    let got = answer["embeddings"].as_array().expect("vectors");
    assert_eq!(got.len(), cases.len());
    for (case, got) in cases.iter().zip(got) {
        let (want, got) = (numbers(&case["embedding"]), numbers(got));
        assert_eq!(got.len(), want.len(), "{name}: values of a vector");
        let worst = want
            .iter()
            .zip(&got)
            .map(|(w, g)| (w - g).abs())
            .fold(0.0, f64::max);
        println!("{name}: largest difference {worst:.2e}");
        assert!(worst < TOLERANCE, "{name}: {worst:.2e}");
    }
}

#[test]
fn bert_makes_the_references_vectors() {
    vectors_agree("bert-mean");
}

#[test]
fn nomic_bert_makes_the_references_vectors() {
    vectors_agree("nomic-bert");
}

#[test]
fn a_decoder_makes_the_references_vectors_of_its_last_token() {
    vectors_agree("qwen3-embed");
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn all_minilm_makes_onnx_runtimes_vectors() {
    vectors_of_agree(&fixture("all-minilm-l6-v2-f32.gguf"), "minilm");
}
