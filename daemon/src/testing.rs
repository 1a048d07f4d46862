//! A daemon without a socket: an empty store in a temporary directory, and requests straight to the router.

use crate::{
    config::{Config, Flags},
    routes,
    state::App,
};
use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use slm_registry::{Digest, Store};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tower::ServiceExt;

/// The tiny llama model that tests run: 154 thousand weights, no chat template.
pub(crate) fn tiny_model() -> Vec<u8> {
    golden_model("llama")
}

/// One of the tiny models, or an adapter for one.
pub(crate) fn golden_model(name: &str) -> Vec<u8> {
    golden_file(&format!("{name}.gguf"))
}

/// A file of references.
pub(crate) fn golden_file(name: &str) -> Vec<u8> {
    std::fs::read(golden_path(name)).expect("it is in the repository")
}

/// Where a file of references is.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/golden")
        .join(name)
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within a time that only a fault needs.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(30), holds);
    within.await.expect("it never happened");
}

/// A daemon in a temporary home.
pub(crate) struct TestDaemon {
    pub(crate) app: Arc<App>,
    router: Router,
    _home: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The body as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
    /// The body as lines of JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.body.lines().map(parse).collect()
    }
    /// The `error` of the body.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }
}

impl TestDaemon {
    /// An empty daemon.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// An empty daemon with a changed configuration.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let home = TempDir::new().expect("the temporary directory is writable");
        let models = home.path().join("models");
        let mut config = Config::resolve(&Flags::default(), |name| {
            (name == "SLM_MODELS").then(|| models.display().to_string())
        })
        .expect("defaults resolve");
        config.n_threads = Some(1);
        config.prefix_cache = Some(0);
        config.benchmarks = None;
        change(&mut config);
        let store = Store::open(config.locations.clone()).expect("a fresh store opens");
        let app = App::new(config, store, true);
        app.models.start_expiry();
        Self {
            router: routes::router(&app),
            app,
            _home: home,
        }
    }

    /// A daemon that has the tiny model under the name `tiny`.
    pub(crate) async fn with_model() -> Self {
        Self::with_model_and(|_| {}).await
    }

    /// A changed daemon that has the tiny model under the name `tiny`.
    pub(crate) async fn with_model_and(change: impl FnOnce(&mut Config)) -> Self {
        let daemon = Self::with(change);
        daemon.create("tiny", &tiny_model()).await;
        daemon
    }

    /// Creates a model from a file.
    pub(crate) async fn create(&self, name: &str, file: &[u8]) {
        let digest = self.upload(file).await;
        let body = format!(r#"{{"model":"{name}","files":{{"m.gguf":"{digest}"}}}}"#);
        let answer = self.post("/api/create", &body).await;
        assert!(
            answer.body.ends_with("{\"status\":\"success\"}\n"),
            "{answer:?}"
        );
    }

    /// Uploads a blob.
    pub(crate) async fn upload(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        let request = Request::post(format!("/api/blobs/{digest}"));
        let request = request.body(Body::from(bytes.to_vec())).unwrap();
        let answer = self.send(request).await;
        assert!(answer.status.is_success(), "{answer:?}");
        digest
    }

    /// `POST` with a JSON body and no content type.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body).await
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    /// Any method.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    /// Any request, to the end of its answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.open(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Any request, up to the head of its answer.
    pub(crate) async fn open(&self, mut request: Request<Body>) -> Response {
        let peer: SocketAddr = ([127, 0, 0, 1], 50_000).into();
        if request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .is_none()
        {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        self.router.clone().oneshot(request).await.unwrap()
    }
}
