//! `GET /v1/models` and `GET /v1/models/{id}`, where an id may have slashes.

use super::Error;
use crate::{
    error::ApiError,
    parts::PathText,
    routes::{as_asked, model_name},
    state::App,
};
use axum::{Json, extract::State};
use slm_api::openai::{Model, ModelList};
use slm_registry::ModelEntry;
use std::{sync::Arc, time::UNIX_EPOCH};

/// All models.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<ModelList>, Error> {
    let entries = app.blocking(|app| Ok(app.store.list()?)).await?;
    let models = entries
        .iter()
        .map(|entry| row(entry, entry.name.to_string()));
    Ok(Json(ModelList {
        object: "list".to_owned(),
        data: models.collect(),
    }))
}

/// One model, called as the client calls it.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    name: Result<PathText, ApiError>,
) -> Result<Json<Model>, Error> {
    let PathText(name) = name?;
    let parsed = model_name(&name)?;
    let entry = app.blocking(move |app| Ok(app.store.find(&parsed)?)).await;
    let entry = entry.map_err(|error: ApiError| as_asked(error, &name).of_field("model"))?;
    Ok(Json(row(&entry, name)))
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
