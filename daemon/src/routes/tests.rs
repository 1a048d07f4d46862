//! Every route through the router, without a socket, on a store of its own.

use crate::testing::{Answer, TestDaemon, eventually, tiny_model};
use axum::{body::Body, extract::ConnectInfo};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

const TEMPLATE: &str =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]";

#[track_caller]
fn check_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (status, error)
    );
}

async fn create(daemon: &TestDaemon, body: Value) -> Answer {
    daemon.post("/api/create", &body.to_string()).await
}

#[tokio::test]
async fn liveness_and_version() {
    let daemon = TestDaemon::new();
    let root = daemon.get("/").await;
    assert_eq!(
        (root.status, root.body.as_str()),
        (StatusCode::OK, "Ollama is running")
    );
    assert!(
        root.headers["server"]
            .to_str()
            .unwrap()
            .starts_with("slmd/")
    );
    for path in ["/", "/api/version", "/api/tags"] {
        let head = daemon.call("HEAD", path, "").await;
        assert_eq!(
            (head.status, head.body.as_str()),
            (StatusCode::OK, ""),
            "{path}"
        );
    }
    let version = daemon.get("/api/version").await.json()["version"].clone();
    assert_eq!(version.as_str().unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn version_says_what_computes_and_why() {
    let daemon = TestDaemon::with(|config| config.cpu = Some(slm_kernels::Isa::Portable));
    let slm = daemon.get("/api/version").await.json()["slm"].clone();
    assert_eq!(slm["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(slm["cpu"]["tier"], "portable");
    assert_eq!(slm["cpu"]["threads"], 1);
    for reason in ["reason", "threads_reason"] {
        let text = slm["cpu"][reason].as_str();
        assert!(text.is_some_and(|text| !text.is_empty()), "{slm}");
    }
    assert!(slm["cpu"]["features"].is_array(), "{slm}");
}

#[tokio::test]
async fn unknown_routes_and_methods_answer_in_plain_text() {
    let daemon = TestDaemon::new();
    let answer = daemon.get("/api/nothing").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (404, "404 page not found")
    );
    let answer = daemon.get("/api/chat").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (405, "405 method not allowed")
    );
}

#[tokio::test]
async fn an_empty_store_lists_nothing() {
    let daemon = TestDaemon::new();
    assert_eq!(daemon.get("/api/tags").await.json(), json!({"models": []}));
    assert_eq!(daemon.get("/api/ps").await.json(), json!({"models": []}));
}

#[tokio::test]
async fn blobs_are_verified() {
    let daemon = TestDaemon::new();
    let digest = daemon.upload(b"hello").await;
    let path = format!("/api/blobs/{digest}");
    assert_eq!(daemon.call("HEAD", &path, "").await.status, StatusCode::OK);
    assert_eq!(daemon.post(&path, "hello").await.status, StatusCode::OK);
    let other = format!("/api/blobs/sha256-{}", "0".repeat(64));
    assert_eq!(
        daemon.call("HEAD", &other, "").await.status,
        StatusCode::NOT_FOUND
    );
    let wrong = daemon.post(&other, "hello").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(
        wrong
            .error()
            .starts_with("digest mismatch, expected \"sha256:0000"),
        "{wrong:?}"
    );
    check_error(
        &daemon.post("/api/blobs/sha1:00", "x").await,
        400,
        "invalid digest format",
    );
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let daemon = TestDaemon::new();
    let digest = slm_registry::Digest::of(b"hello");
    let parts = futures_util::stream::iter([
        Ok(axum::body::Bytes::from_static(b"hel")),
        Err(std::io::Error::other("gone")),
    ]);
    let request = Request::post(format!("/api/blobs/{digest}"));
    let answer = daemon
        .send(request.body(Body::from_stream(parts)).unwrap())
        .await;
    assert!(!answer.status.is_success(), "{answer:?}");
    assert!(!daemon.app.store.has_blob(&digest));
}

#[tokio::test]
async fn files_are_linked_for_clients_of_this_machine_only() {
    let daemon = TestDaemon::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"GGUF, linked").unwrap();
    let digest = slm_registry::Digest::of(b"GGUF, linked");
    let body = json!({"path": file.path()}).to_string();
    let request = |peer: [u8; 4]| {
        let mut request = Request::put(format!("/api/blobs/{digest}"))
            .header("host", "127.0.0.1:11434")
            .body(Body::from(body.clone()))
            .unwrap();
        let peer: SocketAddr = (peer, 1).into();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    };
    // a page in a browser, and whoever comes through a proxy, have a loopback address too
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("x-forwarded-for", "192.168.0.9"),
        ("via", "1.1 proxy"),
        ("host", "box.local"),
    ] {
        let mut through = request([127, 0, 0, 1]);
        through.headers_mut().insert(name, value.parse().unwrap());
        let answer = daemon.send(through).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}");
    }
    let far = daemon.send(request([192, 168, 0, 9])).await;
    assert_eq!(far.status, StatusCode::FORBIDDEN);
    assert!(!daemon.app.store.has_blob(&digest));
    assert_eq!(
        daemon.send(request([127, 0, 0, 1])).await.status,
        StatusCode::CREATED
    );
    assert!(daemon.app.store.has_blob(&digest));
    assert_eq!(
        daemon.send(request([127, 0, 0, 1])).await.status,
        StatusCode::OK
    );
    let put = async |body: Value| {
        let request = Request::put(format!("/api/blobs/sha256:{}", "1".repeat(64)));
        let request = request.header("host", "localhost");
        let body = Body::from(body.to_string());
        daemon.send(request.body(body).unwrap()).await
    };
    let relative = put(json!({"path": "x"})).await;
    check_error(&relative, 400, "`path` must be absolute");
    // neither what another file is, nor whether it is there, can be learnt
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), b"secret").unwrap();
    let why =
        "`path` is not a GGUF file with that digest that the daemon can read; upload it with POST";
    for path in [
        secret.path(),
        file.path(),
        "/nowhere".as_ref(),
        "/tmp".as_ref(),
    ] {
        check_error(&put(json!({ "path": path })).await, 400, why);
    }
}

