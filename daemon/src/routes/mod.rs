//! The route table, and what several routes share.
//!
//! A route decodes wire types, checks them in the order that clients rely on, calls the rest of the daemon, and maps the
//! result back. One file per route.

mod adopt;
mod anthropic;
mod apply_template;
mod archive;
mod bench;
mod blobs;
mod bundle;
mod care;
mod chat;
mod copy;
mod create;
mod delete;
mod dialect;
mod embed;
mod events;
mod generate;
mod health;
mod metrics;
mod models;
mod openai;
mod openapi;
mod page;
mod path;
mod ps;
mod pull;
mod push;
mod root;
mod search;
mod show;
mod status;
mod swap;
mod table;
mod tags;
#[cfg(test)]
mod tests;
mod tokenize;
mod tool_choice;
mod version;
mod wishes;

pub(crate) use show::flat;
pub(crate) use tags::Rendered;

use crate::{
    error::ApiError,
    middleware::{
        cors,
        ending::{self, InDialect},
        host_check, request_log,
    },
    state::App,
};
use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, get, head, post},
};
use http::StatusCode;
use slm_registry::{ModelName, Reference};
use std::{sync::Arc, time::SystemTime};
use table::Table;

/// Every route, with what each request passes through.
pub(crate) fn router(app: &Arc<App>) -> Router {
    table()
        .into_router()
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed")
        })
        .layer(from_fn_with_state(
            (Arc::clone(app), in_dialect as InDialect),
            ending::refuse,
        ))
        .layer(from_fn_with_state(Arc::clone(app), cors::check))
        .layer(from_fn_with_state(Arc::clone(app), host_check::check))
        .layer(from_fn(request_log::log))
        .with_state(Arc::clone(app))
}

/// An error as the clients of `path` read errors.
fn in_dialect(path: &str, error: ApiError) -> Response {
    if path.starts_with("/v1/messages") {
        anthropic::Error::from(error).into_response()
    } else if path.starts_with("/v1/") {
        openai::Error::from(error).into_response()
    } else {
        error.into_response()
    }
}

/// What answers where.
fn table() -> Table {
    Table::new()
        .route("/", get(root::answer))
        .route("/ui/{name}", get(page::asset))
        .route("/api/version", get(version::answer))
        .route("/api/status", get(status::answer))
        .route("/api/bench", get(bench::answer))
        .route("/api/tags", get(tags::answer))
        .route("/api/ps", get(ps::answer))
        .route("/api/show", post(show::answer))
        .route("/api/create", post(create::answer))
        .route("/api/copy", post(copy::answer))
        .route("/api/delete", delete(delete::answer))
        .route("/api/pull", post(pull::answer))
        .route("/api/search", post(search::answer))
        .route("/api/swap", post(swap::answer))
        .route("/api/push", post(push::answer))
        .route("/api/verify", post(care::verify))
        .route("/api/gc", post(care::gc))
        .route("/api/df", get(care::df))
        .route("/api/outdated", get(care::outdated))
        .route("/api/update", post(care::update))
        .route("/api/rollback", post(care::rollback))
        .route("/api/generate", post(generate::answer))
        .route("/api/chat", post(chat::answer))
        .route("/api/embed", post(embed::answer))
        .route("/api/embeddings", post(embed::answer_old))
        .route("/api/path", post(path::answer))
        .route("/api/export", post(bundle::export))
        .route("/api/import", post(bundle::import))
        .route("/api/adopt/find", post(adopt::find))
        .route("/api/adopt", post(adopt::adopt))
        .route("/api/archive", post(archive::archive))
        .route("/api/unarchive", post(archive::unarchive))
        .route("/api/blobs", get(blobs::list))
        .route(
            "/api/blobs/{digest}",
            head(blobs::exists).post(blobs::upload).put(blobs::link),
        )
        .route("/api/tokenize", post(tokenize::tokenize))
        .route("/api/detokenize", post(tokenize::detokenize))
        .route("/metrics", get(metrics::answer))
        .route("/api/apply-template", post(apply_template::answer))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .merge(openai::router())
        .route("/openapi.json", get(openapi::answer))
        .merge(anthropic::router())
}

/// Reads a model name as requests write it, with the markers of where to run it.
///
/// # Errors
/// A name outside of the grammar, contradicting markers, or a model that only runs elsewhere.
pub(crate) fn model_name(raw: &str) -> Result<ModelName, ApiError> {
    let local = raw.strip_suffix(":local");
    let rest = local.unwrap_or(raw);
    let tag = rest.rsplit_once(':').map_or("", |(_, tag)| tag);
    let is_cloud = tag == "cloud" || (tag.ends_with("-cloud") && !tag.contains('/'));
    if is_cloud && local.is_some() {
        return Err(ApiError::bad_request(format!(
            "use either :local or :cloud, not both: \"{raw}\""
        )));
    }
    if is_cloud {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!(
                "`{raw}` runs in a cloud, and slmd runs models on this machine only; choose another tag"
            ),
        ));
    }
    Ok(rest.parse::<ModelName>()?)
}

/// Reads what a request wants pulled: a model's name, as [`model_name`] does, or any other source.
///
/// # Errors
/// As there.
pub(crate) fn reference(raw: &str) -> Result<Reference, ApiError> {
    let rest = raw.strip_suffix(":local").unwrap_or(raw);
    if rest.parse::<ModelName>().is_ok() {
        model_name(raw)?;
    }
    Ok(rest.parse::<Reference>()?)
}

/// The model that a request names by the current field or by the deprecated one.
fn named(model: String, name: Option<String>) -> String {
    if model.is_empty() {
        name.unwrap_or_default()
    } else {
        model
    }
}

/// A missing model is called what the request called it.
pub(crate) fn as_asked(error: ApiError, raw: &str) -> ApiError {
    if error.status() == StatusCode::NOT_FOUND {
        return ApiError::no_model(raw);
    }
    error
}

/// `2026-08-21T18:48:22.123456789Z`.
fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

/// Now, as answers carry it.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
