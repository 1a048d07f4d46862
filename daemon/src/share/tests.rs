//! The shared registry through its router, over a store with two models.

use super::*;
use crate::testing::{TestDaemon, tiny_model};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use slm_registry::Digest;
use tower::ServiceExt;

struct Shared {
    daemon: TestDaemon,
    router: Router,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    fn code(&self) -> Value {
        self.json()["errors"][0]["code"].clone()
    }
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

impl Shared {
    async fn new() -> Self {
        let daemon = TestDaemon::with_model().await;
        for copy in ["tiny:v2", "hf.co/User/Repo-GGUF:Q8_0"] {
            let body = json!({"source": "tiny", "destination": copy});
            daemon.post("/api/copy", &body.to_string()).await;
        }
        let router = router(&daemon.app.store);
        Self { daemon, router }
    }
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let request = request.body(Body::from("ignored")).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }
    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }
}

#[tokio::test]
async fn a_manifest_comes_verbatim_by_tag_and_by_digest() {
    let shared = Shared::new().await;
    let name = "tiny".parse().unwrap();
    let json = shared.daemon.app.store.manifest_json(&name).unwrap();
    let digest = Digest::of(&json).to_string();
    for path in [
        "/v2/library/tiny/manifests/latest".to_owned(),
        "/v2/Library/Tiny/manifests/LATEST".to_owned(),
        "/v2/hf.co/user/repo-gguf/manifests/Q8_0".to_owned(),
        format!("/v2/library/tiny/manifests/{digest}"),
    ] {
        let answer = shared.get(&path).await;
        assert_eq!((answer.status, &answer.body), (200, &json), "{path}");
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(
            answer.header("content-type"),
            "application/vnd.docker.distribution.manifest.v2+json"
        );
        let etag = answer.header("etag").to_owned();
        let again = shared.send("GET", &path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    let unknown = shared.get("/v2/library/tiny/manifests/none").await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (404, json!("MANIFEST_UNKNOWN"))
    );
    let unknown = shared.get("/v2/library/none/manifests/latest").await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (404, json!("NAME_UNKNOWN"))
    );
}

#[tokio::test]
async fn blobs_come_in_parts_and_only_those_of_models() {
    let shared = Shared::new().await;
    let model = tiny_model();
    let path = format!("/v2/library/tiny/blobs/{}", Digest::of(&model));
    let whole = shared.get(&path).await;
    assert_eq!((whole.status, &whole.body), (200, &model));
    let part = shared.send("GET", &path, &[("range", "bytes=5-99")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &model[5..100]));
    let range = format!("bytes 5-99/{}", model.len());
    assert_eq!(part.header("content-range"), range);
    let past = format!("bytes={}-", model.len());
    let past = shared.send("GET", &path, &[("range", &past)]).await;
    assert_eq!(past.status, 416);
    assert_eq!(
        past.header("content-range"),
        format!("bytes */{}", model.len())
    );
    let head = shared.send("HEAD", &path, &[]).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), model.len().to_string());
    let etag = whole.header("etag");
    let known = shared.send("GET", &path, &[("if-none-match", etag)]).await;
    assert_eq!(known.status, 304);

    // uploaded, and of no model
    let stray = shared.daemon.upload(b"stray").await;
    let stray = shared.get(&format!("/v2/library/tiny/blobs/{stray}")).await;
    assert_eq!((stray.status, stray.code()), (404, json!("BLOB_UNKNOWN")));
    let bad = shared.get("/v2/library/tiny/blobs/sha256:12").await;
    assert_eq!((bad.status, bad.code()), (400, json!("DIGEST_INVALID")));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let shared = Shared::new().await;
    let all = shared.get("/v2/_catalog").await;
    let repositories = json!(["hf.co/user/repo-gguf", "library/tiny"]);
    assert_eq!(all.json()["repositories"], repositories);
    assert_eq!(all.header("link"), "");
    let first = shared.get("/v2/_catalog?n=1").await;
    assert_eq!(
        first.json()["repositories"],
        json!(["hf.co/user/repo-gguf"])
    );
    let link = first.header("link");
    let next = link.split(['<', '>']).nth(1).unwrap();
    assert!(link.ends_with("; rel=\"next\""), "{link}");
    let second = shared.get(next).await;
    assert_eq!(second.json()["repositories"], json!(["library/tiny"]));
    assert_eq!(second.header("link"), "");
    let tags = shared.get("/v2/library/tiny/tags/list").await;
    assert_eq!(
        tags.json(),
        json!({"name": "library/tiny", "tags": ["latest", "v2"]})
    );
    let none = shared.get("/v2/library/tiny/tags/list?n=0").await;
    assert_eq!(none.json()["tags"], json!([]));
    let bad = shared.get("/v2/_catalog?n=x").await;
    assert_eq!(
        (bad.status, bad.code()),
        (400, json!("PAGINATION_NUMBER_INVALID"))
    );
}

#[tokio::test]
async fn nothing_can_be_changed_and_nothing_else_is_served() {
    let shared = Shared::new().await;
    let base = shared.get("/v2/").await;
    assert_eq!((base.status, base.json()), (200, json!({})));
    assert_eq!(
        base.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    for (method, path) in [
        ("POST", "/v2/library/tiny/blobs/uploads/"),
        ("PATCH", "/v2/library/tiny/blobs/uploads/1"),
        ("PUT", "/v2/library/tiny/manifests/latest"),
        ("DELETE", "/v2/library/tiny/manifests/latest"),
    ] {
        let answer = shared.send(method, path, &[]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (405, json!("UNSUPPORTED")),
            "{path}"
        );
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/tags"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/generate"),
    ] {
        assert_eq!(shared.send(method, path, &[]).await.status, 404, "{path}");
    }
    assert!(
        shared
            .daemon
            .app
            .store
            .find(&"tiny".parse().unwrap())
            .is_ok()
    );
    for browser in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = shared.send("GET", "/v2/_catalog", &[browser]).await;
        assert_eq!((answer.status, answer.code()), (403, json!("DENIED")));
    }
    // and the API does not answer for the registry
    assert_eq!(shared.daemon.get("/v2/").await.status.as_u16(), 404);
}
