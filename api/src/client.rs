//! A client of the daemon's REST API: one method per route, typed by [`crate::ollama`].
//!
//! Streaming routes return a [`Chunks`]; dropping it closes the connection, which cancels the work. An error line in a
//! stream, a broken line and an end before the last chunk are errors: who sees the stream end without one has seen all
//! of it. No proxy is used, and building a client needs neither certificates nor a TLS set-up by the caller.

use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use crate::care::{
    DfResponse, GcRequest, GcResponse, OutdatedResponse, RollbackRequest, RollbackResponse,
    UpdateRequest, VerifyLine, VerifyRequest,
};
use crate::client_error::ClientError;
use crate::client_events::Events;
use crate::host::Host;
use crate::ndjson::LineDecoder;
use crate::ollama::{
    ChatRequest, ChatResponse, CopyRequest, CreateRequest, DeleteRequest, ErrorBody,
    GenerateRequest, GenerateResponse, LinkBlobRequest, Progress, PsResponse, PullRequest,
    PushRequest, ShowRequest, ShowResponse, SwapRequest, SwapResponse, TagsResponse,
    VersionResponse,
};
use crate::openai;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `/` may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest body of an error that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The longest whole (not streamed) answer: `/api/show` with every tensor fits many times.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How much of a file is read and sent at a time.
const UPLOAD_CHUNK_BYTES: usize = 256 * 1024;

