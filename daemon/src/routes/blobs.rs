//! `/api/blobs`: what blobs there are. `/api/blobs/:digest`: whether one is there, uploading it, and taking a file of this
//! machine as one.
//!
//! An upload goes to the store as it arrives, through a bounded channel; a client that goes away leaves nothing.

use crate::{body::LenientJson, error::ApiError, parts::PathText, state::App, upload};
use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, State},
};
use http::{HeaderMap, StatusCode};
use slm_api::{
    ollama::LinkBlobRequest,
    store::{Blob, BlobsResponse},
};
use slm_registry::{Digest, Error as RegistryError};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

/// `GET /api/blobs`: what is there.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<BlobsResponse>, ApiError> {
    app.blocking(|app| {
        let blobs = app.store.blobs()?.into_iter().map(|blob| Blob {
            digest: blob.digest.to_string(),
            size: blob.size,
        });
        Ok(Json(BlobsResponse {
            blobs: blobs.collect(),
        }))
    })
    .await
}

/// `HEAD`: 200 or 404.
pub(super) async fn exists(
    State(app): State<Arc<App>>,
    PathText(digest): PathText,
) -> Result<StatusCode, ApiError> {
    let digest: Digest = digest.parse()?;
    let is_there = app
        .blocking(move |app| Ok(app.store.has_blob(&digest)))
        .await?;
    Ok(if is_there {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    })
}

/// `POST`: 201 for a new blob, 200 for one that is there.
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    PathText(digest): PathText,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let digest: Digest = digest.parse()?;
    if app
        .blocking(move |app| Ok(app.store.has_blob(&digest)))
        .await?
    {
        return Ok(StatusCode::OK);
    }
    upload::read(&app, body, move |app, reader| {
        app.store.ingest(reader, Some(&digest))?;
        Ok(StatusCode::CREATED)
    })
    .await
}

/// `PUT`, an extension for clients on this machine: takes a local file as the blob, by link where that is possible.
pub(super) async fn link(
    State(app): State<Arc<App>>,
    PathText(digest): PathText,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    LenientJson(request): LenientJson<LinkBlobRequest>,
) -> Result<StatusCode, ApiError> {
    let digest: Digest = digest.parse()?;
    if !is_direct_and_local(peer, &headers) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "only a client on the daemon's own machine can link a file; upload it with POST",
        ));
    }
    let path = PathBuf::from(request.path);
    if !path.is_absolute() {
        return Err(ApiError::bad_request("`path` must be absolute"));
    }
    app.blocking(move |app| {
        if app.store.has_blob(&digest) {
            return Ok(StatusCode::OK);
        }
        match app.store.ingest_file_of_kind(&path, b"GGUF", Some(&digest)) {
            Ok(_) => Ok(StatusCode::CREATED),
            // what the file really is stays with those who may read it
            Err(RegistryError::DigestMismatch { .. } | RegistryError::Read { .. }) => {
                Err(ApiError::bad_request(
                    "`path` is not a GGUF file with that digest that the daemon can read; upload it with POST",
                ))
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Whether the client sits on this machine, with no browser and no proxy in between: a page in a browser or a client
/// behind a proxy comes from the loopback address too, but must not make the daemon open files.
pub(super) fn is_direct_and_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let comes_through = [
        "origin",
        "referer",
        "sec-fetch-site",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "via",
    ];
    let host = headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    let is_local_host = host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        let address = name.parse::<IpAddr>();
        name == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
    });
    peer.ip().to_canonical().is_loopback()
        && is_local_host
        && !comes_through.iter().any(|name| headers.contains_key(*name))
}
