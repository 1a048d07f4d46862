//! `/api/blobs/:digest`: whether a blob is there, uploading one, and taking a file of this machine as one.
//!
//! An upload goes to the store as it arrives, through a bounded channel; a client that goes away leaves nothing.

use crate::{body::LenientJson, error::ApiError, state::App};
use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{ConnectInfo, Path, State},
};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use slm_api::ollama::LinkBlobRequest;
use slm_registry::{Digest, Error as RegistryError};
use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Chunks of an upload that wait for the disk.
const CHUNKS_AHEAD: usize = 16;
/// How long the next part of an upload may take.
const PART_TIMEOUT: Duration = Duration::from_secs(60);
/// Uploads at once; each holds a blocking thread.
const MAX_UPLOADS: usize = 32;
static UPLOADS: Semaphore = Semaphore::const_new(MAX_UPLOADS);

/// `HEAD`: 200 or 404.
pub(super) async fn exists(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
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
    Path(digest): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let digest: Digest = digest.parse()?;
    if app
        .blocking(move |app| Ok(app.store.has_blob(&digest)))
        .await?
    {
        return Ok(StatusCode::OK);
    }
    let _place = UPLOADS.try_acquire().map_err(|_| ApiError::busy())?;
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    let ingest = app.blocking(move |app| {
        let mut reader = ChunkReader::new(received);
        app.store.ingest(&mut reader, Some(&digest))?;
        Ok(StatusCode::CREATED)
    });
    let feed = async move {
        let mut parts = body.into_data_stream();
        while let Some(part) = next_part(&mut parts).await {
            let failed = part.is_err();
            if chunks.send(Some(part)).await.is_err() || failed {
                return;
            }
        }
        // only this says that the body was whole: a client that leaves drops the sender without it
        let _reader_may_be_gone = chunks.send(None).await;
    };
    let (status, ()) = tokio::join!(ingest, feed);
    status
}

/// The next part of an upload; one that does not come in time is an error.
async fn next_part(parts: &mut BodyDataStream) -> Option<io::Result<Bytes>> {
    match tokio::time::timeout(PART_TIMEOUT, parts.next()).await {
        Ok(part) => part.map(|part| part.map_err(io::Error::other)),
        Err(_) => Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the upload stalled",
        ))),
    }
}

/// `PUT`, an extension for clients on this machine: takes a local file as the blob, by link where that is possible.
pub(super) async fn link(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
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
fn is_direct_and_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let comes_through = [
        "origin",
        "referer",
        "sec-fetch-site",
        "forwarded",
        "x-forwarded-for",
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

/// The chunks of a body as a blocking reader. `None` in the channel is the end; without it the body was cut off.
struct ChunkReader {
    chunks: mpsc::Receiver<Option<io::Result<Bytes>>>,
    current: Bytes,
    ended: bool,
}

impl ChunkReader {
    fn new(chunks: mpsc::Receiver<Option<io::Result<Bytes>>>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.current = chunk?,
                Some(None) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the upload was cut off",
                    ));
                }
            }
        }
        let n = out.len().min(self.current.len());
        out[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
