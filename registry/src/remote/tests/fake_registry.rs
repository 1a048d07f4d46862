//! A registry on loopback that speaks the protocol, remembers what it was asked, and fails as it is told.
use crate::{Descriptor, Digest, Manifest, MediaType, ModelName};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
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
    /// For the next manifest requests, in order.
    pub(super) manifest_statuses: VecDeque<(u16, &'static str)>,
    /// The token that every request needs.
    pub(super) token: Option<&'static str>,
    pub(super) requests: Vec<Request>,
    /// Bytes sent of each blob.
    pub(super) n_served: HashMap<Digest, usize>,
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
            .map(|range| range.to_str().unwrap());
        let from = range.map(|range| {
            range
                .strip_prefix("bytes=")
                .unwrap()
                .strip_suffix('-')
                .unwrap()
        });
        let from: Option<usize> = from.map(|from| from.parse().unwrap());
        let from = from.filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
        if from.is_some_and(|from| from >= blob.len()) {
            return status(416, "");
        }
        let from_byte = match fault {
            Some(Fault::WrongRange) => 0,
            _ => from.unwrap_or(0),
        };
        let mut bytes = blob[from_byte..].to_vec();
        match fault {
            Some(Fault::Corrupt) => bytes[0] ^= 1,
            Some(Fault::TooLong) => bytes.push(0),
            _ => {}
        }
        let promised = bytes.len();
        let mut end: Option<stream::BoxStream<'static, io::Result<Bytes>>> = None;
        match fault {
            Some(Fault::Truncate(at)) => {
                bytes.truncate(*at);
                end = Some(stream::iter([Err(io::Error::other("cut off"))]).boxed());
            }
            Some(Fault::Stall(at)) => {
                bytes.truncate(*at);
                end = Some(stream::pending().boxed());
            }
            _ => {}
        }
        let (registry, pause) = (self.clone(), self.content().pause);
        let chunks: Vec<Bytes> = bytes.chunks(64 << 10).map(Bytes::copy_from_slice).collect();
        let chunks = stream::iter(chunks).then(move |chunk| {
            let registry = registry.clone();
            async move {
                tokio::time::sleep(pause).await;
                *registry.content().n_served.entry(digest).or_default() += chunk.len();
                Ok(chunk)
            }
        });
        let body = Body::from_stream(chunks.chain(end.unwrap_or_else(|| stream::empty().boxed())));
        let mut response = Response::builder().header(header::CONTENT_LENGTH, promised);
        if from.is_some() {
            let range = format!("bytes {from_byte}-{}/{}", blob.len() - 1, blob.len());
            response = response.status(206).header(header::CONTENT_RANGE, range);
        }
        response.body(body).unwrap()
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
    let fault = registry.content().faults.pop_front();
    match &fault {
        Some(Fault::Status(code)) => status(*code, "out of order"),
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
    let fault = registry.content().faults.pop_front();
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
