//! A registry on loopback that takes uploads, keeps what it got, and fails as it is told.
use crate::Digest;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, Response, header},
    routing::any,
};
use futures_util::StreamExt;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

/// What goes wrong with one upload request.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// This status; nothing is kept.
    Status(u16),
    /// 429, and how long to wait.
    Busy(&'static str),
    /// After so many bytes, which are kept, the connection ends.
    Drop(usize),
    /// All is kept, and the answer is lost.
    Deaf,
    /// Nothing is ever answered.
    Silent,
    /// Says that so many bytes came, and keeps no more.
    Keep(usize),
    /// The upload is forgotten.
    Forget,
    /// As it should be.
    None,
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) blobs: HashMap<Digest, Vec<u8>>,
    /// `repository` and digest: what a repository has.
    pub(super) links: HashSet<(String, Digest)>,
    /// By `repository:tag`, with the content type.
    pub(super) manifests: HashMap<String, (String, Vec<u8>)>,
    pub(super) uploads: HashMap<u64, Vec<u8>>,
    next_upload: u64,
    /// For the next `POST`, `PATCH` and `PUT` requests for blobs, in order.
    pub(super) troubles: VecDeque<Trouble>,
    /// For all others.
    pub(super) always: Option<Trouble>,
    /// The token that every request needs; each `PATCH` makes it another one when set.
    pub(super) token: Option<u32>,
    pub(super) tokens_expire: bool,
    /// Method and path of each request.
    pub(super) requests: Vec<String>,
    /// Bytes that came in bodies for blobs.
    pub(super) n_received: usize,
    /// Whether an upload can be asked how far it is.
    pub(super) forgetful: bool,
    pub(super) min_part: Option<u64>,
}

#[derive(Clone)]
pub(super) struct UploadRegistry {
    pub(super) address: SocketAddr,
    content: Arc<Mutex<Content>>,
}

impl UploadRegistry {
    /// Serves until the runtime ends.
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            content: Arc::default(),
        };
        let router = Router::new()
            .route("/token", any(token))
            .route("/v2/{*rest}", any(answer))
            .with_state(registry.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        registry
    }

    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// How many requests there were that begin like this.
    pub(super) fn n_requests(&self, start: &str) -> usize {
        let content = self.content();
        content
            .requests
            .iter()
            .filter(|request| request.starts_with(start))
            .count()
    }
}

fn empty(status: u16) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .unwrap()
}

async fn token(State(registry): State<UploadRegistry>, request: Request) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    assert!(query.contains("push"), "{query}");
    let token = registry.content().token.unwrap();
    Response::new(Body::from(format!(r#"{{"token":"t{token}"}}"#)))
}

fn is_authorized(registry: &UploadRegistry, headers: &HeaderMap) -> bool {
    let Some(token) = registry.content().token else {
        return true;
    };
    let given = headers.get(header::AUTHORIZATION);
    given.is_some_and(|given| given == &format!("Bearer t{token}"))
}

async fn answer(State(registry): State<UploadRegistry>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/v2/").unwrap().to_owned();
    let query: HashMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| {
            (
                key.to_owned(),
                value.replace("%3A", ":").replace("%2F", "/"),
            )
        })
        .collect();
    registry
        .content()
        .requests
        .push(format!("{} {}", parts.method, parts.uri));
    if !is_authorized(&registry, &parts.headers) {
        let challenge = format!(
            r#"Bearer realm="http://{}/token",service="fake",scope="repository:x:pull,push""#,
            registry.address
        );
        let mut response = empty(401);
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        return response;
    }
    if let Some((repository, tag)) = path.split_once("/manifests/") {
        assert_eq!(parts.method, Method::PUT);
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let kind = parts.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let key = format!("{repository}:{tag}");
        registry
            .content()
            .manifests
            .insert(key, (kind, bytes.to_vec()));
        return empty(201);
    }
    if let Some((repository, id)) = path.split_once("/blobs/uploads/") {
        let repository = repository.to_owned();
        if parts.method == Method::GET {
            return progress(&registry, &repository, id);
        }
        return upload(&registry, &repository, id, &parts, &query, body).await;
    }
    let (repository, digest) = path.split_once("/blobs/").unwrap();
    let digest: Digest = digest.parse().unwrap();
    let content = registry.content();
    let key = (repository.to_owned(), digest);
    match content.links.contains(&key) {
        true => Response::builder()
            .header(header::CONTENT_LENGTH, content.blobs[&digest].len())
            .body(Body::empty())
            .unwrap(),
        false => empty(404),
    }
}

fn located(status: u16, repository: &str, id: u64, n_bytes: usize) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(
            header::LOCATION,
            format!("/v2/{repository}/blobs/uploads/{id}?state=x"),
        )
        .header(header::RANGE, format!("0-{}", n_bytes.saturating_sub(1)))
        .body(Body::empty())
        .unwrap()
}

