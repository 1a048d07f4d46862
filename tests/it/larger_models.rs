//! Real models of other families. They are large, so only `cargo xtask test --full` runs these.

use crate::parity::{follows_llama_cpp, generates_what_llama_cpp_does};
use serde_json::json;
use slm_tests::{Daemon, Home, fixture};

/// Stored, listed and described, whether the engine can run the family or not.
#[track_caller]
fn is_described(file: &str, family: &str, parameters: &str, quantisation: &str) {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create("large", &fixture(file));
    let shown = daemon
        .http()
        .post("/api/show", &json!({ "model": "large" }))
        .expect(200)
        .json();
    assert_eq!(shown["model_info"]["general.architecture"], family);
    assert_eq!(shown["details"]["family"], family);
    assert_eq!(shown["details"]["parameter_size"], parameters);
    assert_eq!(shown["details"]["quantization_level"], quantisation);
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn gemma_3_270m() {
    is_described("gemma-3-270m-q4_k_m.gguf", "gemma3", "268.10M", "Q4_K_M");
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn qwen_2_5_coder() {
    is_described(
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "qwen2",
        "1.8B",
        "Q4_K_M",
    );
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn gemma_3_270m_writes_what_llama_cpp_does() {
    let model = fixture("gemma-3-270m-q4_k_m.gguf");
    follows_llama_cpp("gemma3-270m-greedy", &model);
    generates_what_llama_cpp_does("gemma3-270m-greedy", &model);
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn qwen_2_5_coder_writes_what_llama_cpp_does() {
    let model = fixture("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
    follows_llama_cpp("qwen2.5-coder-1.5b-greedy", &model);
    generates_what_llama_cpp_does("qwen2.5-coder-1.5b-greedy", &model);
}