/// Where the daemon's files are is no matter of a page in a browser, of a proxy's clients or of other machines.
#[tokio::test]
async fn paths_are_told_to_clients_of_this_machine_only() {
    let daemon = TestDaemon::with_model().await;
    let request = |peer: [u8; 4]| {
        let mut request = Request::post("/api/path")
            .header("host", "127.0.0.1:11434")
            .body(Body::from(json!({"model": "tiny"}).to_string()))
            .unwrap();
        let peer: SocketAddr = (peer, 1).into();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    };
    let told = daemon.send(request([127, 0, 0, 1])).await;
    assert_eq!(told.status, StatusCode::OK, "{told:?}");
    let path = told.json()["files"][0]["path"].clone();
    assert_eq!(std::fs::read(path.as_str().unwrap()).unwrap(), tiny_model());
    let mut refused = vec![("another machine", request([192, 168, 0, 9]))];
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("x-forwarded-for", "192.168.0.9"),
        ("via", "1.1 proxy"),
        ("host", "box.local"),
    ] {
        let mut through = request([127, 0, 0, 1]);
        through.headers_mut().insert(name, value.parse().unwrap());
        refused.push((name, through));
    }
    for (name, request) in refused {
        let answer = daemon.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}");
        assert!(!answer.body.contains("sha256"), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_model_is_created_from_a_file_and_described() {
    let daemon = TestDaemon::new();
    let digest = daemon.upload(&tiny_model()).await;
    let answer = create(
        &daemon,
        json!({
            "model": "My/Tiny", "files": {"m.gguf": digest}, "template": TEMPLATE, "system": "Be kind.",
            "parameters": {"temperature": 0.5, "stop": "END"}, "license": ["free", "as in beer"],
            "messages": [{"role": "user", "content": "example"}],
        }),
    )
    .await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let statuses: Vec<String> = answer
        .lines()
        .iter()
        .map(|line| line["status"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(statuses[0], "parsing GGUF");
    assert_eq!(statuses[1], format!("using existing layer {digest}"));
    assert_eq!(
        statuses[statuses.len() - 2..],
        ["writing manifest", "success"]
    );
    let created = statuses
        .iter()
        .filter(|s| s.starts_with("creating new layer sha256:"));
    assert_eq!(created.count(), 7, "{statuses:?}");

    let tags = daemon.get("/api/tags").await.json();
    let model = &tags["models"][0];
    assert_eq!(
        (&model["name"], &model["model"]),
        (&json!("My/Tiny:latest"), &json!("My/Tiny:latest"))
    );
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert_eq!(
        model["details"],
        json!({
            "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "154K", "quantization_level": "F32", "context_length": 512, "embedding_length": 64
        })
    );
    assert_eq!(model["capabilities"], json!(["completion"]));

    let show = daemon
        .post("/api/show", r#"{"name":"my/tiny"}"#)
        .await
        .json();
    assert_eq!(show["details"], model["details"]);
    assert_eq!(
        (&show["template"], &show["system"]),
        (&json!(TEMPLATE), &json!("Be kind."))
    );
    assert_eq!(show["license"], "free\nas in beer");
    assert_eq!(
        show["parameters"],
        "stop                           \"END\"\ntemperature                    0.5"
    );
    assert_eq!(
        show["messages"],
        json!([{"role": "user", "content": "example"}])
    );
    assert_eq!(show["capabilities"], json!(["completion"]));
    let info = &show["model_info"];
    assert_eq!(info["general.architecture"], "llama");
    assert_eq!(info["llama.block_count"], 3);
    assert!(info["general.parameter_count"].as_u64().unwrap() > 100_000);
    assert!(info.get("general.name").is_none());
    assert_eq!(show["tensors"].as_array().unwrap()[0]["type"], "F32");
    let modelfile = show["modelfile"].as_str().unwrap();
    let parsed = slm_registry::Modelfile::parse(modelfile.as_bytes()).unwrap();
    assert_eq!(parsed.system.as_deref(), Some("Be kind."));
    assert_eq!(parsed.template.as_deref(), Some(TEMPLATE));
    assert_eq!(parsed.licenses, ["free", "as in beer"]);
    assert!(
        parsed.from[0].ends_with(&digest.replace(':', "-")),
        "{modelfile}"
    );
}

#[tokio::test]
async fn long_arrays_are_shown_only_when_all_is_asked_for() {
    let daemon = TestDaemon::with_model().await;
    let list = |show: Value| show["model_info"]["tokenizer.ggml.tokens"].clone();
    let brief = list(daemon.post("/api/show", r#"{"model":"tiny"}"#).await.json());
    let all = list(
        daemon
            .post("/api/show", r#"{"model":"tiny","verbose":true}"#)
            .await
            .json(),
    );
    let n_tokens = all.as_array().expect("the whole vocabulary").len();
    assert_eq!(brief.is_null(), n_tokens > 1024);
}

#[tokio::test]
async fn a_model_is_built_on_another() {
    let daemon = TestDaemon::with_model().await;
    let answer = create(
        &daemon,
        json!({"model": "kind", "from": "TINY", "system": "Be kind.", "stream": false}),
    )
    .await;
    assert_eq!(answer.json(), json!({"status": "success"}));
    assert_eq!(
        answer.headers["content-type"],
        "application/json; charset=utf-8"
    );
    let again =
        json!({"model": "kinder", "from": "kind", "parameters": {"seed": 1}, "stream": false});
    assert_eq!(create(&daemon, again).await.status, StatusCode::OK);
    let show = daemon
        .post("/api/show", r#"{"model":"kinder"}"#)
        .await
        .json();
    assert_eq!(show["system"], "Be kind.");
    assert_eq!(show["parameters"], "seed                           1");
}

#[tokio::test]
async fn wrong_recipes_are_refused_with_a_reason() {
    let daemon = TestDaemon::new();
    let zero = format!("sha256:{}", "0".repeat(64));
    let check = async |body: Value, expected: &str| {
        let answer = create(&daemon, body).await;
        let line = answer.lines().pop().unwrap();
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error}");
    };
    check(json!({"model": "a b", "from": "x"}), "invalid model name").await;
    check(
        json!({"model": "x"}),
        "neither 'from' or 'files' was specified",
    )
    .await;
    check(
        json!({"model": "x", "files": {"../m": zero}}),
        "file path must be relative",
    )
    .await;
    check(
        json!({"model": "x", "files": {"m": "abc"}}),
        "invalid digest format",
    )
    .await;
    check(
        json!({"model": "x", "files": {"m": zero}}),
        "is not in the store",
    )
    .await;
    check(
        json!({"model": "x", "files": {"a.gguf": zero, "b.gguf": zero}}),
        "is not in the store",
    )
    .await;
    let whole = daemon.upload(&tiny_model()).await;
    check(
        json!({"model": "x", "files": {"a.gguf": whole, "b.gguf": whole}}),
        "the 2 files are not the parts of one model",
    )
    .await;
    check(
        json!({"model": "x", "files": {"a.safetensors": whole, "b.safetensors": whole}}),
        "convert the model to GGUF first",
    )
    .await;
    check(
        json!({"model": "x", "from": "y", "quantize": "q4_0"}),
        "unsupported quantization type q4_0 - supported types are F32, F16, BF16, Q4_K_S, Q4_K_M, Q8_0",
    )
    .await;
    check(
        json!({"model": "x", "from": "y", "template": "{{ if .Prompt }}"}),
        "template error: the chat template does not parse: `if` is not closed; add `{{ end }}` (line 1 of the template)",
    )
    .await;
    check(
        json!({"model": "x", "from": "y", "template": "{% if %}"}),
        "template error",
    )
    .await;
    check(
        json!({"model": "x", "from": "y", "parameters": {"top_k": "a"}}),
        "must be of type integer",
    )
    .await;
    let digest = daemon.upload(b"this is no GGUF").await;
    check(
        json!({"model": "x", "files": {"m": digest}}),
        "supplied file was not in GGUF format",
    )
    .await;
    assert_eq!(daemon.get("/api/tags").await.json(), json!({"models": []}));
}

#[tokio::test]
async fn models_are_copied_and_deleted() {
    let daemon = TestDaemon::with_model().await;
    let answer = daemon
        .post(
            "/api/copy",
            r#"{"source":"tiny","destination":"team/copy:v1"}"#,
        )
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    let answer = daemon
        .call("DELETE", "/api/delete", r#"{"model":"tiny"}"#)
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    let tags = daemon.get("/api/tags").await.json();
    assert_eq!(tags["models"].as_array().unwrap().len(), 1);
    assert_eq!(tags["models"][0]["name"], "team/copy:v1");
    assert_eq!(
        daemon
            .post("/api/show", r#"{"model":"team/copy:v1"}"#)
            .await
            .status,
        StatusCode::OK
    );
    check_error(
        &daemon
            .call("DELETE", "/api/delete", r#"{"name":"tiny"}"#)
            .await,
        404,
        "model 'tiny' not found",
    );
    check_error(
        &daemon
            .post("/api/copy", r#"{"source":"tiny","destination":"x"}"#)
            .await,
        404,
        "model \"tiny\" not found",
    );
    check_error(
        &daemon
            .post("/api/copy", r#"{"source":"t i","destination":"x"}"#)
            .await,
        400,
        "source \"t i\" is invalid",
    );
    check_error(
        &daemon
            .call("DELETE", "/api/delete", r#"{"model":"/"}"#)
            .await,
        400,
        "name \"/\" is invalid",
    );
}

#[tokio::test]
async fn names_are_checked_in_the_order_that_clients_know() {
    let daemon = TestDaemon::new();
    check_error(
        &daemon.post("/api/generate", r#"{"model":""}"#).await,
        404,
        "model '' not found",
    );
    check_error(
        &daemon.post("/api/chat", r#"{}"#).await,
        400,
        "model is required",
    );
    check_error(
        &daemon.post("/api/show", r#"{}"#).await,
        400,
        "model is required",
    );
    check_error(
        &daemon.post("/api/pull", r#"{}"#).await,
        400,
        "invalid model name",
    );
    check_error(
        &daemon.post("/api/pull", r#"{"model":"/etc/m.gguf"}"#).await,
        400,
        "the daemon takes no file by its path alone; use `slm create` with `FROM` and the path, or `slmd pull` while no daemon runs",
    );
    check_error(
        &daemon.post("/api/chat", r#"{"model":"a b"}"#).await,
        400,
        "invalid model name",
    );
    check_error(
        &daemon.post("/api/chat", r#"{"model":"nope"}"#).await,
        404,
        "model 'nope' not found",
    );
    check_error(
        &daemon.post("/api/show", r#"{"model":"nope"}"#).await,
        404,
        "model 'nope' not found",
    );
    check_error(
        &daemon.post("/api/chat", "").await,
        400,
        "missing request body",
    );
    check_error(
        &daemon
            .post("/api/generate", r#"{"model":"x","top_logprobs":21}"#)
            .await,
        400,
        "top_logprobs must be between 0 and 20",
    );
    check_error(
        &daemon
            .post("/api/chat", r#"{"model":"x:cloud:local"}"#)
            .await,
        400,
        "use either :local or :cloud, not both: \"x:cloud:local\"",
    );
    check_error(
        &daemon
            .post("/api/pull", r#"{"model":"http://localhost:1/a/b"}"#)
            .await,
        400,
        "insecure protocol http",
    );
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let daemon = TestDaemon::new();
    let send = async |headers: &[(&str, &str)], method: &str| {
        let mut request = Request::builder().method(method).uri("/api/tags");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        daemon.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(
        send(&[("host", "evil.example")], "GET").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        send(&[("host", "localhost:11434")], "GET").await.status,
        StatusCode::OK
    );
    assert_eq!(
        send(&[("host", "localhost")], "OPTIONS").await.status,
        StatusCode::NO_CONTENT
    );
    let foreign = send(&[("origin", "https://example.com")], "GET").await;
    assert_eq!(
        (foreign.status, foreign.body.as_str()),
        (StatusCode::FORBIDDEN, "")
    );
    let preflight = send(&[("origin", "http://localhost:3000")], "OPTIONS").await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(
        preflight.headers["access-control-allow-origin"],
        "http://localhost:3000"
    );
    assert_eq!(preflight.headers["access-control-max-age"], "43200");
    let local = send(&[("origin", "tauri://localhost")], "GET").await;
    assert_eq!(
        local.headers["access-control-allow-origin"],
        "tauri://localhost"
    );
}

#[tokio::test]
async fn a_prompt_is_answered_in_chunks_and_whole_with_the_same_text() {
    let daemon = TestDaemon::with_model().await;
    let body = |stream: bool| {
        json!({"model": "tiny", "prompt": "hello", "stream": stream, "options": {"temperature": 0, "num_predict": 8}})
            .to_string()
    };
    let streamed = daemon.post("/api/generate", &body(true)).await;
    assert_eq!(streamed.headers["content-type"], "application/x-ndjson");
    let lines = streamed.lines();
    let (last, deltas) = lines.split_last().unwrap();
    assert!(
        deltas
            .iter()
            .all(|line| line["done"] == false && line["model"] == "tiny")
    );
    let text: String = deltas
        .iter()
        .map(|line| line["response"].as_str().unwrap())
        .collect();
    assert_eq!(
        (&last["done"], &last["done_reason"]),
        (&json!(true), &json!("length"))
    );
    assert_eq!(last["eval_count"], 8);
    let n_prompt = last["prompt_eval_count"].as_u64().unwrap() as usize;
    assert_eq!(last["context"].as_array().unwrap().len(), n_prompt + 8);
    for key in [
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
    ] {
        assert!(last[key].as_u64().unwrap() > 0, "{key}");
    }
    let whole = daemon.post("/api/generate", &body(false)).await;
    assert_eq!(
        whole.headers["content-type"],
        "application/json; charset=utf-8"
    );
    assert_eq!(whole.json()["response"], text);
    assert_eq!(whole.json()["context"], last["context"]);
}

#[tokio::test]
async fn raw_prompts_and_context_are_what_the_model_reads() {
    let daemon = TestDaemon::with_model().await;
    let post = async |extra: Value| {
        let mut body = json!({"model": "tiny", "prompt": "hello", "stream": false,
            "options": {"temperature": 0, "num_predict": 4}});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        daemon.post("/api/generate", &body.to_string()).await
    };
    let first = post(json!({})).await.json();
    let raw = post(json!({"raw": true})).await.json();
    assert_eq!(raw["response"], first["response"]);
    assert!(raw.get("context").is_none());
    let second = post(json!({"context": first["context"]})).await.json();
    let n_first = first["context"].as_array().unwrap().len() as u64;
    assert!(second["prompt_eval_count"].as_u64().unwrap() > n_first);
    let foreign = post(json!({"context": [99_999_999]})).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
    check_error(
        &post(json!({"raw": true, "system": "x"})).await,
        400,
        "raw mode does not support template, system, or context",
    );
    let by_hand = post(json!({"raw": true, "prompt": "[system]S[user]hello[assistant]"}))
        .await
        .json();
    for template in [
        TEMPLATE,
        "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ end }}[assistant]",
        "{{ if .System }}[system]{{ .System }}{{ end }}[user]{{ .Prompt }}[assistant]{{ .Response }}[end]",
    ] {
        let rendered = post(json!({"template": template, "system": "S"}))
            .await
            .json();
        assert_eq!(rendered["prompt_eval_count"], by_hand["prompt_eval_count"]);
        assert_eq!(rendered["response"], by_hand["response"]);
    }
}

#[tokio::test]
async fn a_conversation_is_answered_with_the_models_own_prefix() {
    let daemon = TestDaemon::with_model().await;
    let made = create(
        &daemon,
        json!({"model": "chatty", "from": "tiny", "system": "S", "template": TEMPLATE,
            "messages": [{"role": "user", "content": "E"}], "stream": false}),
    );
    assert_eq!(made.await.status, StatusCode::OK);
    let options = json!({"temperature": 0, "num_predict": 4});
    let chat = json!({"model": "chatty", "messages": [{"role": "User", "content": "hi"}], "options": options});
    let lines = daemon.post("/api/chat", &chat.to_string()).await.lines();
    let last = lines.last().unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line["message"]["role"] == "assistant")
    );
    assert_eq!(last["message"]["content"], "");
    let text: String = lines
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect();
    let raw = json!({"model": "tiny", "raw": true, "stream": false, "options": options,
        "prompt": "[system]S[user]E[user]hi[assistant]"});
    let raw = daemon.post("/api/generate", &raw.to_string()).await.json();
    assert_eq!(raw["response"], text);
    assert_eq!(raw["prompt_eval_count"], last["prompt_eval_count"]);
}

#[tokio::test]
async fn tools_and_suffixes_reach_a_go_template() {
    const GO: &str = "{{ if .Suffix }}[pre]{{ .Prompt }}[suf]{{ .Suffix }}[mid]{{ else }}\
        {{ range .Tools }}[tool]{{ .Function.Name }}{{ end }}{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ .ToolName }}\
        {{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}[assistant]{{ end }}";
    let daemon = TestDaemon::with_model().await;
    let made = create(
        &daemon,
        json!({"model": "tooled", "from": "tiny", "template": GO, "stream": false}),
    );
    assert_eq!(made.await.status, StatusCode::OK);
    let show = daemon.post("/api/show", r#"{"model": "tooled"}"#).await;
    assert_eq!(show.json()["template"], GO);
    assert_eq!(
        show.json()["capabilities"],
        json!(["completion", "tools", "insert"])
    );
    let options = json!({"temperature": 0, "num_predict": 6});
    let raw = async |prompt: &str| {
        let body = json!({"model": "tooled", "raw": true, "stream": false, "options": options, "prompt": prompt});
        daemon.post("/api/generate", &body.to_string()).await.json()
    };
    let chat = json!({"model": "tooled", "stream": false, "options": options,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": "x"}}}]},
            {"role": "tool", "content": "42", "tool_name": "f"}]});
    let chat = daemon.post("/api/chat", &chat.to_string()).await.json();
    let by_hand =
        raw("[tool]f[user]hi[assistant]<tool_call>f{\"a\":\"x\",\"b\":1}[tool]42f[assistant]")
            .await;
    assert_eq!(chat["prompt_eval_count"], by_hand["prompt_eval_count"]);
    assert_eq!(chat["message"]["content"], by_hand["response"]);
    assert!(chat["message"].get("tool_calls").is_none());
    let insert = json!({"model": "tooled", "stream": false, "options": options, "prompt": "a", "suffix": "b"});
    let insert = daemon.post("/api/generate", &insert.to_string()).await;
    let by_hand = raw("[pre]a[suf]b[mid]").await;
    assert_eq!(insert.json()["response"], by_hand["response"]);
    assert_eq!(
        insert.json()["prompt_eval_count"],
        by_hand["prompt_eval_count"]
    );
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let daemon = TestDaemon::with_model().await;
    let post = async |stop: &str| {
        let body = json!({"model": "tiny", "prompt": "hello", "stream": false,
            "options": {"temperature": 0, "num_predict": 24, "stop": [stop]}});
        daemon.post("/api/generate", &body.to_string()).await.json()
    };
    let free = post("no such text").await["response"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = free.char_indices().nth(free.chars().count() / 2).unwrap().0;
    let stop: String = free[at..].chars().take(2).collect();
    let stopped = post(&stop).await;
    assert_eq!(stopped["done_reason"], "stop");
    assert_eq!(stopped["response"], free[..free.find(&stop).unwrap()]);
}

#[tokio::test]
async fn a_format_is_kept_streamed_and_whole_by_both_routes() {
    let daemon = TestDaemon::with_model().await;
    let schema = json!({
        "type": "object", "required": ["kind", "size"], "additionalProperties": false,
        "properties": {"kind": {"enum": ["cat", "dog"]}, "size": {"type": "integer", "minimum": 10, "maximum": 99}}
    });
    let is_kept = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
        let size = value["size"].as_i64().unwrap();
        assert!(
            ["cat", "dog"].contains(&value["kind"].as_str().unwrap()),
            "{text}"
        );
        assert!(
            (10..100).contains(&size) && value.as_object().unwrap().len() == 2,
            "{text}"
        );
    };
    for seed in 0..4 {
        let options =
            json!({"temperature": 3, "top_k": 0, "top_p": 1, "seed": seed, "num_predict": 200});
        let body = |stream: bool| {
            json!({"model": "tiny", "prompt": "hello", "messages": [{"role": "user", "content": "hello"}],
                "format": schema, "options": options, "stream": stream})
            .to_string()
        };
        for (path, at) in [
            ("/api/generate", "/response"),
            ("/api/chat", "/message/content"),
        ] {
            let whole = daemon.post(path, &body(false)).await.json();
            assert_eq!(whole["done_reason"], "stop", "{whole}");
            let text = whole.pointer(at).unwrap().as_str().unwrap();
            is_kept(text);
            let lines = daemon.post(path, &body(true)).await.lines();
            let pieces = lines.iter().filter_map(|line| line.pointer(at)?.as_str());
            assert_eq!(pieces.collect::<String>(), text);
        }
    }
    // a length that ends it says so, and the JSON is closed where that is asked for
    for (close, expected) in [(false, "{"), (true, "{}")] {
        let short = json!({"model": "tiny", "prompt": "hello", "format": "json", "stream": false,
            "options": {"num_predict": 1, "close_json": close}});
        let short = daemon
            .post("/api/generate", &short.to_string())
            .await
            .json();
        assert_eq!(short["done_reason"], "length");
        assert_eq!(short["response"], expected);
    }
}

#[tokio::test]
async fn each_token_comes_with_how_likely_it_was() {
    let daemon = TestDaemon::with_model().await;
    let body = |top: i64, stream: bool| {
        json!({"model": "tiny", "prompt": "hello", "raw": true, "stream": stream, "logprobs": true, "top_logprobs": top,
            "messages": [{"role": "user", "content": "hello"}],
            "options": {"num_predict": 10, "temperature": 0}})
        .to_string()
    };
    for path in ["/api/generate", "/api/chat"] {
        let whole = daemon.post(path, &body(5, false)).await.json();
        let items = whole["logprobs"].as_array().unwrap();
        assert_eq!(items.len(), 10, "{whole}");
        for item in items {
            let top = item["top_logprobs"].as_array().unwrap();
            assert_eq!(top.len(), 5);
            // greedy: the likeliest was chosen
            assert_eq!(top[0]["logprob"], item["logprob"]);
            let of = |item: &Value| item["logprob"].as_f64().unwrap();
            assert!(
                top.is_sorted_by(|a, b| of(a) >= of(b)) && of(item) <= 0.0,
                "{item}"
            );
            let text = item["token"].as_str().unwrap();
            let bytes: Vec<u8> = serde_json::from_value(item["bytes"].clone()).unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), text);
            let total: f64 = top.iter().map(|item| of(item).exp()).sum();
            assert!(total > 0.0 && total <= 1.0 + 1e-6, "{total}");
        }
        let lines = daemon.post(path, &body(0, true)).await.lines();
        let streamed: Vec<&Value> = lines
            .iter()
            .filter_map(|line| line["logprobs"].as_array())
            .flatten()
            .collect();
        assert_eq!(streamed.len(), 10);
        for (streamed, item) in streamed.into_iter().zip(items) {
            assert_eq!(streamed["logprob"], item["logprob"]);
            assert!(streamed.get("top_logprobs").is_none());
        }
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let daemon = TestDaemon::with_model().await;
    let generate = async |extra: Value| {
        let mut body = json!({"model": "tiny", "prompt": "hello", "stream": true});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        daemon.post("/api/generate", &body.to_string()).await
    };
    check_error(
        &generate(json!({"think": true})).await,
        400,
        "\"tiny\" does not support thinking",
    );
    assert_eq!(
        generate(json!({"think": "later"})).await.status,
        StatusCode::BAD_REQUEST
    );
    check_error(
        &generate(json!({"suffix": "x"})).await,
        400,
        "registry.ollama.ai/library/tiny:latest does not support insert",
    );
    check_error(
        &generate(json!({"images": ["aGk="]})).await,
        400,
        "\"tiny\" does not support images",
    );
    check_error(
        &generate(json!({"format": "xml"})).await,
        400,
        "invalid format: \"xml\"; expected \"json\" or a valid JSON Schema object",
    );
    let not = generate(json!({"format": {"type": "object", "not": {}}})).await;
    assert_eq!(not.status, StatusCode::BAD_REQUEST);
    assert!(not.error().starts_with("invalid format: "), "{not:?}");
    check_error(
        &generate(json!({"options": {"num_ctx": "x"}})).await,
        400,
        "option \"num_ctx\" must be of type integer",
    );
    assert!(
        generate(json!({"keep_alive": "soon"}))
            .await
            .error()
            .contains("invalid keep_alive")
    );
    let tools = json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    check_error(
        &daemon.post("/api/chat", &tools.to_string()).await,
        400,
        "registry.ollama.ai/library/tiny:latest does not support tools",
    );
    let off = json!({"format": "", "think": false, "suffix": "", "options": {"num_predict": 1, "bogus": 1}});
    assert_eq!(generate(off).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_refused_with_both_numbers() {
    let daemon = TestDaemon::with_model().await;
    let body = json!({"model": "tiny", "prompt": "word ".repeat(2000), "raw": true});
    let answer = daemon.post("/api/generate", &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let error = answer.error();
    assert!(
        error.contains("exceeds the available context size of 512 tokens"),
        "{error}"
    );
    let small = json!({"model": "tiny", "prompt": "word ".repeat(30), "raw": true, "options": {"num_ctx": 8}});
    let error = daemon
        .post("/api/generate", &small.to_string())
        .await
        .error();
    assert!(
        error.contains("size of 8 tokens") && error.contains("up to 512"),
        "{error}"
    );
}

#[tokio::test]
async fn models_load_stay_and_unload() {
    let daemon = TestDaemon::with_model().await;
    let post = async |body: &str| daemon.post("/api/generate", body).await.json();
    let loaded = post(r#"{"model":"tiny","keep_alive":-1}"#).await;
    assert_eq!(
        (&loaded["done"], &loaded["done_reason"]),
        (&json!(true), &json!("load"))
    );
    assert!(loaded.get("eval_count").is_none());
    let ps = daemon.get("/api/ps").await.json();
    let model = &ps["models"][0];
    assert_eq!(
        (&model["name"], &model["size_vram"]),
        (&json!("tiny:latest"), &json!(0))
    );
    assert_eq!(model["context_length"], 512);
    assert!(model["size"].as_u64().unwrap() > 0);
    let expires: jiff::Timestamp = model["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365 * 200));
    let unloaded = post(r#"{"model":"tiny","keep_alive":"0"}"#).await;
    assert_eq!(unloaded["done_reason"], "unload");
    assert_eq!(daemon.get("/api/ps").await.json(), json!({"models": []}));
    let chat = daemon
        .post("/api/chat", r#"{"model":"tiny","messages":[]}"#)
        .await
        .json();
    assert_eq!(chat["done_reason"], "load");
    assert_eq!(chat["message"], json!({"role": "assistant", "content": ""}));
    let chat = daemon
        .post("/api/chat", r#"{"model":"tiny","keep_alive":0}"#)
        .await
        .json();
    assert_eq!(chat["done_reason"], "unload");
    assert_eq!(daemon.get("/api/ps").await.json(), json!({"models": []}));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_generation() {
    let daemon = TestDaemon::with_model().await;
    let body = json!({"model": "tiny", "prompt": "hello", "keep_alive": 0, "options": {"num_predict": 400}});
    let request = Request::post("/api/generate")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = daemon.open(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(daemon.app.models.running().len(), 1);
    drop(response);
    // the lease is given back at once; with keep_alive 0 the model goes as soon as that is noticed
    eventually(|| daemon.app.models.running().is_empty()).await;
}

#[tokio::test]
async fn the_end_of_the_daemon_is_an_error_line_in_running_answers() {
    let daemon = TestDaemon::with_model().await;
    let body = json!({"model": "tiny", "prompt": "hello", "options": {"num_predict": 400, "temperature": 0}});
    let request = Request::post("/api/generate")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = daemon.open(request).await;
    daemon.app.shutdown.abort.cancel();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(
        text.lines().last(),
        Some(r#"{"error":"the server is shutting down"}"#)
    );
}

#[tokio::test]
async fn who_comes_while_the_daemon_ends_is_told_so_in_its_words() {
    let daemon = TestDaemon::with_model().await;
    daemon.app.shutdown.begun.cancel();
    let text = "the server is shutting down and takes no more requests; send it again once it has been started again";
    let body = json!({"model": "tiny", "prompt": "hello"}).to_string();
    for path in ["/api/generate", "/api/pull", "/api/version", "/", "/absent"] {
        let refused = daemon.post(path, &body).await;
        check_error(&refused, 503, text);
        assert_eq!(refused.headers["connection"], "close");
        assert_eq!(refused.headers["retry-after"], "5");
    }
    let openai = daemon.post("/v1/completions", &body).await;
    assert_eq!(
        (openai.status.as_u16(), &openai.json()["error"]["message"]),
        (503, &json!(text))
    );
    let anthropic = daemon.post("/v1/messages", &body).await.json();
    assert_eq!(
        anthropic["error"],
        json!({"type": "overloaded_error", "message": text})
    );
    assert_eq!(daemon.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_pull_that_fails_says_why_in_its_last_line() {
    let daemon = TestDaemon::new();
    // nobody listens on port 1 of loopback
    let body = r#"{"model":"http://127.0.0.1:1/library/m","insecure":true}"#;
    let lines = daemon.post("/api/pull", body).await.lines();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_model_that_is_deleted_does_not_stay_loaded() {
    let daemon = TestDaemon::with_model().await;
    daemon
        .post("/api/copy", r#"{"source":"tiny","destination":"twin"}"#)
        .await;
    daemon.post("/api/generate", r#"{"model":"tiny"}"#).await;
    daemon
        .call("DELETE", "/api/delete", r#"{"model":"tiny"}"#)
        .await;
    assert_eq!(
        daemon.app.models.running().len(),
        1,
        "its twin has the same weights"
    );
    daemon
        .call("DELETE", "/api/delete", r#"{"model":"twin"}"#)
        .await;
    assert!(daemon.app.models.running().is_empty());
}

#[tokio::test]
async fn a_base_that_is_neither_here_nor_to_be_had_is_named() {
    let daemon = TestDaemon::new();
    // nobody listens on port 1 of loopback
    let body = json!({"model": "x", "from": "127.0.0.1:1/library/base"});
    let lines = create(&daemon, body).await.lines();
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(
        error.contains("library/base") && error.contains("cannot be pulled"),
        "{error}"
    );
}

/// `from` takes what a pull takes, and by the same way: here a repository of Hugging Face, whose file is chosen by format.
#[tokio::test]
async fn a_model_is_built_on_whatever_can_be_pulled() {
    use axum::{Router, routing::get};
    use slm_registry::{Digest, remote::Network};
    let weights = tiny_model();
    let (oid, size) = (Digest::of(&weights).hex(), weights.len());
    let list = json!([{"type": "file", "path": "m-F32.gguf", "size": size, "lfs": {"oid": oid, "size": size}}]);
    let hub = Router::new()
        .route(
            "/api/models/u/r/tree/main",
            get(move || async move { list.to_string() }),
        )
        .route(
            "/u/r/resolve/main/m-F32.gguf",
            get(move || async move { weights.clone() }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = crate::shutdown::Shutdown::default();
    drop(tokio::spawn(crate::server::run(listener, hub, shutdown)));
    let daemon = TestDaemon::with(|config| {
        config.network = std::sync::Arc::new(Network {
            hugging_face_endpoint: Some(endpoint),
            ..Network::default()
        });
    });
    let made =
        json!({"model": "kind", "from": "hf.co/u/r:F32", "system": "Be kind.", "stream": false});
    let answer = create(&daemon, made).await;
    assert_eq!(answer.json(), json!({"status": "success"}));
    let show = r#"{"model":"kind","provenance":true}"#;
    let show = daemon.post("/api/show", show).await.json();
    assert_eq!(show["system"], "Be kind.");
    let noted = &show["provenance"];
    assert_eq!(
        (&noted["via"], &noted["source"]),
        (&json!("create"), &json!("hf.co/u/r:F32"))
    );
    assert!(
        noted["parent"]
            .as_str()
            .is_some_and(|parent| parent.starts_with("hf.co/u/r:F32@sha256:")),
        "{noted}"
    );
    for (from, error) in [
        ("/etc/m.gguf", "takes no file by its path"),
        ("hf.co/u", "write it as `hf.co/USER/REPOSITORY`"),
    ] {
        let answer = create(&daemon, json!({"model": "x", "from": from})).await;
        assert!(answer.error().contains(error), "{answer:?}");
    }
}

#[tokio::test]
async fn care_of_the_store_through_the_router() {
    let daemon = TestDaemon::with_model().await;
    let df = daemon.get("/api/df").await.json();
    assert_eq!(df["models"][0]["name"], "tiny:latest");
    assert_eq!(df["unreferenced"], 0);
    let gc = daemon.post("/api/gc", "{}").await.json();
    assert_eq!((&gc["removed"], &gc["bytes"]), (&json!(false), &json!(0)));
    let lines = daemon.post("/api/verify", "{}").await.lines();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["status"], &last["summary"]["models"]),
        (&json!("success"), &json!(1))
    );
    let outdated = daemon.get("/api/outdated").await.json();
    assert_eq!(outdated["models"][0]["status"], "local");
    let answer = daemon.post("/api/rollback", r#"{"model":"tiny"}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = daemon.post("/api/rollback", r#"{"model":"none"}"#).await;
    check_error(&answer, 404, "model 'none' not found");
    let answer = daemon.post("/api/update", r#"{"model":"none"}"#).await;
    check_error(&answer, 404, "model 'none' not found");
    let answer = daemon.post("/api/verify", r#"{"models":["none"]}"#).await;
    assert!(
        answer.lines()[0]["error"]
            .as_str()
            .unwrap()
            .contains("not found")
    );
    let system = json!({"model": "tiny", "from": "tiny", "system": "x", "stream": false});
    create(&daemon, system).await;
    let back = daemon.post("/api/rollback", r#"{"model":"tiny"}"#).await;
    assert!(
        back.json()["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    let show = daemon.post("/api/show", r#"{"model":"tiny"}"#).await.json();
    assert_eq!(show.get("system"), None);
}

/// A copy of something else than what it was copied of is not made of it because its pull failed.
#[tokio::test]
async fn an_update_that_fails_changes_nothing() {
    let daemon = TestDaemon::with_model().await;
    let noted = slm_registry::Provenance {
        source: Some("http://127.0.0.1:1/library/other:latest".to_owned()),
        ..slm_registry::Provenance::now(slm_registry::Via::Pull)
    };
    let other = json!({"model": "127.0.0.1:1/library/other", "from": "tiny", "system": "x", "stream": false});
    create(&daemon, other).await;
    daemon
        .app
        .blocking(move |app| {
            let tiny = "tiny".parse()?;
            let json = app.store.manifest_json(&tiny)?;
            app.store.write_manifest_from(&tiny, &json, Some(&noted))?;
            Ok(())
        })
        .await
        .unwrap();
    let digest = async || {
        let tags = daemon.get("/api/tags").await.json();
        let mut models = tags["models"].as_array().unwrap().iter();
        models.find(|model| model["name"] == "tiny:latest").unwrap()["digest"].clone()
    };
    let before = digest().await;
    // the model under the source's name was made here: it is not replaced
    let update = json!({"model": "tiny", "insecure": true}).to_string();
    let refused = daemon.post("/api/update", &update).await;
    assert!(
        refused.error().contains("was made anew here since"),
        "{refused:?}"
    );
    // and where it was not, a pull that fails leaves the copy as it is
    daemon
        .app
        .blocking(move |app| {
            let other = "127.0.0.1:1/library/other".parse()?;
            let json = app.store.manifest_json(&other)?;
            let pulled = slm_registry::Provenance::now(slm_registry::Via::Pull);
            app.store
                .write_manifest_from(&other, &json, Some(&pulled))?;
            Ok(())
        })
        .await
        .unwrap();
    let failed = daemon.post("/api/update", &update).await.lines();
    let last = failed.last().unwrap();
    assert!(last["error"].is_string(), "{failed:?}");
    assert_eq!(digest().await, before);
}

/// Images and frames of foreign pages carry no origin, and start nothing either.
#[tokio::test]
async fn foreign_pages_start_nothing() {
    let daemon = TestDaemon::with_model().await;
    let routes = [
        ("GET", "/api/outdated"),
        ("GET", "/api/df"),
        ("GET", "/api/bench"),
        ("POST", "/api/gc"),
        ("POST", "/api/verify"),
        ("POST", "/api/update"),
        ("POST", "/api/rollback"),
        ("POST", "/api/swap"),
        ("POST", "/api/push"),
        ("POST", "/api/export"),
        ("POST", "/api/import"),
        ("POST", "/api/archive"),
        ("POST", "/api/adopt"),
        ("POST", "/api/path"),
    ];
    for (method, path) in routes {
        for (header, value) in [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header, value);
            let answer = daemon.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{method} {path} {header}"
            );
        }
    }
    assert_eq!(daemon.get("/api/df").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_swap_wants_the_model_that_guesses_too() {
    let daemon = TestDaemon::with_model().await;
    let swap = json!({"model": "tiny", "options": {"draft_model": "absent"}});
    let answer = daemon.post("/api/swap", &swap.to_string()).await;
    check_error(&answer, 404, "model 'absent' not found");
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_no_place_from_others() {
    let daemon = TestDaemon::with_model_and(|config| config.n_parallel = 1).await;
    let options = json!({"num_predict": 700, "num_ctx": 2048, "ignore_eos": true, "seed": 1});
    let body = json!({"model": "tiny", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}],
        "stream": true, "max_tokens": 700, "options": options});
    for path in [
        "/api/generate",
        "/api/chat",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
    ] {
        let request = Request::post(path).body(Body::from(body.to_string()));
        let unread = daemon.open(request.unwrap()).await;
        assert_eq!(unread.status(), 200);
        // far more tokens than the engine lets a reader lag behind, and one place in all
        let short = json!({"model": "tiny", "prompt": "ho", "stream": false, "options": {"num_predict": 2}});
        let short = short.to_string();
        let other = daemon.post("/api/generate", &short);
        let other = tokio::time::timeout(Duration::from_secs(60), other).await;
        assert_eq!(other.expect(path).json()["done"], true);
        let text = unread.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let end = text.trim_end().lines().last().unwrap();
        let is_whole = ["\"done_reason\":\"length\"", "[DONE]", "message_stop"];
        assert!(
            is_whole.iter().any(|mark| end.contains(mark)),
            "{path}: {end}"
        );
        assert!(text.lines().count() > 300, "{path}");
    }
}
