//! `POST /api/export` and `POST /api/import`, which Ollama does not have: models as one file.
//!
//! Both stream. A client that hangs up during an export ends it; one that hangs up during an import leaves nothing. An
//! export that fails in the middle breaks the connection, so that nobody takes half for whole.

use super::{as_asked, model_name};
use crate::{body::LenientJson, error::ApiError, state::App, upload};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use slm_api::store::{ExportRequest, ImportResponse};
use slm_registry::{Digest, Export, ModelName};
use std::{
    collections::HashSet,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{self, error::SendTimeoutError},
    },
};

/// Chunks that are read ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// Exports at once; each holds a blocking thread.
const MAX_EXPORTS: usize = 8;
static EXPORTS: Semaphore = Semaphore::const_new(MAX_EXPORTS);
/// How long a client may take nothing.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers with the archive.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<ExportRequest>,
) -> Result<Response, ApiError> {
    let names = names(&request.models)?;
    let without = request.without.iter().map(|text| text.parse());
    let without = without.collect::<Result<HashSet<Digest>, _>>()?;
    let export = app
        .blocking(move |app| {
            // a missing model is called what the request called it
            for (name, raw) in names.iter().zip(&request.models) {
                let found = app.store.find(name);
                found.map_err(|error| as_asked(error.into(), raw))?;
            }
            Ok(app.store.plan_export(&names, &without)?)
        })
        .await?;
    let place = EXPORTS.try_acquire().map_err(|_| ApiError::busy())?;
    let n_bytes = export.n_bytes();
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    let runtime = Handle::current();
    drop(tokio::task::spawn_blocking(move || {
        send(&export, ChunkWriter { chunks, runtime });
        drop(place);
    }));
    let body = crate::ndjson::receiver(received).map(|chunk: io::Result<Bytes>| chunk);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-tar"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n_bytes));
    Ok(response)
}

fn names(raw: &[String]) -> Result<Vec<ModelName>, ApiError> {
    if raw.is_empty() {
        return Err(ApiError::bad_request("`models` names no model"));
    }
    raw.iter().map(|raw| model_name(raw)).collect()
}

fn send(export: &Export, mut out: ChunkWriter) {
    if let Err(error) = export.write(&mut out) {
        let error = ApiError::from(error);
        error.log();
        let _client_may_be_gone = out.send(Err(io::Error::other(error.message().to_owned())));
    }
}

/// Hands chunks to the client, and waits for it, but not for ever.
struct ChunkWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
}

impl ChunkWriter {
    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.chunks.send_timeout(chunk, CHUNK_TIMEOUT);
        self.runtime.block_on(sent).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => io::Error::from(io::ErrorKind::TimedOut),
            SendTimeoutError::Closed(_) => io::Error::from(io::ErrorKind::BrokenPipe),
        })
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Ok(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers when all is stored.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImportResponse>, ApiError> {
    let as_name = headers.get("slm-as").map(|raw| {
        let raw = raw.to_str().unwrap_or_default();
        model_name(raw)
    });
    let as_name = as_name.transpose()?;
    upload::read(&app, body, move |app, reader| {
        let imported = app.store.import(reader, as_name.as_ref())?;
        Ok(Json(ImportResponse {
            models: imported.models.iter().map(ModelName::to_string).collect(),
            new_blobs: imported.n_new_blobs,
            new_bytes: imported.n_new_bytes,
        }))
    })
    .await
}
