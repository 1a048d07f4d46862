//! What models are, in OpenAI's words.

use super::Error;
use crate::error::ApiError;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use slm_api::openai::{Model, ModelList};
use slm_registry::ModelEntry;
use std::{sync::Arc, time::UNIX_EPOCH};

/// All models.
pub(in super::super) fn models(entries: Result<Arc<Vec<ModelEntry>>, ApiError>) -> Response {
    let list = entries.map_err(Error::from).map(|entries| {
        let models = entries
            .iter()
            .map(|entry| row(entry, entry.name.to_string()));
        Json(ModelList {
            object: "list".to_owned(),
            data: models.collect(),
        })
    });
    list.into_response()
}

/// One model, called `name`.
pub(in super::super) fn model(entry: Result<ModelEntry, ApiError>, name: String) -> Response {
    let entry = entry.map_err(|error| Error::from(error.of_field("model")));
    entry.map(|entry| Json(row(&entry, name))).into_response()
}

fn row(entry: &ModelEntry, id: String) -> Model {
    let since = entry.modified.duration_since(UNIX_EPOCH);
    Model {
        id,
        object: "model".to_owned(),
        created: since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        }),
        owned_by: entry.name.namespace().to_owned(),
    }
}
