//! `POST /api/tokenize` and `POST /api/detokenize`: texts to tokens and back. The model is loaded for that.

use super::{as_asked, model_name};
use crate::{
    body::LenientJson,
    caller::{Caller, Client},
    error::ApiError,
    inference::{self, Job, RunOptions},
    models::KeepFor,
    state::App,
};
use axum::{Json, extract::State};
use slm_api::{
    ollama::KeepAlive,
    tokens::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse},
};
use std::{sync::Arc, time::Instant};

/// The tokens of a text.
pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let job = job(&app, client, &request.model, request.keep_alive).await?;
    let framed = request.add_special.unwrap_or(false);
    Ok(Json(TokenizeResponse {
        tokens: inference::encode(&app, &job, request.text, framed).await?,
        model: request.model,
    }))
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let job = job(&app, client, &request.model, request.keep_alive).await?;
    Ok(Json(DetokenizeResponse {
        text: inference::decode(&app, &job, request.tokens).await?,
        model: request.model,
    }))
}

async fn job(
    app: &Arc<App>,
    client: Client,
    model: &str,
    keep_alive: Option<KeepAlive>,
) -> Result<Job, ApiError> {
    if model.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let name = model_name(model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, model))?;
    Ok(Job {
        adapters: Vec::new(),
        options: RunOptions::merge([&record.params])?,
        record,
        keep: KeepFor::from_wire(keep_alive.as_ref())?,
        client,
        began: Instant::now(),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestDaemon, golden_file, golden_model};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn tokens_are_those_of_the_reference_and_become_the_text_again() {
        let daemon = TestDaemon::with_model().await;
        let golden: Value = serde_json::from_slice(&golden_file("llama.json")).unwrap();
        let text = &golden["prompt_text"];
        let body = json!({"model": "tiny", "text": text}).to_string();
        let tokens = daemon.post("/api/tokenize", &body).await.json();
        assert_eq!(tokens["tokens"], golden["prompt_tokens_whole_text"]);
        let body = json!({"model": "tiny", "tokens": tokens["tokens"]}).to_string();
        let back = daemon.post("/api/detokenize", &body).await.json();
        assert_eq!(&back["text"], text);

        let body = json!({"model": "tiny", "tokens": [1_000_000]}).to_string();
        let foreign = daemon.post("/api/detokenize", &body).await;
        assert!(foreign.status == 400 && foreign.error().contains("token 1000000"));
        let body = json!({"model": "absent", "text": "x"}).to_string();
        assert_eq!(daemon.post("/api/tokenize", &body).await.status, 404);
    }

    #[tokio::test]
    async fn what_frames_a_prompt_is_added_where_it_is_asked_for() {
        let daemon = TestDaemon::new();
        daemon.create("vec", &golden_model("bert-mean")).await;
        let golden: Value = serde_json::from_slice(&golden_file("bert-mean.json")).unwrap();
        let case = &golden["cases"][0];
        let body = json!({"model": "vec", "text": case["text"], "add_special": true}).to_string();
        let framed = daemon.post("/api/tokenize", &body).await.json();
        assert_eq!(framed["tokens"], case["tokens"]);
    }
}
