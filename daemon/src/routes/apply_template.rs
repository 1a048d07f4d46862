//! `POST /api/apply-template`: the text that a model would read for a conversation. The model is loaded for that.

use super::{as_asked, chat::prepare, model_name};
use crate::{
    body::LenientJson,
    caller::Caller,
    error::ApiError,
    inference::{self, PromptSource},
    state::App,
};
use axum::{Json, extract::State};
use slm_api::{ollama::ChatRequest, tokens::ApplyTemplateResponse};
use std::{sync::Arc, time::Instant};

/// Answers; the request is one of `/api/chat`.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<ChatRequest>,
) -> Result<Json<ApplyTemplateResponse>, ApiError> {
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    if request.messages.is_empty() {
        return Err(ApiError::bad_request("messages are required"));
    }
    let name = model_name(&request.model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, &request.model))?;
    let model = request.model.clone();
    let (job, source) = prepare(&app, client, Instant::now(), request, &record).await?;
    let PromptSource::Chat(chat) = source else {
        return Err(ApiError::internal("a conversation has a template"));
    };
    let prompt = inference::render(&app, &job, chat).await?;
    Ok(Json(ApplyTemplateResponse { model, prompt }))
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn the_text_is_what_the_template_says() {
        let daemon = TestDaemon::with_model().await;
        let template = "{{ range .Tools }}<tool>{{ .Function.Name }}{{ end }}{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>";
        let made = json!({"model": "t", "from": "tiny", "template": template, "system": "be", "stream": false});
        let made = daemon.post("/api/create", &made.to_string()).await;
        assert_eq!(made.status, 200, "{made:?}");
        let post = async |body: Value| daemon.post("/api/apply-template", &body.to_string()).await;
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let body =
            json!({"model": "t", "tools": tools, "messages": [{"role": "user", "content": "hi"}]});
        let applied = post(body.clone()).await.json();
        assert_eq!(
            applied,
            json!({"model": "t", "prompt": "<tool>f<system>be<user>hi<assistant>"})
        );
        let mut without = body;
        without["tool_choice"] = json!("none");
        assert_eq!(
            post(without).await.json()["prompt"],
            "<system>be<user>hi<assistant>"
        );
        assert_eq!(post(json!({"model": "t"})).await.status, 400);
        let absent = json!({"model": "absent", "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(post(absent).await.status, 404);
    }
}
