//! Ollama's native dialect (`/api/…`). Optional fields are left out when empty, as there.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Body of every error answer, and the last line of a stream that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// One sentence.
    pub error: String,
}

/// What errors begin with once the daemon has begun to end.
pub const ENDING: &str = "the server is shutting down";

/// `keep_alive`: seconds as a number, or a duration such as `5m`; negative is forever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a number of seconds, or a duration such as \"5m\" or \"-1\""
)]
pub enum KeepAlive {
    /// Seconds.
    Seconds(f64),
    /// `300ms`, `5m`, `1h30m`, `-1`, …
    Text(String),
}

/// `think`: on, off, or a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected true, false, \"low\", \"medium\", \"high\" or \"max\""
)]
pub enum Think {
    /// On or off.
    Switch(bool),
    /// `low`, `medium`, `high`, `max`.
    Level(String),
}

/// One of a request's `adapters`, which Ollama does not know: what the model's weights are changed by, in place of the
/// model's own adapters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdapterChoice {
    /// A model that has adapters: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The adapter itself, in place of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Factor on what it changes; 1 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

/// One chat message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// Text.
    pub content: String,
    /// Reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Base64 images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    /// Tool calls; arguments are an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<Value>>,
    /// For role `tool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    /// For role `tool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// `POST /api/generate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct GenerateRequest {
    pub model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterChoice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<bool>,
}

/// `POST /api/chat`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// As in OpenAI's dialect: `auto`, `none`, `required`, or a function; not in Ollama's API, like the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// Whether an answer may have more than one call; yes where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterChoice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<bool>,
}

/// Counts and times in the last chunk; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct Metrics {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_duration: Option<u64>,
    /// Of the prompt, tokens that were known already; not in Ollama's API, like the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cached_count: Option<u64>,
    /// Tokens that were left out of a prompt that was too long, where `truncate` asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_truncated_count: Option<u64>,
    /// Tokens that made room for what followed, where `shift` asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_shifted_count: Option<u64>,
}

/// How likely a model found a token of its answer; logarithms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct Logprob {
    pub token: String,
    pub logprob: f32,
    /// The bytes of the token; of a part of a character they are no text, and `token` shows U+FFFD.
    pub bytes: Vec<u8>,
    /// The likeliest tokens in its place, the likeliest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_logprobs: Vec<Logprob>,
}

/// A chunk of `/api/generate`, or its whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct GenerateResponse {
    pub model: String,
    pub created_at: String,
    pub response: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<u32>>,
    /// Of the tokens of this chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Logprob>>,
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// A chunk of `/api/chat`, or its whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct ChatResponse {
    pub model: String,
    pub created_at: String,
    pub message: Message,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<String>,
    /// Of the tokens of this chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Logprob>>,
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// `POST /api/embed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct EmbedRequest {
    pub model: String,
    /// A text or a list of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterChoice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
}

/// Answer of `POST /api/embed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct EmbedResponse {
    pub model: String,
    /// One vector of length 1 for each text.
    pub embeddings: Vec<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_count: Option<u64>,
}

/// `POST /api/embeddings`, which `/api/embed` came after.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct EmbeddingsRequest {
    pub model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterChoice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
}

/// Answer of `POST /api/embeddings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddingsResponse {
    /// The vector, as long as the model made it.
    pub embedding: Vec<f32>,
}

/// Summary of a model's make-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct Details {
    pub parent_model: String,
    pub format: String,
    pub family: String,
    pub families: Option<Vec<String>>,
    pub parameter_size: String,
    pub quantization_level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<u64>,
}

/// One row of `GET /api/tags`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct TagsModel {
    pub name: String,
    pub model: String,
    pub modified_at: String,
    pub size: u64,
    pub digest: String,
    pub details: Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// slm's own: `hot`, `shared`, `archive` or `reference`, where there is more than one location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// `GET /api/tags`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TagsResponse {
    /// Newest first.
    pub models: Vec<TagsModel>,
}