/// A client of one daemon. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the daemon at `host`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Build`] when the host makes no URL.
    pub fn new(host: &Host) -> Result<Self, ClientError> {
        let url = host.client_url();
        let fail = |source| ClientError::Build {
            url: url.clone(),
            source,
        };
        ensure_tls_provider();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("slm/", env!("CARGO_PKG_VERSION")));
        // Over plain HTTP no certificate matters, and looking for the platform's own can fail.
        let builder = if host.scheme == "https" {
            builder.tls_certs_merge(web_roots())
        } else {
            builder.tls_certs_only([])
        };
        let http = builder.build().map_err(fail)?;
        http.get(&url).build().map_err(fail)?;
        Ok(Self { http, url })
    }

    /// The base URL without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `HEAD /`: whether a daemon answers.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let request = self.request(Method::HEAD, "/").timeout(PING_TIMEOUT);
        self.send(request).await.map(drop)
    }

    /// `GET /api/version`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn version(&self) -> Result<VersionResponse, ClientError> {
        self.get("/api/version").await
    }

    /// `GET /api/tags`: the local models.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn tags(&self) -> Result<TagsResponse, ClientError> {
        self.get("/api/tags").await
    }

    /// `GET /api/ps`: the loaded models.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn ps(&self) -> Result<PsResponse, ClientError> {
        self.get("/api/ps").await
    }

    /// `GET /api/status`.
    ///
    /// # Errors
    /// As every call.
    pub async fn status(&self) -> Result<crate::status::StatusResponse, ClientError> {
        self.get("/api/status").await
    }

    /// `POST /api/swap`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn swap(&self, request: &SwapRequest) -> Result<SwapResponse, ClientError> {
        let response = self.post("/api/swap", request).await?;
        self.decode(response).await
    }

    /// `POST /api/show`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn show(&self, request: &ShowRequest) -> Result<ShowResponse, ClientError> {
        let response = self.post("/api/show", request).await?;
        self.decode(response).await
    }

    /// `POST /api/copy`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn copy(&self, request: &CopyRequest) -> Result<(), ClientError> {
        self.post("/api/copy", request).await.map(drop)
    }

    /// `DELETE /api/delete`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete(&self, request: &DeleteRequest) -> Result<(), ClientError> {
        let request = self.with_json(Method::DELETE, "/api/delete", request)?;
        self.send(request).await.map(drop)
    }

    /// `POST /api/pull`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn pull(&self, request: &PullRequest) -> Result<Chunks<Progress>, ClientError> {
        self.stream("/api/pull", request).await
    }

    /// `POST /api/push`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn push(&self, request: &PushRequest) -> Result<Chunks<Progress>, ClientError> {
        self.stream("/api/push", request).await
    }

    /// `POST /api/update`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn update(&self, request: &UpdateRequest) -> Result<Chunks<Progress>, ClientError> {
        self.stream("/api/update", request).await
    }

    /// `POST /api/verify`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<Chunks<VerifyLine>, ClientError> {
        self.stream("/api/verify", request).await
    }

    /// `POST /api/gc`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn gc(&self, request: &GcRequest) -> Result<GcResponse, ClientError> {
        let response = self.post("/api/gc", request).await?;
        self.decode(response).await
    }

    /// `GET /api/df`: what takes how much of the disk.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn df(&self) -> Result<DfResponse, ClientError> {
        self.get("/api/df").await
    }

    /// `GET /api/outdated`: how the models compare with where they came from.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn outdated(&self) -> Result<OutdatedResponse, ClientError> {
        self.get("/api/outdated").await
    }

    /// `POST /api/rollback`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn rollback(
        &self,
        request: &RollbackRequest,
    ) -> Result<RollbackResponse, ClientError> {
        let response = self.post("/api/rollback", request).await?;
        self.decode(response).await
    }

    /// `POST /api/create`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn create(&self, request: &CreateRequest) -> Result<Chunks<Progress>, ClientError> {
        self.stream("/api/create", request).await
    }

    /// `POST /api/generate`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn generate(
        &self,
        request: &GenerateRequest,
    ) -> Result<Chunks<GenerateResponse>, ClientError> {
        self.stream("/api/generate", request).await
    }

    /// `POST /api/chat`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn chat(&self, request: &ChatRequest) -> Result<Chunks<ChatResponse>, ClientError> {
        self.stream("/api/chat", request).await
    }

    /// Posts to a route that answers with server-sent events, of any server that speaks the dialect.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn events(&self, path: &str, body: &impl Serialize) -> Result<Events, ClientError> {
        // some servers close a connection behind a stream without saying so: it is of no further use
        let request = self
            .with_json(Method::POST, path, body)?
            .header(reqwest::header::CONNECTION, "close");
        let response = self.send(request).await?;
        Ok(Events::new(self.url.clone(), response))
    }

    /// `HEAD /api/blobs/:digest`: whether the daemon holds the blob.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn has_blob(&self, digest: &str) -> Result<bool, ClientError> {
        let request = self.request(Method::HEAD, &format!("/api/blobs/{digest}"));
        match self.send(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `POST /api/blobs/:digest`: sends a file; `on_sent` hears how many bytes have been handed over so far.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::ReadFile`] when the file cannot be opened.
    pub async fn upload_blob(
        &self,
        digest: &str,
        path: &Path,
        on_sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        let fail = |source| ClientError::ReadFile {
            path: path.to_owned(),
            source,
        };
        let file = tokio::fs::File::open(path).await.map_err(fail)?;
        let n_bytes = file.metadata().await.map_err(fail)?.len();
        let start = (file, 0, on_sent);
        let chunks =
            futures_util::stream::try_unfold(start, move |(mut file, sent, on_sent)| async move {
                let left = usize::try_from(n_bytes - sent).unwrap_or(usize::MAX);
                if left == 0 {
                    return Ok::<_, std::io::Error>(None);
                }
                let mut chunk = vec![0; UPLOAD_CHUNK_BYTES.min(left)];
                file.read_exact(&mut chunk).await?;
                let sent = sent + chunk.len() as u64;
                on_sent(sent);
                Ok(Some((Bytes::from(chunk), (file, sent, on_sent))))
            });
        let request = self
            .request(Method::POST, &format!("/api/blobs/{digest}"))
            .header(reqwest::header::CONTENT_LENGTH, n_bytes)
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(chunks));
        self.send(request).await.map(drop)
    }

    /// `PUT /api/blobs/:digest`: lets a daemon on this machine take the file itself, by link where it can. `path` is
    /// absolute.
    ///
    /// # Errors
    /// As [`ClientError`] says; a daemon that does not know this route answers 404 or 405.
    pub async fn link_blob(&self, digest: &str, path: &Path) -> Result<(), ClientError> {
        let body = LinkBlobRequest {
            path: path.to_string_lossy().into_owned(),
        };
        let request = self.with_json(Method::PUT, &format!("/api/blobs/{digest}"), &body)?;
        self.send(request).await.map(drop)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    fn with_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<RequestBuilder, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| self.undecodable(source))?;
        Ok(self
            .request(method, path)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        self.decode(response).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response, ClientError> {
        let request = self.with_json(Method::POST, path, body)?;
        self.send(request).await
    }

    pub(crate) async fn stream<T: Chunk>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Chunks<T>, ClientError> {
        let response = self.post(path, body).await?;
        Ok(Chunks {
            url: self.url.clone(),
            bytes: Box::pin(response.bytes_stream()),
            lines: LineDecoder::default(),
            state: State::Open,
            chunk: PhantomData,
        })
    }

    /// Sends, and turns every status but 2xx into an error with the daemon's words.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| self.failed(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut body = self.read(response, MAX_ERROR_BYTES).await?;
        body.truncate(MAX_ERROR_BYTES);
        let message = serde_json::from_slice::<ErrorBody>(&body)
            .map(|body| body.error)
            .or_else(|_| {
                serde_json::from_slice::<openai::ErrorBody>(&body).map(|body| body.error.message)
            })
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).trim().to_owned());
        Err(ClientError::Status {
            status: status.as_u16(),
            message: if message.is_empty() {
                format!("slmd at {} answered {status}", self.url)
            } else {
                message
            },
        })
    }

    pub(crate) async fn decode<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, ClientError> {
        let body = self.read(response, MAX_BODY_BYTES).await?;
        serde_json::from_slice(&body).map_err(|source| self.undecodable(source))
    }

    /// The body, or at least its first `limit` bytes.
    async fn read(&self, response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = response.bytes_stream();
        let mut body = Vec::new();
        while body.len() < limit
            && let Some(chunk) = bytes.next().await
        {
            body.extend_from_slice(&chunk.map_err(|source| self.broken(source))?);
        }
        Ok(body)
    }

    fn failed(&self, source: reqwest::Error) -> ClientError {
        if source.is_connect() {
            return ClientError::Connect {
                url: self.url.clone(),
                source: Some(source),
            };
        }
        self.broken(source)
    }

    pub(crate) fn broken(&self, source: reqwest::Error) -> ClientError {
        ClientError::Broken {
            url: self.url.clone(),
            source,
        }
    }

    fn undecodable(&self, source: serde_json::Error) -> ClientError {
        ClientError::Decode {
            url: self.url.clone(),
            source,
        }
    }
}

/// reqwest asks for the process's TLS provider even when no TLS will be spoken.
pub(crate) fn ensure_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The authorities that the web trusts, whatever the platform has.
pub(crate) fn web_roots() -> impl Iterator<Item = reqwest::Certificate> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    roots.filter_map(|der| reqwest::Certificate::from_der(der).ok())
}

/// What a streaming route sends, line by line.
pub trait Chunk: DeserializeOwned {
    /// Whether the stream is complete with this one.
    fn is_last(&self) -> bool;
}

impl Chunk for Progress {
    fn is_last(&self) -> bool {
        self.status == "success"
    }
}

impl Chunk for VerifyLine {
    fn is_last(&self) -> bool {
        self.summary.is_some()
    }
}

impl Chunk for GenerateResponse {
    fn is_last(&self) -> bool {
        self.done
    }
}

impl Chunk for ChatResponse {
    fn is_last(&self) -> bool {
        self.done
    }
}

/// The chunks of a streaming route. Drop it to cancel.
pub struct Chunks<T> {
    url: String,
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    lines: LineDecoder,
    state: State,
    chunk: PhantomData<fn() -> T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More is to come.
    Open,
    /// The last chunk has been seen.
    Complete,
    /// The bytes ended, but no chunk said that it is the last.
    Cut,
    /// Nothing more will be said.
    Ended,
}

impl<T> std::fmt::Debug for Chunks<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks")
            .field("url", &self.url)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<T: Chunk> Chunks<T> {
    /// The next chunk, or `None` once the stream is complete. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<T, ClientError>> {
        StreamExt::next(self).await
    }

    /// A whole line that has arrived; with it the state knows whether the stream is complete.
    fn read_line(&mut self, rest: bool) -> Result<Option<T>, ClientError> {
        let line = if rest {
            self.lines.rest()
        } else {
            self.lines.next_line()?
        };
        let Some(line) = line else { return Ok(None) };
        let chunk: T = parse_line(line, &self.url)?;
        if chunk.is_last() {
            self.state = State::Complete;
        }
        Ok(Some(chunk))
    }

    fn end_with(&mut self, error: ClientError) -> Poll<Option<Result<T, ClientError>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }
}

impl<T: Chunk> Stream for Chunks<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.state {
                State::Open | State::Complete => {}
                State::Cut => {
                    let url = this.url.clone();
                    return this.end_with(ClientError::EndedEarly { url });
                }
                State::Ended => return Poll::Ready(None),
            }
            match this.read_line(false) {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Ok(None) => {}
                Err(error) => return this.end_with(error),
            }
            match std::task::ready!(this.bytes.as_mut().poll_next(cx)) {
                Some(Ok(bytes)) => this.lines.push(&bytes),
                Some(Err(_)) if this.state == State::Complete => this.state = State::Ended,
                Some(Err(source)) => {
                    let url = this.url.clone();
                    return this.end_with(ClientError::Broken { url, source });
                }
                None => {
                    let last = this.read_line(true);
                    this.state = if this.state == State::Complete {
                        State::Ended
                    } else {
                        State::Cut
                    };
                    match last {
                        Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                        Ok(None) => {}
                        Err(error) => return this.end_with(error),
                    }
                }
            }
        }
    }
}

fn parse_line<T: DeserializeOwned>(line: &[u8], url: &str) -> Result<T, ClientError> {
    if let Ok(failure) = serde_json::from_slice::<ErrorBody>(line) {
        return Err(ClientError::Failed {
            message: failure.error,
        });
    }
    serde_json::from_slice(line).map_err(|source| ClientError::Decode {
        url: url.to_owned(),
        source,
    })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
