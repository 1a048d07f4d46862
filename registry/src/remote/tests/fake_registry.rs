//! A registry on loopback that speaks the protocol, remembers what it was asked, and fails as it is told.
use crate::{Descriptor, Digest, Manifest, MediaType, ModelName};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    routing::get,
};
use futures_util::{StreamExt, stream};
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// What goes wrong with one answer for a blob.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// This status instead of the bytes.
    Status(u16),
    /// The connection ends after so many bytes.
    Truncate(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// One bit of the first byte is flipped.
    Corrupt,
    /// More than the blob has.
    TooLong,
    /// The whole blob, whatever the range.
    IgnoreRange,
    /// Another range than was asked for.
    WrongRange,
    /// A redirect to that address.
    Redirect(String),
    /// This status, and how long to wait in words of `Retry-After`.
    RetryAfter(u16, String),
    /// After so many bytes, one kilobyte every 10 ms.
    Trickle(usize),
    /// The answer promises so many bytes more than it has, and the connection stays open.
    PromiseMore(usize),
    /// At most so many bytes of the range, and the answer says so.
    AtMost(usize),
    /// As it should be.
    None,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

impl Request {
    pub(super) fn header(&self, name: header::HeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) manifests: HashMap<String, Vec<u8>>,
    pub(super) blobs: HashMap<Digest, Bytes>,
    /// For the next blob requests, in order.
    pub(super) faults: VecDeque<Fault>,
    /// For every blob request that has no other: the number of requests before it to what goes wrong.
    pub(super) always: Option<fn(usize) -> Fault>,
    pub(super) n_blob_requests: usize,
    /// For the next manifest requests, in order.
    pub(super) manifest_statuses: VecDeque<(u16, &'static str)>,
    /// The token that every request needs.
    pub(super) token: Option<&'static str>,
    pub(super) requests: Vec<Request>,
    /// Bytes sent of each blob.
    pub(super) n_served: HashMap<Digest, usize>,
    /// How often each byte of each blob was sent.
    pub(super) served: HashMap<Digest, Vec<u8>>,
    /// Requests for blobs whose answer is under way, and the most there were at once.
    pub(super) n_active: usize,
    pub(super) max_active: usize,
    /// A pause after each 64 KiB.
    pub(super) pause: Duration,
}

#[derive(Clone)]
pub(super) struct FakeRegistry {
    pub(super) address: SocketAddr,
    content: Arc<Mutex<Content>>,
}

impl FakeRegistry {
    /// Serves until the runtime ends.
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            content: Arc::default(),
        };
        let router = Router::new()
            .route("/v2/{namespace}/{model}/manifests/{tag}", get(manifest))
            .route("/v2/{namespace}/{model}/blobs/{digest}", get(blob))
            .route("/elsewhere/{digest}", get(elsewhere))
            .route("/loop", get(async || redirect("/loop")))
            .route("/token", get(token))
            .with_state(registry.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        registry
    }

    /// As [`Self::start`], under the paths that a daemon shares models of other registries by.
    pub(super) async fn start_as_neighbor() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            content: Arc::default(),
        };
        let host =
            async |State(registry): State<Self>,
                   Path((_, namespace, model, last)): Path<(String, String, String, String)>,
                   method: Method,
                   headers: HeaderMap| {
                let path = Path((namespace, model, last.clone()));
                // What it has is asked first; that goes well, so that what goes wrong later is seen.
                if method == Method::HEAD {
                    let digest: Option<Digest> = last.parse().ok();
                    let content = registry.content();
                    let size = digest
                        .and_then(|digest| content.blobs.get(&digest))
                        .map(Bytes::len);
                    return match size {
                        Some(size) => Response::builder()
                            .header(header::CONTENT_LENGTH, size)
                            .body(Body::empty())
                            .unwrap(),
                        None => status(404, ""),
                    };
                }
                match last.contains(':') {
                    true => blob(State(registry), path, headers).await,
                    false => manifest(State(registry), path, headers).await,
                }
            };
        let router = Router::new()
            .route("/v2/{host}/{namespace}/{model}/manifests/{tag}", get(host))
            .route("/v2/{host}/{namespace}/{model}/blobs/{digest}", get(host))
            .with_state(registry.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        registry
    }

    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    pub(super) fn name(&self, model: &str) -> ModelName {
        format!("{}/library/{model}", self.address).parse().unwrap()
    }

    /// Offers a model with those layers; gives its name and what it consists of.
    pub(super) fn offer(&self, model: &str, layers: &[&[u8]]) -> (ModelName, Manifest) {
        let add = |media_type: MediaType, bytes: &[u8]| {
            let digest = Digest::of(bytes);
            self.content()
                .blobs
                .insert(digest, Bytes::copy_from_slice(bytes));
            Descriptor {
                media_type,
                digest,
                size: bytes.len() as u64,
            }
        };
        let config = add(
            MediaType::Config,
            format!(r#"{{"model_family":"{model}"}}"#).as_bytes(),
        );
        let layers = layers
            .iter()
            .map(|layer| add(MediaType::Model, layer))
            .collect();
        let manifest = Manifest { config, layers };
        let name = self.name(model);
        // Not as we would print it: it must be stored as it is.
        let json = [manifest.to_json(), b"\n ".to_vec()].concat();
        self.content()
            .manifests
            .insert(format!("{}/{}", name.model(), name.tag()), json);
        (name, manifest)
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.content().faults.extend(faults);
    }

    /// The requests for blobs so far, and forgets them.
    pub(super) fn take_blob_requests(&self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.content().requests);
        let is_blob = |request: &Request| {
            request.path.contains("/blobs/") || request.path.starts_with("/elsewhere")
        };
        requests.into_iter().filter(is_blob).collect()
    }

    fn record(&self, path: String, headers: HeaderMap) {
        self.content().requests.push(Request { path, headers });
    }

    /// The answer when the token is missing.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let token = self.content().token?;
        let given = headers.get(header::AUTHORIZATION);
        if given.is_some_and(|given| given == &format!("Bearer {token}")) {
            return None;
        }
        let challenge = format!(
            r#"Bearer realm="http://{}/token",service="fake",scope="repository:library/m:pull""#,
            self.address
        );
        let mut response = status(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_str(&challenge).unwrap(),
        );
        Some(response)
    }

    fn bytes(&self, digest: Digest, headers: &HeaderMap, fault: Option<&Fault>) -> Response<Body> {
        let Some(blob) = self.content().blobs.get(&digest).cloned() else {
            return status(404, "no blob");
        };
        let range = headers
            .get(header::RANGE)
            .filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
        let range = range.map(|range| {
            let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            assert!(from <= to && to < blob.len(), "bytes={from}-{to}");
            from..to + 1
        });
        let mut span = range.clone().unwrap_or(0..blob.len());
        match fault {
            Some(Fault::WrongRange) => span = 0..span.end - span.start,
            Some(Fault::AtMost(n)) => span.end = span.end.min(span.start + n),
            _ => {}
        }
        let mut bytes = blob[span.clone()].to_vec();
        match fault {
            Some(Fault::Corrupt) => bytes[0] ^= 1,
            Some(Fault::TooLong) => bytes.push(0),
            _ => {}
        }
        let mut promised = bytes.len();
        let mut end: Option<stream::BoxStream<'static, io::Result<Bytes>>> = None;
        let mut slow_from = usize::MAX;
        match fault {
            Some(Fault::Truncate(at)) => {
                bytes.truncate(*at);
                end = Some(stream::iter([Err(io::Error::other("cut off"))]).boxed());
            }
            Some(Fault::Stall(at)) => {
                bytes.truncate(*at);
                end = Some(stream::pending().boxed());
            }
            Some(Fault::PromiseMore(n)) => {
                promised += n;
                end = Some(stream::pending().boxed());
            }
            Some(Fault::Trickle(at)) => slow_from = *at,
            _ => {}
        }
        let (registry, pause) = (self.clone(), self.content().pause);
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let len = if at < slow_from { 64 << 10 } else { 1 << 10 };
            let chunk = at..bytes.len().min(at + len);
            chunks.push((
                span.start + at,
                Bytes::copy_from_slice(&bytes[chunk.clone()]),
            ));
            at = chunk.end;
        }
        let active = Active::new(self);
        let chunks = stream::iter(chunks).then(move |(at, chunk)| {
            let registry = registry.clone();
            let n_total = blob.len();
            let pause = if at >= slow_from {
                Duration::from_millis(10)
            } else {
                pause
            };
            let _active = &active;
            async move {
                tokio::time::sleep(pause).await;
                let mut content = registry.content();
                *content.n_served.entry(digest).or_default() += chunk.len();
                let served = content.served.entry(digest);
                let served = served.or_insert_with(|| vec![0; n_total]);
                let end = n_total.min(at + chunk.len());
                served[at..end].iter_mut().for_each(|n| *n += 1);
                Ok(chunk)
            }
        });
        let body = Body::from_stream(chunks.chain(end.unwrap_or_else(|| stream::empty().boxed())));
        let mut response = Response::builder().header(header::CONTENT_LENGTH, promised);
        if range.is_some() {
            let total = self.content().blobs[&digest].len();
            let range = format!("bytes {}-{}/{total}", span.start, span.end - 1);
            response = response.status(206).header(header::CONTENT_RANGE, range);
        }
        response.body(body).unwrap()
    }

    /// What goes wrong with the next answer for a blob.
    fn next_fault(&self) -> Option<Fault> {
        let mut content = self.content();
        content.n_blob_requests += 1;
        let n_before = content.n_blob_requests - 1;
        let always = content.always;
        content
            .faults
            .pop_front()
            .or(always.map(|fault| fault(n_before)))
    }

    /// Waits until no answer is under way: connections of the dead end when they are written to.
    pub(super) async fn wait_until_idle(&self) {
        while self.content().n_active > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How often the bytes `span` of `digest` were sent, at least and at most.
    pub(super) fn n_times(&self, digest: &Digest, span: std::ops::Range<usize>) -> (u8, u8) {
        let content = self.content();
        let counts = content.served.get(digest).map_or(&[][..], |all| &all[span]);
        let least = counts.iter().min().copied().unwrap_or_default();
        (least, counts.iter().max().copied().unwrap_or_default())
    }
}

