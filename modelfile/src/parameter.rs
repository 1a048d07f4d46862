//! The options that `PARAMETER` knows, and their types.
use serde_json::Value;

/// Type of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// 64-bit integer.
    Int,
    /// 32-bit float.
    Float,
    /// Boolean.
    Bool,
    /// A text.
    Text,
    /// List of strings; each `PARAMETER` adds one.
    Strings,
}

use ParameterKind::{Bool, Float, Int, Strings, Text};

/// Every option that a Modelfile may set.
const PARAMETERS: [(&str, ParameterKind); 22] = [
    ("num_keep", Int),
    ("seed", Int),
    ("num_predict", Int),
    ("top_k", Int),
    ("top_p", Float),
    ("min_p", Float),
    ("typical_p", Float),
    ("repeat_last_n", Int),
    ("temperature", Float),
    ("repeat_penalty", Float),
    ("presence_penalty", Float),
    ("frequency_penalty", Float),
    ("stop", Strings),
    ("num_ctx", Int),
    ("num_batch", Int),
    ("num_gpu", Int),
    ("main_gpu", Int),
    ("use_mmap", Bool),
    ("num_thread", Int),
    ("draft_num_predict", Int),
    ("draft_model", Text),
    ("kv_cache_type", Text),
];

/// Options of the past, which old Modelfiles still carry: skipped with a warning.
const RETIRED: [&str; 9] = [
    "penalize_newline",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
];

/// The type of the option `name`, or `None` when there is no such option.
pub fn parameter_kind(name: &str) -> Option<ParameterKind> {
    let known = PARAMETERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, kind)| *kind)
}

/// The names of all options.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PARAMETERS.iter().map(|(name, _)| *name)
}

fn list_of_names() -> String {
    let names = PARAMETERS.iter().map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(", ")
}

/// Whether `name` was an option once.
pub(super) fn is_retired(name: &str) -> bool {
    RETIRED.contains(&name)
}

/// Why a `PARAMETER` is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParameterError {
    /// No such option.
    #[error("unknown parameter '{0}'; there is {list}", list = list_of_names())]
    Unknown(String),
    /// The value does not fit the type.
    #[error("invalid {kind} value [{value}] for parameter '{name}'; expected {expected}")]
    Invalid {
        /// `int`, `float` or `bool`.
        kind: &'static str,
        /// What it could be.
        expected: &'static str,
        /// The option.
        name: String,
        /// What was written.
        value: String,
    },
}

/// The value of one option in the params layer; of a list, one element.
pub(super) fn typed(name: &str, text: &str) -> Result<Value, ParameterError> {
    let kind = parameter_kind(name).ok_or_else(|| ParameterError::Unknown(name.to_owned()))?;
    let (kind, expected, value) = match kind {
        Int => (
            "int",
            "a whole number",
            text.parse::<i64>().ok().map(Value::from),
        ),
        Float => ("float", "a number such as 0.7", float(text)),
        Bool => ("bool", "true or false", boolean(text).map(Value::from)),
        Text | Strings => return Ok(Value::from(text)),
    };
    value.ok_or_else(|| ParameterError::Invalid {
        kind,
        expected,
        name: name.to_owned(),
        value: text.to_owned(),
    })
}

/// A finite number in the range of `f32`, as the decimal that was written (`0.8`, not `0.800000011920929`).
fn float(text: &str) -> Option<Value> {
    let fits = text.parse::<f32>().is_ok_and(f32::is_finite);
    let number = fits.then(|| text.parse::<f64>().ok()).flatten()?;
    serde_json::Number::from_f64(number).map(Value::Number)
}

/// The spellings that Ollama accepts.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
