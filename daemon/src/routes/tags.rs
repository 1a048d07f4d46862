//! `GET /api/tags`: the models of the store, newest first.

use super::timestamp;
use crate::{catalog::config_capabilities, details, error::ApiError, state::App};
use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::CONTENT_TYPE};
use slm_api::ollama::{TagsModel, TagsResponse};
use slm_registry::ModelEntry;
use std::sync::{Arc, Mutex, PoisonError};

/// What a config blob must say for the model to be listed without opening its file.
const NEEDED: &[&str] = &[
    "model_format",
    "model_family",
    "model_type",
    "file_type",
    "context_length",
];

/// The answer to a list that is still the same.
#[derive(Debug, Default)]
pub(crate) struct Rendered(Mutex<Option<(Arc<Vec<ModelEntry>>, Bytes)>>);

impl Rendered {
    fn of(&self, entries: &Arc<Vec<ModelEntry>>) -> Option<Bytes> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, answer) = known.as_ref()?;
        Arc::ptr_eq(list, entries).then(|| answer.clone())
    }

    fn keep(&self, entries: Arc<Vec<ModelEntry>>, answer: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((entries, answer));
    }
}

/// Answers.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let kept = app.store.kept_listing();
    if let Some(answer) = kept.and_then(|entries| app.tags.of(&entries)) {
        return Ok(json(answer));
    }
    let answer = app.blocking(|app| {
        let entries = app.store.listing()?;
        let mut is_all_of_list = true;
        let models = entries.iter().map(|entry| {
            let (row, is_of_list) = row(app, entry);
            is_all_of_list &= is_of_list;
            row
        });
        let models = models.collect();
        let answer = serde_json::to_vec(&TagsResponse { models });
        let answer = answer.map_err(|error| ApiError::internal(error.to_string()))?;
        let answer = Bytes::from(answer);
        if is_all_of_list {
            app.tags.keep(entries, answer.clone());
        }
        Ok(answer)
    });
    Ok(json(answer.await?))
}

fn json(body: Bytes) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// What is said of a model, and whether the list alone says all of it.
fn row(app: &App, entry: &ModelEntry) -> (TagsModel, bool) {
    let is_complete = NEEDED.iter().all(|key| !entry.config[*key].is_null());
    let known = config_capabilities(&entry.config).filter(|_| is_complete);
    let is_of_list = known.is_some();
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
    let row = TagsModel {
        model: name.clone(),
        name,
        modified_at: timestamp(entry.modified),
        size: entry.size,
        digest: entry.digest.hex(),
        details,
        capabilities,
        location: app.store.location(entry),
    };
    (row, is_of_list)
}
