//! `POST /api/search`, which Ollama does not have: models to pull.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request. The answer is as `slm search --format json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SearchRequest {
    /// Words that have to occur; nothing is the whole catalogue, and then nobody else is asked.
    pub query: String,
}