/// One row of `GET /api/ps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct PsModel {
    pub name: String,
    pub model: String,
    pub size: u64,
    pub digest: String,
    pub details: Details,
    pub expires_at: String,
    pub size_vram: u64,
    pub context_length: u64,
    /// What the model may take, in bytes; not in Ollama's API, like the next three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<PsMemory>,
    /// What it has to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<PsRequests>,
    /// Whether it stays loaded until it is stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub pinned: bool,
}

/// Bytes that a loaded model was promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PsMemory {
    /// Packed weights, with those of adapters.
    pub weights: u64,
    /// Buffers of a step, tokenizer, and all that is small.
    pub buffers: u64,
    /// Keys and values of all sequences, at most.
    pub kv_limit: u64,
    /// Of those, what is in use.
    pub kv_used: u64,
}

/// Requests of a loaded model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PsRequests {
    /// Being answered.
    pub running: u64,
    /// Waiting for their turn.
    pub waiting: u64,
    /// About how many milliseconds one that comes now would wait.
    pub estimated_wait_ms: u64,
}

/// `POST /api/swap`, which Ollama's API does not have: makes a model ready, then lets the others go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SwapRequest {
    /// The model to make ready.
    pub model: String,
    /// How long it stays when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// As for a generation: `num_ctx`, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
    /// Whether it stays until it is stopped, whatever else is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
}

/// Answer to [`SwapRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SwapResponse {
    /// The model, ready.
    pub model: String,
    /// The models that go, each once its last request has ended.
    pub released: Vec<String>,
}

/// `GET /api/ps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PsResponse {
    /// Longest remaining time first.
    pub models: Vec<PsModel>,
}

/// `POST /api/show`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShowRequest {
    /// Model name.
    pub model: String,
    /// Deprecated spelling of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Long arrays too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
    /// Where the model came from too; Ollama has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<bool>,
}

/// A tensor in `ShowResponse`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShowTensor {
    /// Name.
    pub name: String,
    /// Type such as `Q4_K`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Fastest dimension first.
    pub shape: Vec<u64>,
}

/// An adapter in `ShowResponse`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShowAdapter {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes of the file.
    pub size: u64,
}

/// Answer of `POST /api/show`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct ShowResponse {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub license: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub modelfile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parameters: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system: String,
    pub details: Details,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    pub model_info: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<ShowTensor>,
    /// LoRA adapters that the model runs with; Ollama has no such field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<ShowAdapter>,
    /// Where the model came from, if the request asks and it was noted; Ollama has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<crate::care::ShowProvenance>,
    pub capabilities: Vec<String>,
    pub modified_at: String,
}

/// `POST /api/pull`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct PullRequest {
    pub model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Bytes per second at most; slm's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bandwidth: Option<u64>,
}

/// `POST /api/push`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct PushRequest {
    pub model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Where to, when that is not what the model's name says; slm's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// `ollama`, `modelpack`, `docker` or `modelcar`; slm's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// A line of progress of pull, push and create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct Progress {
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
}

/// `POST /api/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "fields are Ollama's; its API reference describes them"
)]
pub struct CreateRequest {
    pub model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<String>,
    /// Deprecated spelling of `quantize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renderer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
}

/// `PUT /api/blobs/:digest`, an extension for clients on the daemon's own machine: take a local file as the blob, by
/// link where the filesystem allows. Answers as `POST` does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkBlobRequest {
    /// Absolute path that the daemon can read.
    pub path: String,
}

/// `POST /api/copy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CopyRequest {
    /// Existing name.
    pub source: String,
    /// New name.
    pub destination: String,
}

/// `DELETE /api/delete`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeleteRequest {
    /// Model name.
    pub model: String,
    /// Deprecated spelling of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `GET /api/version`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionResponse {
    /// A semantic version.
    pub version: String,
    /// About slm itself; Ollama has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slm: Option<SlmInfo>,
}

/// What a bug report needs to know of slm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlmInfo {
    /// The version of slm.
    pub version: String,
    /// What it computes on.
    pub cpu: CpuInfo,
}

/// The CPU tier and threads in use, and why these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuInfo {
    /// Such as `avx2`.
    pub tier: String,
    /// Why this tier.
    pub reason: String,
    /// Compute threads.
    pub threads: usize,
    /// Why so many.
    pub threads_reason: String,
    /// Instruction sets of the CPU.
    pub features: Vec<String>,
}
