//! `GET /api/tags`: the models of the store, newest first.

use super::timestamp;
use crate::{catalog::config_capabilities, details, error::ApiError, state::App};
use axum::{Json, extract::State};
use slm_api::ollama::{TagsModel, TagsResponse};
use slm_registry::ModelEntry;
use std::sync::Arc;

/// What a config blob must say for the model to be listed without opening its file.
const NEEDED: &[&str] = &[
    "model_format",
    "model_family",
    "model_type",
    "file_type",
    "context_length",
];

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Result<Json<TagsResponse>, ApiError> {
    app.blocking(|app| {
        let entries = app.store.list()?;
        let models = entries.iter().map(|entry| row(app, entry)).collect();
        Ok(Json(TagsResponse { models }))
    })
    .await
}

fn row(app: &App, entry: &ModelEntry) -> TagsModel {
    let is_complete = NEEDED.iter().all(|key| !entry.config[*key].is_null());
    let known = config_capabilities(&entry.config).filter(|_| is_complete);
    let (details, capabilities) = match known {
        Some(capabilities) => (details::of_config(&entry.config), Some(capabilities)),
        None => match app.catalog.record(entry) {
            Ok(record) => (record.details(), Some(record.capability_names())),
            Err(error) => {
                tracing::warn!(model = %entry.name, error = error.message(), "cannot be read");
                (details::of_config(&entry.config), None)
            }
        },
    };
    let name = entry.name.to_string();
    TagsModel {
        model: name.clone(),
        name,
        modified_at: timestamp(entry.modified),
        size: entry.size,
        digest: entry.digest.hex(),
        details,
        capabilities,
        location: app.store.location(entry),
    }
}
