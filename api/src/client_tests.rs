//! The client against a small server in the same process.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, Request};
use axum::http::StatusCode;
use axum::routing::{any, delete, get, head, post};

use super::*;

/// Serves `router` on a free port of loopback and returns a client of it.
async fn serve(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(&Host::parse(&address.to_string())).expect("client")
}

/// A server that answers every path with `status` and `body`.
async fn answering(status: u16, body: &'static str) -> Client {
    let status = StatusCode::from_u16(status).expect("status");
    serve(Router::new().fallback(any(move || async move { (status, body) }))).await
}

/// A server that streams `chunks`; an `Err` breaks the connection.
async fn streaming(chunks: Vec<Result<&'static str, std::io::ErrorKind>>) -> Client {
    let chunks = Arc::new(chunks);
    serve(Router::new().fallback(any(move || {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk.map_err(std::io::Error::from))
            .collect();
        async move { Body::from_stream(futures_util::stream::iter(chunks)) }
    })))
    .await
}

async fn chat_texts(client: &Client) -> Result<String, ClientError> {
    let mut chunks = client.chat(&ChatRequest::default()).await?;
    let mut text = String::new();
    while let Some(chunk) = chunks.next().await {
        text.push_str(&chunk?.message.content);
    }
    Ok(text)
}

#[tokio::test]
async fn plain_routes_use_their_method_path_and_body() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let client = serve(Router::new().fallback(any(move |request: Request| {
        let log = log.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri().path());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                .await
                .expect("body");
            log.lock()
                .expect("lock")
                .push(format!("{line} {}", String::from_utf8_lossy(&body)));
            r#"{"version":"1.2.3","models":[]}"#
        }
    })))
    .await;
    client.ping().await.expect("ping");
    assert_eq!(client.version().await.expect("version").version, "1.2.3");
    assert!(client.tags().await.expect("tags").models.is_empty());
    assert!(client.ps().await.expect("ps").models.is_empty());
    let show = ShowRequest {
        model: "m".into(),
        ..ShowRequest::default()
    };
    client.show(&show).await.expect("show");
    let copy = CopyRequest {
        source: "a".into(),
        destination: "b".into(),
    };
    client.copy(&copy).await.expect("copy");
    let delete = DeleteRequest {
        model: "m".into(),
        name: None,
    };
    client.delete(&delete).await.expect("delete");
    assert!(client.has_blob("sha256:00").await.expect("head"));
    client
        .link_blob("sha256:00", Path::new("/m.gguf"))
        .await
        .expect("link");
    assert_eq!(
        *seen.lock().expect("lock"),
        [
            "HEAD / ",
            "GET /api/version ",
            "GET /api/tags ",
            "GET /api/ps ",
            r#"POST /api/show {"model":"m"}"#,
            r#"POST /api/copy {"source":"a","destination":"b"}"#,
            r#"DELETE /api/delete {"model":"m"}"#,
            "HEAD /api/blobs/sha256:00 ",
            r#"PUT /api/blobs/sha256:00 {"path":"/m.gguf"}"#,
        ]
    );
}

