//! What a fuzzer runs: one module for each thing that reads bytes from strangers.
//!
//! A target's `run` takes any bytes and panics when a promise is broken: a panic or overflow in the code under test, a
//! result that depends on how a stream was cut, text that is lost, a value that does not survive printing and parsing.
//! How long an input may take and how much memory it may use is the fuzzer's to watch (`cargo xtask fuzz`). The same
//! functions run on the stored inputs as ordinary tests, so that they keep compiling and what was found stays mended.
//!
//! Inputs can be written by hand: a target that takes more than one text reads lines (see [`input`]).

pub mod answer;
pub mod conversation;
pub mod gguf;
pub mod go_template;
pub mod input;
pub mod jinja_template;
pub mod modelfile;
pub mod registry;
pub mod tar;
pub mod text_stream;
pub mod thinking;
pub mod tokenizer;
pub mod tool_calls;

/// Runs one input.
pub type Run = fn(&[u8]);

/// Every target by its name, which is also that of its program and of its folders under `corpus` and `regressions`.
pub const TARGETS: [(&str, Run); 11] = [
    ("answer", answer::run),
    ("gguf", gguf::run),
    ("go_template", go_template::run),
    ("jinja_template", jinja_template::run),
    ("modelfile", modelfile::run),
    ("registry", registry::run),
    ("tar", tar::run),
    ("text_stream", text_stream::run),
    ("thinking", thinking::run),
    ("tokenizer", tokenizer::run),
    ("tool_calls", tool_calls::run),
];
