//! Real models of other families. They are large, so only `cargo xtask test --full` runs these.

use crate::parity::{follows_llama_cpp, generates_what_llama_cpp_does};
use serde_json::{Value, json};
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

/// Of its own it writes the call in a code fence, with a unit that the tool does not have.
#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn a_strict_tool_binds_qwen_2_5_coder_without_its_mark_and_nothing_else_is_bound() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let model = fixture("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
    home.create("coder", &model);
    let answer = |is_strict: bool, question: &str| {
        let parameters = json!({"type": "object", "required": ["city", "unit"], "properties": {
            "city": {"type": "string"}, "unit": {"type": "string", "enum": ["K", "R"]}}});
        let tool = json!({"name": "get_weather", "strict": is_strict, "parameters": parameters});
        let body = json!({"model": "coder", "temperature": 0, "max_tokens": 100,
            "messages": [{"role": "user", "content": question}],
            "tools": [{"type": "function", "function": tool}]});
        let answer = daemon.http().post("/v1/chat/completions", &body);
        answer.expect(200).json()["choices"][0]["message"].clone()
    };
    let unit = |message: &Value| {
        let call = &message["tool_calls"][0]["function"];
        assert_eq!(call["name"], "get_weather", "{message}");
        let arguments = call["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        arguments["unit"].as_str().unwrap_or_default().to_owned()
    };
    let question = "What is the weather in Paris, in celsius?";
    assert!(!["K", "R"].contains(&&*unit(&answer(false, question))));
    assert!(["K", "R"].contains(&&*unit(&answer(true, question))));
    let question = "Describe a person called Bob in JSON, in a code fence. Call no function.";
    // the prompt says what is strict, so the words may differ
    for is_strict in [false, true] {
        let message = answer(is_strict, question);
        let content = message["content"].as_str().unwrap();
        assert!(message["tool_calls"].is_null(), "{message}");
        assert!(content.contains("\"Bob\""), "{message}");
    }
}
