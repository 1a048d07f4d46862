//! What a prompt may bring along (files, a schema), what is kept of chats, and how quiet the program can be.

use std::path::Path;
use std::process::Stdio;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::Server;
use crate::{Finished, built, run, slm, tags};

async fn answering(show: Value) -> Server {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[show]);
    let chunks = [
        json!({"response": "**Yes**"}),
        json!({"response": "", "done": true}),
    ];
    server.answer("POST /api/generate", StatusCode::OK, &chunks);
    server
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("write");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_with_the_prompt() {
    let server = answering(json!({"capabilities": ["vision"]})).await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let code = write(folder.path(), "a.rs", b"fn a() {}\n");
    let image = write(folder.path(), "b.png", b"\x89PNG\r\n\x1a\n");
    let prompt = format!("what is @{code}, and @{image}?");
    // Markdown is not rendered where nobody looks, and names in what is piped in are no files.
    run(&server, &["run", "m", &prompt], &format!("@{code}"))
        .await
        .check(0, "**Yes**\n", "");
    assert_eq!(
        server.seen("POST /api/generate"),
        [json!({
            "model": "m",
            "prompt": format!("File `{code}`:\n```\nfn a() {{}}\n```\n\n@{code} what is {code}, and {image}?"),
            "images": ["iVBORw0KGgo="],
        })]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_go_are_refused() {
    let server = answering(json!({})).await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let image = write(folder.path(), "b.png", b"\x89PNG\r\n\x1a\n");
    let binary = write(folder.path(), "c", b"a\0b");
    for (path, message, hint) in [
        (
            &image,
            "is an image, and this model takes none",
            "ask a model that `slm show` lists with the capability `vision`",
        ),
        (
            &binary,
            "is neither text (UTF-8) nor an image",
            "convert it to text first",
        ),
    ] {
        run(&server, &["run", "m", &format!("see @{path}")], "")
            .await
            .check(1, "", &format!("error: `{path}` {message}\nhint: {hint}\n"));
    }
    assert_eq!(server.n_requests_with("POST /api/generate"), 0);
    run(&server, &["run", "m", "see @no/such and @you"], "")
        .await
        .check(
            0,
            "**Yes**\n",
            "warning: `@no/such` names no file, and is sent as text\n",
        );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_sent_as_the_format() {
    let server = answering(json!({})).await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
    let good = write(folder.path(), "good.json", schema.to_string().as_bytes());
    let bad = write(folder.path(), "bad.json", b"[]");
    let finished = run(&server, &["run", "m", "hi", "--json-schema", &good], "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    run(&server, &["run", "m", "hi", "--format", "json"], "").await;
    let formats: Vec<Value> = server
        .seen("POST /api/generate")
        .iter()
        .map(|request| request["format"].clone())
        .collect();
    assert_eq!(formats, [schema, json!("json")]);
    let finished = run(&server, &["run", "m", "hi", "--json-schema", &bad], "").await;
    let expected = format!("error: `{bad}` holds no JSON schema: that is an object\nhint: ");
    assert!(finished.stderr.starts_with(&expected), "{finished:?}");
    let both = ["run", "m", "hi", "--json-schema", &good, "--format", "json"];
    assert_eq!(run(&server, &both, "").await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_run_says_nothing_but_what_matters() {
    let server = Server::start().await;
    server.answer(
        "POST /api/show",
        StatusCode::OK,
        &[json!({"capabilities": ["thinking"]})],
    );
    let chunks = [
        json!({"response": "", "thinking": "Hm"}),
        json!({"response": "Yes"}),
        json!({"response": "", "done": true, "eval_count": 2}),
    ];
    server.answer("POST /api/generate", StatusCode::OK, &chunks);
    run(&server, &["--quiet", "run", "m", "why"], "")
        .await
        .check(0, "Yes\n", "");
    run(&server, &["run", "m", "why", "--foldthinking"], "")
        .await
        .check(0, "Yes\n", "Thinking...\n...done thinking.\n\n");
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    run(&server, &["run", "m", "why", "--quiet", "--think"], "")
        .await
        .check(
            0,
            "Yes\n",
            "warning: model \"m\" does not support thinking output\n",
        );
    let finished = run(&server, &["rm", "x", "--quiet"], "").await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with("error: "), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_was_not_kept_is_missed() {
    let server = answering(json!({})).await;
    run(&server, &["chats"], "").await.check(
        0,
        "ID    MODEL    MESSAGES    UPDATED    TITLE\n",
        "",
    );
    run(&server, &["chats", "--format", "json"], "")
        .await
        .check(0, "[]\n", "");
    for (words, expected) in [
        (
            &["chats", "2026"][..],
            "error: there is no chat '2026'\nhint: look at `slm chats`\n",
        ),
        (
            &["chats", "--rm", "2026"],
            "error: there is no chat '2026'\nhint: look at `slm chats`\n",
        ),
        (
            &["run", "m", "--resume"],
            "error: no chat with 'm' was kept\nhint: look at `slm chats`, and give the ID of one\n",
        ),
    ] {
        run(&server, words, "").await.check(1, "", expected);
    }
    assert_eq!(server.n_requests_with("POST"), 0);
}

/// Chats are read without a daemon.
#[test]
fn chats_need_no_daemon() {
    let home = tempfile::tempdir().expect("temporary home");
    let folder = home.path().join(".local/share/slm/chats");
    std::fs::create_dir_all(&folder).expect("folder");
    let head = json!({
        "version": 1, "id": "x", "model": "m:latest", "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "title": "Why?\u{1b}", "n_messages": 2,
    });
    let messages = [
        json!({"role": "user", "content": "Why?"}),
        json!({"role": "assistant", "content": "**So**"}),
    ];
    let text = format!("{head}\n{}\n{}\n", messages[0], messages[1]);
    std::fs::write(folder.join("20260101-000000-abcd.jsonl"), text).expect("write");
    let chats = |words: &[&str]| {
        let mut command = slm(built(), "127.0.0.1:1", home.path());
        command.arg("chats").args(words).stdin(Stdio::null());
        Finished::from(command.output().expect("slm runs"))
    };
    let finished = chats(&[]);
    assert!(
        finished
            .stdout
            .contains("20260101-000000-abcd    m:latest    2"),
        "{finished:?}"
    );
    assert!(finished.stdout.ends_with("    Why?\n"), "{finished:?}");
    chats(&["2026"]).check(0, ">>> Why?\n**So**\n\n", "");
    let json: Value =
        serde_json::from_str(&chats(&["2026", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(json["messages"], json!(messages));
    assert_eq!(json["chat"]["id"], "20260101-000000-abcd");
    chats(&["--rm", "2026"]).check(0, "removed '20260101-000000-abcd'\n", "");
    assert_eq!(std::fs::read_dir(&folder).expect("folder").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_run_says_which_there_are() {
    let server = Server::start().await;
    let here = tags(&["a:latest", "b:1"]);
    server.answer("GET /api/tags", StatusCode::OK, &[here]);
    run(&server, &["run"], "").await.check(
        1,
        "",
        "error: which model?\nhint: run `slm run MODEL`; here are a:latest, b:1\n",
    );
    server.answer("GET /api/tags", StatusCode::OK, &[json!({"models": []})]);
    let offered = run(&server, &["run"], "").await;
    assert_eq!((offered.code, offered.stdout.as_str()), (Some(1), ""));
    assert!(offered.stderr.contains("slm pull "), "{offered:?}");
}
