//! `GET /api/bench`, which Ollama does not have: what benchmarks have measured on the daemon's machine.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BenchResponse {
    /// Runs that are kept, the newest first.
    pub runs: Vec<BenchRun>,
}

/// A run of `slm bench` or `slm bench serve`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BenchRun {
    /// Its name, no other's.
    pub id: String,
    /// What was measured: `model`, or `server` for one under load.
    pub kind: String,
    /// When it began.
    pub started_at: String,
    /// A result for each test: in the fields of llama-bench for a model, of vLLM's serving benchmark for a server.
    pub results: Vec<Map<String, Value>>,
}
