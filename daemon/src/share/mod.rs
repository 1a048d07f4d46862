//! The models of this machine for others: the distribution protocol under `/v2/`, read-only, on an address of its own.
//!
//! The API stays where it is; whoever reaches this address can list and fetch models, and nothing else. Shown are models
//! that have a manifest, and the blobs that those refer to. Every blob goes by its digest, so that a receiver can tell
//! whether it got the right bytes; none is read into memory. Browsers are refused: a page could otherwise read along.

pub(crate) mod discovery;
mod listing;
mod refusal;
mod send;
mod target;

use crate::{middleware::request_log, server, state::App};
use anyhow::Context;
use axum::{
    Router,
    extract::State,
    middleware::from_fn,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use refusal::Refusal;
use slm_registry::{ModelEntry, Store, repository};
use std::sync::Arc;
use target::Target;
use tokio::{net::TcpListener, task::JoinHandle};

/// Connections of others at once; more wait. Those of the API are counted apart.
const MAX_CONNECTIONS: usize = 256;
/// Headers that browsers send, and clients of registries do not.
const BROWSER_HEADERS: [&str; 2] = ["origin", "sec-fetch-site"];

/// Begins to share, where the user switched that on; ends with the daemon.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn start(app: &Arc<App>) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(address) = app.config.share else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot share models on {address}; choose another address with --share-listen or SLM_SHARE_LISTEN")
    })?;
    let address = listener
        .local_addr()
        .context("cannot read the own address")?;
    tracing::info!("sharing models on {address}");
    if app.config.share_mdns {
        discovery::announce(address, app.shutdown.begun.clone());
    }
    let served = server::run_bounded(
        listener,
        router(&app.store),
        app.shutdown.clone(),
        MAX_CONNECTIONS,
    );
    Ok(Some(tokio::spawn(served)))
}

fn router(store: &Store) -> Router {
    Router::new()
        .fallback(answer)
        .layer(from_fn(request_log::log))
        .with_state(store.clone())
}

async fn answer(
    State(store): State<Store>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let answered = find(store, &method, &uri, &headers).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(
        HeaderName::from_static("docker-distribution-api-version"),
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

async fn find(
    store: Store,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    // a page whose own name was made to point here sends none of those headers, but its browser says what it is
    let program = headers.get(http::header::USER_AGENT);
    let is_browser = program.is_some_and(|program| program.as_bytes().starts_with(b"Mozilla/"));
    let mut of_browsers = BROWSER_HEADERS.iter();
    if is_browser || of_browsers.any(|name| headers.contains_key(*name)) {
        return Err(Refusal::denied());
    }
    let target = Target::parse(uri.path())?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::unsupported());
    }
    match target {
        Target::Base => Ok((StatusCode::OK, axum::Json(serde_json::json!({}))).into_response()),
        Target::Catalog => listing::catalog(entries(store).await?, uri),
        Target::Tags { path } => listing::tags(entries_of(store, &path).await?, &path, uri),
        Target::Manifest { path, reference } => {
            let entry = reference.find(entries_of(store.clone(), &path).await?)?;
            send::manifest(store, entry, headers).await
        }
        // Whoever has the bytes under one name may give them under another: the digest says what they are.
        Target::Blob { digest } => send::blob(store, digest, headers).await,
    }
}

/// All models.
async fn entries(store: Store) -> Result<Vec<ModelEntry>, Refusal> {
    on_disk(move || store.list()).await
}

/// The models of one repository.
async fn entries_of(store: Store, path: &str) -> Result<Vec<ModelEntry>, Refusal> {
    let mut entries = entries(store).await?;
    entries.retain(|entry| repository(&entry.name).eq_ignore_ascii_case(path));
    if entries.is_empty() {
        return Err(Refusal::name_unknown(path));
    }
    Ok(entries)
}

/// Runs something that blocks on the disk, off the runtime.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, slm_registry::Error> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::internal(&error))?
        .map_err(|error| Refusal::internal(&error))
}

#[cfg(test)]
mod tests;
