//! `slmd eval`: figures beside llama-perplexity's, and predictions that are stored and compared.

use serde_json::Value;
use slm_tests::{Home, data, golden_model, starter_model};
use std::{fs, path::Path};

/// `llama-perplexity -m smollm2-135m-instruct-q4_1.gguf -f alice.txt -c 512` of llama.cpp b11434: five chunks.
const PERPLEXITY_OF_LLAMA_CPP: f64 = 19.8784;

/// The beginning of "Alice's Adventures in Wonderland" (1865), in the public domain.
fn text() -> String {
    path(&data("text/alice.txt"))
}

fn path(path: &Path) -> String {
    path.to_str().expect("test paths are UTF-8").to_owned()
}

#[test]
fn perplexity_is_llama_cpps() {
    let (home, model) = (Home::new(), path(&starter_model()));
    let args = ["eval", "-m", &model, "--perplexity", &text(), "--json"];
    let figures: Value = serde_json::from_str(&home.slmd(&args).ok().stdout).expect("one object");
    let found = figures["ppl"].as_f64().expect("a number");
    assert!(
        (found / PERPLEXITY_OF_LLAMA_CPP - 1.0).abs() < 0.005,
        "{figures}"
    );
    // counted: the 255 tokens at the end of each of five chunks
    assert_eq!(figures["tokens"], 5 * 255);
}

#[test]
fn stored_predictions_are_compared() {
    let home = Home::new();
    let (f32s, q8) = (
        path(&golden_model("qwen3")),
        path(&golden_model("qwen3-q8_0")),
    );
    let base = path(&home.path().join("base"));
    let text = text();
    let run = |model: &str, more: &[&str]| {
        let line = ["eval", "-m", model, "-c", "64", "--chunks", "3", "--json"];
        home.slmd(&[&line, more].concat())
    };
    run(&f32s, &["-f", &text, "--save-base", &base]).ok();
    let same = run(&f32s, &["--kld", &base]).ok().stdout;
    let same: Value = serde_json::from_str(&same).expect("one object");
    assert!(
        same["kld"].as_f64().is_some_and(|d| d.abs() < 1e-3),
        "{same}"
    );
    assert!(
        same["same_top"].as_f64().is_some_and(|s| s > 0.98),
        "{same}"
    );
    let [ours, stored] = ["ppl", "base_ppl"].map(|key| same[key].as_f64().expect("a number"));
    assert!((ours / stored - 1.0).abs() < 1e-3, "{same}");

    let other = run(&q8, &["--kld", &base]);
    assert!(other.refused().stderr.contains("vocabulary"));
    fs::write(&base, "no predictions").expect("the home can be written to");
    let damaged = run(&f32s, &["--kld", &base]);
    assert!(damaged.refused().stderr.contains("stored predictions"));
    let short = home.path().join("short.txt");
    fs::write(&short, "Too short.").expect("the home can be written to");
    let refused = run(&f32s, &["-f", &path(&short)]).refused();
    assert!(
        refused.stderr.contains("no chunk of 64"),
        "{}",
        refused.stderr
    );
}
