//! `POST /v1/embeddings`: texts to vectors. A disconnect cancels the work.
//!
//! A text that is too long is refused, as OpenAI does, unless the request says `truncate`.

use super::Error;
use crate::{
    body::LenientJson,
    caller::Caller,
    error::ApiError,
    inference::{Text, Texts},
    routes::{
        embed::{MAX_TEXTS, Run, vectors},
        wishes::Ignored,
    },
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use slm_api::openai::{Embedding, EmbeddingsRequest, EmbeddingsResponse, EmbeddingsUsage, Vector};
use std::{sync::Arc, time::Instant};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<EmbeddingsRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let ignored = Ignored::of(&request.rest, &["user"]);
    ignored.check(&app)?;
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model is required")
            .of_field("model")
            .into());
    }
    let in_base64 = match request.encoding_format.as_deref() {
        None | Some("" | "float") => false,
        Some("base64") => true,
        Some(other) => {
            let text =
                format!("invalid `encoding_format` {other:?}: expected \"float\" or \"base64\"");
            return Err(ApiError::bad_request(text)
                .of_field("encoding_format")
                .into());
        }
    };
    let dimensions = request
        .dimensions
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if dimensions == Some(0) {
        let text = "`dimensions` must be at least 1";
        return Err(ApiError::bad_request(text).of_field("dimensions").into());
    }
    let texts = Texts {
        texts: texts(request.input)?,
        truncate: request.truncate.unwrap_or(false),
        dimensions,
        normalize: true,
    };
    let run = Run {
        options: None,
        adapters: None,
        keep_alive: request.keep_alive,
        client,
    };
    let done = vectors(&app, began, &request.model, run, texts).await?;
    let (vectors, metrics) =
        done.map_or_else(Default::default, |done| (done.vectors, done.metrics));
    let embedding = |(index, vector): (usize, Vec<f32>)| Embedding {
        object: "embedding".to_owned(),
        index,
        embedding: if in_base64 {
            Vector::Base64(base64(&vector))
        } else {
            Vector::Floats(vector)
        },
    };
    let n_tokens = metrics.prompt_eval_count.unwrap_or(0);
    let response = EmbeddingsResponse {
        object: "list".to_owned(),
        data: vectors.into_iter().enumerate().map(embedding).collect(),
        model: request.model,
        usage: EmbeddingsUsage {
            prompt_tokens: n_tokens,
            total_tokens: n_tokens,
        },
    };
    Ok(ignored.tell(Json(response).into_response()))
}

/// A text, texts, tokens, or lists of them.
fn texts(input: Option<Value>) -> Result<Vec<Text>, ApiError> {
    let wrong = |text: String| Err(ApiError::bad_request(text).of_field("input"));
    let Some(input) = input else {
        return wrong("`input` is required".to_owned());
    };
    let inputs = match input {
        Value::Array(items) if !items.iter().any(Value::is_number) => items,
        one => vec![one],
    };
    if inputs.is_empty() {
        return wrong("`input` is empty".to_owned());
    }
    if inputs.len() > MAX_TEXTS {
        return wrong(format!(
            "`input` has {} texts, and at most {MAX_TEXTS} may be sent at once",
            inputs.len()
        ));
    }
    let text = |input| match input {
        Value::String(text) => Ok(Text::Plain(text)),
        other => Ok(Text::Tokens(super::tokens(other, "input")?)),
    };
    inputs.into_iter().map(text).collect()
}

/// 32-bit floats, little-endian.
fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}
