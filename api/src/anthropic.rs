//! Anthropic's dialect (`/v1/messages`), as far as the daemon speaks it. Fields that a request has beyond those named
//! here are kept in `rest`, so that none goes unnoticed.
use crate::ollama::KeepAlive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Body of every error answer, and the last event (`error`) of a stream that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicError")]
pub struct ErrorBody {
    /// `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong.
    pub error: ErrorDetail,
    /// The request's id, as the header `x-request-id` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicErrorDetail")]
pub struct ErrorDetail {
    /// `invalid_request_error`, `not_found_error`, `overloaded_error`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// For programs that can help themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<ErrorDetails>,
}

/// What a program may act upon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicErrorDetails")]
pub struct ErrorDetails {
    /// `thread_unsupported_request`.
    pub error_code: String,
}

/// A message of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InputMessage {
    /// `user`, `assistant`, `system`.
    pub role: String,
    /// A text, or a list of blocks.
    pub content: Value,
}

/// `POST /v1/messages`, and without `max_tokens` `POST /v1/messages/count_tokens`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Anthropic's; its API reference describes them"
)]
pub struct MessagesRequest {
    pub model: String,
    pub messages: Vec<InputMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// A text, or a list of blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<Value>,
    /// As in Ollama's dialect; what is named outside of it wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
    /// As in Ollama's dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An answer: whole, or as it begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicMessage")]
#[expect(
    missing_docs,
    reason = "fields are Anthropic's; its API reference describes them"
)]
pub struct Message {
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: String,
    pub role: String,
    pub model: String,
    pub content: Vec<Block>,
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    pub usage: Usage,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MessagesBlock")]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "fields are Anthropic's; its API reference describes them"
)]
pub enum Block {
    /// What the model thought.
    Thinking { thinking: String, signature: String },
    /// What it said.
    Text { text: String },
    /// What it wants done.
    ToolUse {
        id: String,
        name: String,
        input: Map<String, Value>,
    },
}

/// What is new of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MessagesDelta")]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "fields are Anthropic's; its API reference describes them"
)]
pub enum Delta {
    ThinkingDelta {
        thinking: String,
    },
    TextDelta {
        text: String,
    },
    /// A piece of the JSON of a call's input.
    InputJsonDelta {
        partial_json: String,
    },
}

/// Tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicUsage")]
pub struct Usage {
    /// Of the prompt, those that were read anew.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
    /// Of the prompt, those that were known already.
    pub cache_read_input_tokens: u64,
    /// Always 0: nothing is billed.
    pub cache_creation_input_tokens: u64,
}

/// One event of a stream. Its name is its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MessagesEvent")]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "fields are Anthropic's; its API reference describes them"
)]
pub enum Event {
    MessageStart { message: Message },
    ContentBlockStart { index: usize, content_block: Block },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: MessageDelta, usage: Usage },
    MessageStop,
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDelta {
    /// `end_turn`, `max_tokens`, `tool_use`.
    pub stop_reason: Option<String>,
    /// The text that ended it.
    pub stop_sequence: Option<String>,
}

/// Answer of `POST /v1/messages/count_tokens`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCount {
    /// Tokens of the prompt.
    pub input_tokens: u64,
}

/// Answer of `GET /v1/models` to a client of Anthropic's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicModelList")]
pub struct ModelList {
    /// Newest first.
    pub data: Vec<Model>,
    /// Always `false`: a list is one page.
    pub has_more: bool,
    /// The first of the page.
    pub first_id: Option<String>,
    /// The last of the page.
    pub last_id: Option<String>,
}

/// One model, and the answer of `GET /v1/models/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicModel")]
pub struct Model {
    /// `model`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub id: String,
    /// Its name again.
    pub display_name: String,
    /// When it was made or pulled, in RFC 3339.
    pub created_at: String,
}