#[tokio::test]
async fn a_path_prefix_of_the_host_is_kept() {
    let router = Router::new().route(
        "/ollama/api/version",
        get(|| async { r#"{"version":"9"}"# }),
    );
    let root = serve(router).await;
    let url = format!("{}/ollama/", root.url());
    let client = Client::new(&Host::parse(&url)).expect("client");
    assert_eq!(client.version().await.expect("version").version, "9");
}

#[tokio::test]
async fn a_refusal_carries_status_and_words() {
    let client = answering(404, r#"{"error":"model 'x' not found"}"#).await;
    let error = client
        .show(&ShowRequest::default())
        .await
        .expect_err("refused");
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "model 'x' not found");

    let client = answering(405, "405 method not allowed").await;
    let error = client.tags().await.expect_err("refused");
    assert_eq!(error.to_string(), "405 method not allowed");

    let client = answering(500, "").await;
    let error = client.tags().await.expect_err("refused");
    assert!(
        error
            .to_string()
            .ends_with("answered 500 Internal Server Error"),
        "{error}"
    );

    let client = answering(503, r#"{"error":"server busy"}"#).await;
    let error = client.tags().await.expect_err("refused");
    assert!(error.hint().is_some_and(|hint| hint.contains("try again")));

    let client = answering(400, r#"{"error":"invalid model name"}"#).await;
    let error = client.tags().await.expect_err("refused");
    assert!(error.hint().is_some_and(|hint| hint.contains("MODEL:TAG")));
}

#[tokio::test]
async fn nobody_listening_is_said_with_a_hint() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let client = Client::new(&Host::parse(&address)).expect("client");
    let error = client.ping().await.expect_err("nobody there");
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("cannot connect to slmd at http://{address}")
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("slmd serve")));
}

#[tokio::test]
async fn another_server_is_recognised() {
    let client = answering(200, "<html>").await;
    let error = client.tags().await.expect_err("no json");
    assert!(matches!(error, ClientError::Decode { .. }));
}

#[tokio::test]
async fn chunks_arrive_however_they_are_cut() {
    let client = streaming(vec![
        Ok(r#"{"message":{"role":"assistant","content":"Hel"#),
        Ok("lo\"},\"done\":false}\n{\"message\":{\"content\":\" wor"),
        Ok("ld\"}}\n"),
        Ok("\n{\"done\":true,\"eval_count\":2}"),
    ])
    .await;
    assert_eq!(chat_texts(&client).await.expect("stream"), "Hello world");
}

#[tokio::test]
async fn an_error_line_ends_the_stream_with_its_words() {
    let client = streaming(vec![
        Ok("{\"message\":{\"content\":\"a\"}}\n"),
        Ok("{\"error\":\"out of memory\"}\n{\"done\":true}\n"),
    ])
    .await;
    let mut chunks = client.chat(&ChatRequest::default()).await.expect("chat");
    assert!(chunks.next().await.is_some_and(|chunk| chunk.is_ok()));
    let error = chunks.next().await.expect("item").expect_err("error line");
    assert!(matches!(&error, ClientError::Failed { message } if message == "out of memory"));
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn an_end_before_the_last_chunk_is_an_error() {
    for body in [
        "",
        "{\"message\":{\"content\":\"a\"}}\n",
        "{\"done\":false}",
    ] {
        let client = streaming(vec![Ok(body)]).await;
        let error = chat_texts(&client).await.expect_err(body);
        assert!(
            matches!(error, ClientError::EndedEarly { .. }),
            "{body:?}: {error:?}"
        );
    }
    let client = streaming(vec![
        Ok("{\"message\":{\"content\":\"a\"}}\n"),
        Err(std::io::ErrorKind::ConnectionReset),
    ])
    .await;
    let error = chat_texts(&client).await.expect_err("broken");
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn garbage_in_a_stream_is_an_error() {
    let client = streaming(vec![Ok("not json\n")]).await;
    let error = chat_texts(&client).await.expect_err("garbage");
    assert!(matches!(error, ClientError::Decode { .. }), "{error:?}");
}

#[tokio::test]
async fn a_pull_ends_with_success() {
    let client = streaming(vec![Ok(
        "{\"status\":\"pulling manifest\"}\n{\"status\":\"pulling 00\",\"total\":4,\"completed\":2}\n{\"status\":\"success\"}\n",
    )])
    .await;
    let mut lines = client.pull(&PullRequest::default()).await.expect("pull");
    let mut seen = Vec::new();
    while let Some(line) = lines.next().await {
        let line = line.expect("line");
        seen.push((line.status, line.completed));
    }
    let expected = [
        ("pulling manifest", None),
        ("pulling 00", Some(2)),
        ("success", None),
    ];
    assert_eq!(
        seen,
        expected.map(|(status, completed)| (status.to_owned(), completed))
    );
}

#[tokio::test]
async fn dropping_the_chunks_closes_the_connection() {
    let (closed, mut is_closed) = tokio::sync::mpsc::channel::<()>(1);
    let closed = Arc::new(Mutex::new(Some(closed)));
    let client = serve(Router::new().route(
        "/api/generate",
        post(move || {
            let guard = closed.lock().expect("lock").take();
            async move {
                Body::from_stream(futures_util::stream::unfold(guard, |guard| async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Some((Ok::<_, std::io::Error>("{\"response\":\"x\"}\n"), guard))
                }))
            }
        }),
    ))
    .await;
    let mut chunks = client
        .generate(&GenerateRequest::default())
        .await
        .expect("generate");
    assert!(chunks.next().await.is_some_and(|chunk| chunk.is_ok()));
    drop(chunks);
    // The server drops its side of the stream, and the sender in it.
    assert_eq!(is_closed.recv().await, None);
}

#[tokio::test]
async fn a_file_is_sent_whole_and_its_progress_told() {
    let n_bytes = UPLOAD_CHUNK_BYTES * 2 + 7;
    let bytes: Vec<u8> = (0..n_bytes).map(|i| (i % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), &bytes).expect("write");

    let received = Arc::new(Mutex::new((None, Vec::new())));
    let store = received.clone();
    let upload = move |UrlPath(digest): UrlPath<String>, request: Request| {
        let store = store.clone();
        async move {
            assert_eq!(digest, "sha256:ab");
            let length = request
                .headers()
                .get("content-length")
                .map(|value| value.to_str().expect("ascii").to_owned());
            let body = axum::body::to_bytes(request.into_body(), usize::MAX)
                .await
                .expect("body");
            *store.lock().expect("lock") = (length, body.to_vec());
            StatusCode::CREATED
        }
    };
    let client = serve(Router::new().route("/api/blobs/{digest}", post(upload))).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    client
        .upload_blob("sha256:ab", file.path(), move |sent| {
            tell.lock().expect("lock").push(sent);
        })
        .await
        .expect("upload");
    let (length, body) = received.lock().expect("lock").clone();
    assert_eq!(length, Some(n_bytes.to_string()));
    assert!(body == bytes, "the bytes arrived changed");
    let told = told.lock().expect("lock").clone();
    assert!(
        told.is_sorted() && told.last() == Some(&(n_bytes as u64)),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_missing_blob_is_no_error_and_a_missing_file_is() {
    let missing = head(|| async { StatusCode::NOT_FOUND });
    let client = serve(Router::new().route("/api/blobs/{digest}", missing)).await;
    assert!(!client.has_blob("sha256:ab").await.expect("head"));
    let error = client
        .upload_blob("sha256:ab", Path::new("/does/not/exist"), |_| {})
        .await
        .expect_err("no file");
    assert_eq!(error.to_string(), "cannot read `/does/not/exist`");
}

#[tokio::test]
async fn delete_with_an_empty_answer_is_fine() {
    let client = serve(Router::new().route("/api/delete", delete(|| async {}))).await;
    client
        .delete(&DeleteRequest::default())
        .await
        .expect("deleted");
}