fn progress(registry: &UploadRegistry, repository: &str, id: &str) -> Response<Body> {
    let content = registry.content();
    let id: u64 = id.parse().unwrap();
    match content.uploads.get(&id).filter(|_| !content.forgetful) {
        Some(bytes) => located(204, repository, id, bytes.len()),
        None => empty(404),
    }
}

/// An answer that never comes, or a connection that ends.
async fn silence(is_open: bool) -> Response<Body> {
    if is_open {
        std::future::pending::<()>().await;
    }
    // A head that promises more than comes: the client sees the connection end.
    let body =
        futures_util::stream::iter([Err::<axum::body::Bytes, _>(std::io::Error::other("cut"))]);
    Response::builder()
        .status(500)
        .header(header::CONTENT_LENGTH, 9)
        .body(Body::from_stream(body))
        .unwrap()
}

async fn upload(
    registry: &UploadRegistry,
    repository: &str,
    id: &str,
    parts: &axum::http::request::Parts,
    query: &HashMap<String, String>,
    body: Body,
) -> Response<Body> {
    if registry.has_mounted(repository, query) {
        return empty(201);
    }
    let trouble = {
        let mut content = registry.content();
        let always = content.always.clone();
        content
            .troubles
            .pop_front()
            .or(always)
            .unwrap_or(Trouble::None)
    };
    let limit = match trouble {
        Trouble::Status(status) => return empty(status),
        Trouble::Busy(wait) => {
            let mut response = empty(429);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, wait.parse().unwrap());
            return response;
        }
        Trouble::Silent => return silence(true).await,
        Trouble::Forget => {
            registry.content().uploads.clear();
            return empty(404);
        }
        Trouble::Drop(n) | Trouble::Keep(n) => n,
        Trouble::Deaf | Trouble::None => usize::MAX,
    };
    let id = match parts.method == Method::POST {
        true => registry.begin(),
        false => id.parse().unwrap(),
    };
    let Some(had) = registry.content().uploads.get(&id).map(Vec::len) else {
        return empty(404);
    };
    if let Some(range) = parts.headers.get(header::CONTENT_RANGE) {
        let (start, _) = range.to_str().unwrap().split_once('-').unwrap();
        if start.parse() != Ok(had) {
            return empty(416);
        }
    }
    let mut body = body.into_data_stream();
    let mut n_kept = 0;
    while let Some(Ok(chunk)) = body.next().await {
        {
            let mut content = registry.content();
            content.n_received += chunk.len();
            let chunk = &chunk[..chunk.len().min(limit - n_kept)];
            n_kept += chunk.len();
            let kept = content.uploads.get_mut(&id).unwrap();
            kept.extend_from_slice(chunk);
        }
        if n_kept >= limit && matches!(trouble, Trouble::Drop(_)) {
            return silence(false).await;
        }
    }
    let response = registry.finish(parts, repository, id, query);
    if matches!(trouble, Trouble::Deaf) {
        return silence(false).await;
    }
    response
}

impl UploadRegistry {
    /// Whether another repository had what is to be mounted.
    fn has_mounted(&self, repository: &str, query: &HashMap<String, String>) -> bool {
        let Some(from) = query.get("from") else {
            return false;
        };
        let digest: Digest = query["mount"].parse().unwrap();
        let mut content = self.content();
        let has = content.links.contains(&(from.clone(), digest));
        if has {
            content.links.insert((repository.to_owned(), digest));
        }
        has
    }

    /// A new upload.
    fn begin(&self) -> u64 {
        let mut content = self.content();
        content.next_upload += 1;
        let id = content.next_upload;
        content.uploads.insert(id, Vec::new());
        id
    }

    /// What is answered when the body has been read.
    fn finish(
        &self,
        parts: &axum::http::request::Parts,
        repository: &str,
        id: u64,
        query: &HashMap<String, String>,
    ) -> Response<Body> {
        let mut content = self.content();
        if content.tokens_expire {
            content.token = content.token.map(|token| token + 1);
        }
        if parts.method == Method::PUT {
            let digest: Digest = query["digest"].parse().unwrap();
            let bytes = content.uploads.remove(&id).unwrap();
            if Digest::of(&bytes) != digest {
                return empty(400);
            }
            content.blobs.insert(digest, bytes);
            content.links.insert((repository.to_owned(), digest));
            return empty(201);
        }
        let n_bytes = content.uploads[&id].len();
        let mut response = located(202, repository, id, n_bytes);
        if let Some(min) = content.min_part {
            response
                .headers_mut()
                .insert("oci-chunk-min-length", min.into());
        }
        response
    }
}
