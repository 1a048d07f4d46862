//! Texts and tokens, which Ollama's API does not have: `POST /api/tokenize`, `POST /api/detokenize` and
//! `POST /api/apply-template`.
use crate::ollama::KeepAlive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /api/tokenize`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TokenizeRequest {
    /// Whose vocabulary.
    pub model: String,
    /// The text. Names of control tokens in it are these tokens.
    #[serde(alias = "content", alias = "prompt")]
    pub text: String,
    /// Whether to put around it what the model wants at the beginning and the end of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special: Option<bool>,
    /// How long the model stays when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
}

/// Answer to [`TokenizeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenizeResponse {
    /// As the request named it.
    pub model: String,
    /// Token ids.
    pub tokens: Vec<u32>,
}

/// `POST /api/detokenize`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DetokenizeRequest {
    /// Whose vocabulary.
    pub model: String,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// How long the model stays when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
}

/// Answer to [`DetokenizeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetokenizeResponse {
    /// As the request named it.
    pub model: String,
    /// The text, control tokens by their names; bytes that are no text become U+FFFD.
    pub text: String,
}

/// Answer of `POST /api/apply-template`, whose request is one of `/api/chat`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyTemplateResponse {
    /// As the request named it.
    pub model: String,
    /// The conversation as the model would read it.
    pub prompt: String,
}
