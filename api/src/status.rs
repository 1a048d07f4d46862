//! `GET /api/status`, which Ollama does not have: what the daemon has done and does. Sizes are bytes, times are as in
//! [`crate::ollama`].
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusResponse {
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// Memory of the machine.
    pub memory: StatusMemory,
    /// Requests for text and vectors since the start.
    pub requests: StatusRequests,
    /// Tokens since the start. Two answers and their `uptime_ms` give tokens per second.
    pub tokens: StatusTokens,
    /// The model that is being loaded, if one is; one is at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loading: Option<StatusLoading>,
    /// The last requests that have ended, the newest first.
    pub recent: Vec<RecentRequest>,
}

/// How far the loading of a model is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusLoading {
    /// The model.
    pub model: String,
    /// `room` while it waits until other models have left, `weights` while its file is read and packed.
    pub phase: String,
    /// Bytes of the file that are packed.
    pub completed: u64,
    /// Bytes of its weights; 0 before they are looked at.
    pub total: u64,
}

/// Memory; what the system does not tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusMemory {
    /// What the machine has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What can still be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// What the daemon has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// What all models together may take, where somebody chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Numbers of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusRequests {
    /// Begun and not ended, those included that wait for a model or their turn.
    pub running: u64,
    /// Ended with what was asked for.
    pub finished: u64,
    /// Ended because the client went away.
    pub cancelled: u64,
    /// Ended with an error.
    pub failed: u64,
}

/// Numbers of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusTokens {
    /// Of prompts and texts of requests that have ended.
    pub prompt: u64,
    /// Of those, what was known already.
    pub cached: u64,
    /// Of answers, running ones included.
    pub generated: u64,
}

/// A request that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecentRequest {
    /// When it ended.
    pub ended_at: String,
    /// The model.
    pub model: String,
    /// The route, such as `/api/chat`.
    pub endpoint: String,
    /// `stop`, `length`, `embedded`, `cancelled` or `failed`.
    pub status: String,
    /// Tokens of the prompt or the texts.
    pub prompt_tokens: u64,
    /// Of those, what was known already.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub generated_tokens: u64,
    /// Milliseconds of waiting for the engine.
    pub queued_ms: f64,
    /// From then to the first token or to the vectors.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// From the request to the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// From the request to its end.
    pub total_ms: f64,
    /// Tokens of the answer in a second of decoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}
