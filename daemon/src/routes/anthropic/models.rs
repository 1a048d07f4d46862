//! What models are, in Anthropic's words. A list is one page, whatever the request's `limit`.

use super::Error;
use crate::{error::ApiError, routes::timestamp};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use slm_api::anthropic::{Model, ModelList};
use slm_registry::ModelEntry;
use std::sync::Arc;

/// All models.
pub(in super::super) fn models(entries: Result<Arc<Vec<ModelEntry>>, ApiError>) -> Response {
    let list = entries.map_err(Error::from).map(|entries| {
        let models = entries
            .iter()
            .map(|entry| row(entry, entry.name.to_string()));
        let data: Vec<Model> = models.collect();
        Json(ModelList {
            has_more: false,
            first_id: data.first().map(|model| model.id.clone()),
            last_id: data.last().map(|model| model.id.clone()),
            data,
        })
    });
    list.into_response()
}

/// One model, called `name`.
pub(in super::super) fn model(entry: Result<ModelEntry, ApiError>, name: String) -> Response {
    let entry = entry.map_err(Error::from);
    entry.map(|entry| Json(row(&entry, name))).into_response()
}

fn row(entry: &ModelEntry, id: String) -> Model {
    Model {
        kind: "model".to_owned(),
        display_name: id.clone(),
        id,
        created_at: timestamp(entry.modified),
    }
}
