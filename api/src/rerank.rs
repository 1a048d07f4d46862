//! Texts put in order by how near they are to another: `POST /v1/rerank` and `POST /v1/score`, as several other servers
//! have them.
use crate::{ollama::KeepAlive, openai::EmbeddingsUsage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `POST /v1/rerank`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RerankRequest {
    /// A model that makes vectors.
    pub model: String,
    /// What documents are compared with.
    pub query: String,
    /// Texts, or objects with a `text`.
    pub documents: Vec<Value>,
    /// How many of the nearest to name; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_n: Option<usize>,
    /// Whether to give the texts back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_documents: Option<bool>,
    /// Whether texts that are too long lose their ends; yes where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// How long the model stays when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// What else the request says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Answer to [`RerankRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RerankResponse {
    /// Of this answer.
    pub id: String,
    /// As the request named it.
    pub model: String,
    /// The nearest first.
    pub results: Vec<Ranked>,
    /// Tokens.
    pub usage: EmbeddingsUsage,
}

/// A document and how near it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// Its place in the request.
    pub index: usize,
    /// The cosine of the angle between both vectors: at most 1.
    pub relevance_score: f32,
    /// The text, where the request asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
}

/// A text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// As the request has it.
    pub text: String,
}

/// `POST /v1/score`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScoreRequest {
    /// A model that makes vectors.
    pub model: String,
    /// A text, or several.
    pub text_1: Value,
    /// As many, or several where the other is one.
    pub text_2: Value,
    /// Whether texts that are too long lose their ends; yes where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// How long the model stays when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// What else the request says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Answer to [`ScoreRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoreResponse {
    /// Of this answer.
    pub id: String,
    /// `list`.
    pub object: String,
    /// Seconds since 1970.
    pub created: i64,
    /// As the request named it.
    pub model: String,
    /// One for each pair, in their order.
    pub data: Vec<Score>,
    /// Tokens.
    pub usage: EmbeddingsUsage,
}

/// How near two texts are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Which pair.
    pub index: usize,
    /// `score`.
    pub object: String,
    /// The cosine of the angle between both vectors: at most 1.
    pub score: f32,
}