/// Counts an answer while it is under way.
struct Active(FakeRegistry);

impl Active {
    fn new(registry: &FakeRegistry) -> Self {
        let mut content = registry.content();
        content.n_active += 1;
        content.max_active = content.max_active.max(content.n_active);
        drop(content);
        Self(registry.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.content().n_active -= 1;
    }
}

fn status(code: u16, body: &'static str) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from(body))
        .unwrap()
}

fn redirect(to: &str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(header::LOCATION, to)
        .body(Body::empty())
        .unwrap()
}

async fn manifest(
    State(registry): State<FakeRegistry>,
    Path((_, model, tag)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    registry.record(format!("manifests/{model}/{tag}"), headers.clone());
    if let Some(refusal) = registry.refusal(&headers) {
        return refusal;
    }
    if let Some((code, body)) = registry.content().manifest_statuses.pop_front() {
        return status(code, body);
    }
    let json = registry
        .content()
        .manifests
        .get(&format!("{model}/{tag}"))
        .cloned();
    match json {
        Some(json) => Response::new(Body::from(json)),
        None => status(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    }
}

async fn blob(
    State(registry): State<FakeRegistry>,
    Path((_, model, digest)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    registry.record(format!("{model}/blobs/{digest}"), headers.clone());
    if let Some(refusal) = registry.refusal(&headers) {
        return refusal;
    }
    let fault = registry.next_fault();
    match &fault {
        Some(Fault::Status(code)) => status(*code, "out of order"),
        Some(Fault::RetryAfter(code, wait)) => {
            let mut response = status(*code, "later");
            let wait = HeaderValue::from_str(wait).unwrap();
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            response
        }
        Some(Fault::Redirect(to)) => redirect(to),
        fault => registry.bytes(digest.parse().unwrap(), &headers, fault.as_ref()),
    }
}

/// Where a redirect may lead: needs no token, and may fail in its turn.
async fn elsewhere(
    State(registry): State<FakeRegistry>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    registry.record(format!("/elsewhere/{digest}"), headers.clone());
    let fault = registry.next_fault();
    match &fault {
        Some(Fault::Status(code)) => status(*code, "expired"),
        fault => registry.bytes(digest.parse().unwrap(), &headers, fault.as_ref()),
    }
}

async fn token(
    State(registry): State<FakeRegistry>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response<Body> {
    registry.record("/token".to_owned(), headers);
    assert_eq!(query["service"], "fake");
    assert_eq!(query["scope"], "repository:library/m:pull");
    let token = registry.content().token.unwrap();
    Response::new(Body::from(format!(r#"{{"token":"{token}"}}"#)))
}
