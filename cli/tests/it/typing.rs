//! What is typed while an answer is written, what signals leave behind, and tables on terminals of all widths.

use std::path::Path;

use axum::http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server::Server;
use crate::terminal::Terminal;
use crate::{built, run, slm, tags};

const LONG: &str = "hf.co/somebody/A-Model-With-A-Long-Name-1.7B-GGUF:Q4_K_M";

fn at_terminal(server: &Server, home: &Path, words: &[&str], columns: u16) -> Terminal {
    let mut command = slm(built(), &server.address, home);
    command.args(words);
    Terminal::run(command, columns)
}

fn said(text: &str, done: bool) -> Value {
    json!({"message": {"role": "assistant", "content": text}, "done": done})
}

/// A server on which a chat can be opened.
async fn with_chat() -> Server {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer(
        "GET /api/tags",
        StatusCode::OK,
        &[tags(&["m:latest", LONG])],
    );
    server.answer("POST /api/chat", StatusCode::OK, &[said("", true)]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_during_an_answer_waits_for_the_prompt() {
    let server = with_chat().await;
    server.then_hold(
        "POST /api/chat",
        &[said("First words", false)],
        &[said(" and the last.", false), said("", true)],
    );
    server.then_answer("POST /api/chat", &[said("Yes.", false), said("", true)]);
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m"], 80);
    terminal.until_shown(">>> Send");
    terminal.type_keys("hello\r");
    // the last word waits for its end
    terminal.until_shown("First");
    terminal.type_keys("typed ahead\rhalf a li");
    server.release();
    terminal.until_shown("Yes.");
    terminal.until_shown(">>> half a li");
    let text = terminal.text();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            ">>> hello",
            "First words and the last.",
            "",
            ">>> typed ahead",
            "Yes.",
            "",
            ">>> half a li"
        ],
        "{text}"
    );
    let request = server.seen("POST /api/chat").pop().expect("a request");
    assert_eq!(request["messages"][2]["content"], "typed ahead");
    terminal.type_keys("\u{15}\u{4}");
    assert_eq!(terminal.code(), 0);
    assert!(terminal.is_ordinary());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_model_sees_how_far_it_is() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.then_hold(
        "POST /api/generate",
        &[],
        &[
            json!({"response": "Yes."}),
            json!({"response": "", "done": true}),
        ],
    );
    let loading = |phase: &str, completed| json!({"loading": {"model": "m:latest", "phase": phase, "completed": completed, "total": 200}});
    server.answer("GET /api/status", StatusCode::OK, &[loading("room", 0)]);
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m", "Is it?"], 80);
    terminal.until_shown("waiting until other models make room for m:latest");
    server.answer("GET /api/status", StatusCode::OK, &[loading("weights", 84)]);
    terminal.until_shown("loading m:latest 42%");
    server.release();
    assert_eq!(terminal.code(), 0);
    terminal.until_shown("Yes.");
    assert_eq!(terminal.text(), "Yes.", "what was said meanwhile is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_an_answer_ends_the_terminal_is_as_it_was() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer_for_ever("POST /api/generate", &json!({"response": "word "}));
    let home = tempfile::tempdir().expect("temporary home");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mut terminal = at_terminal(&server, home.path(), &["run", "m", "talk"], 80);
        terminal.until_shown("word");
        assert!(!terminal.has_echo(), "{signal:?}");
        terminal.signal(signal);
        assert_eq!(terminal.code(), 128 + signal.as_raw());
        assert!(terminal.is_ordinary(), "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_answer_leaves_the_terminal_and_takes_it_again() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer_for_ever("POST /api/generate", &json!({"response": "word "}));
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m", "talk"], 80);
    terminal.until_shown("word");
    // from elsewhere, and by the key
    for by_key in [false, true] {
        terminal.until("it is quiet", || !terminal.has_echo());
        if by_key {
            terminal.type_keys("\u{1a}");
        } else {
            terminal.signal(Signal::TSTP);
        }
        terminal.until_stopped();
        assert!(terminal.is_ordinary());
        terminal.signal(Signal::CONT);
    }
    terminal.until("it is quiet again", || !terminal.has_echo());
    terminal.type_keys("\u{3}");
    assert_eq!(terminal.code(), 130);
    assert!(terminal.is_ordinary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_prompt_goes_on() {
    let server = with_chat().await;
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m"], 80);
    terminal.until_shown(">>> Send");
    terminal.type_keys("\u{1a}");
    terminal.until_stopped();
    assert!(terminal.is_ordinary());
    terminal.signal(Signal::CONT);
    terminal.until("it takes keys", || !terminal.is_ordinary());
    terminal.type_keys("/bye\r");
    assert_eq!(terminal.code(), 0);
    assert!(terminal.is_ordinary());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_prompt_leaves_the_terminal_as_it_was() {
    let server = with_chat().await;
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m"], 80);
    terminal.until_shown(">>> Send");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.code(), 143);
    assert!(terminal.is_ordinary());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_keep_to_the_terminal_and_are_whole_in_a_pipe() {
    let server = with_chat().await;
    let models = tags(&["m:latest", LONG]);
    let mut loaded = models.clone();
    for model in loaded["models"].as_array_mut().expect("models") {
        model["context_length"] = json!(8192);
        model["expires_at"] = json!("2318-01-01T00:00:00Z");
    }
    server.answer("GET /api/ps", StatusCode::OK, &[loaded]);
    let home = tempfile::tempdir().expect("temporary home");
    for command in ["list", "ps"] {
        for columns in [40, 60, 80] {
            let mut terminal = at_terminal(&server, home.path(), &[command], columns);
            assert_eq!(terminal.code(), 0);
            terminal.until_shown("Q4_K_M");
            let text = terminal.text();
            assert_eq!(text.lines().count(), 3, "{command} of {columns}:\n{text}");
            assert!(
                text.lines().next().expect("a head").contains("SIZE"),
                "{text}"
            );
            assert!(
                text.lines().nth(2).expect("a row").starts_with("hf.co/"),
                "{text}"
            );
        }
        let piped = run(&server, &[command], "").await.stdout;
        assert!(
            piped.contains(LONG) && piped.contains("    abababababab    "),
            "{piped}"
        );
    }

    // a chat learns that its terminal has become narrow
    let mut terminal = at_terminal(&server, home.path(), &["run", "m"], 80);
    terminal.until_shown(">>> Send");
    terminal.resize(40);
    terminal.type_keys("/list\r");
    terminal.until_shown("Q4_K_M");
    let text = terminal.text();
    let row = text.lines().find(|line| line.starts_with("hf.co/"));
    assert!(row.is_some_and(|row| row.contains("98 MB")), "{text}");
    terminal.type_keys("\u{4}");
    assert_eq!(terminal.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_chat_goes_on_with_one_prompt() {
    let server = with_chat().await;
    server.answer(
        "POST /api/chat",
        StatusCode::OK,
        &[said("Yes.", false), said("", true)],
    );
    let home = tempfile::tempdir().expect("temporary home");
    let folder = home.path().join(".local/share/slm/chats");
    std::fs::create_dir_all(&folder).expect("folder");
    let head = json!({
        "version": 1, "id": "x", "model": "m:latest", "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "title": "Why?", "n_messages": 2, "system": "Be kind.",
    });
    let file = folder.join("20260101-000000-abcd.jsonl");
    let messages = [
        json!({"role": "user", "content": "Why?"}),
        json!({"role": "assistant", "content": "So."}),
    ];
    std::fs::write(&file, format!("{head}\n{}\n{}\n", messages[0], messages[1])).expect("write");
    let resume = |words: &'static [&'static str]| {
        let mut command = slm(built(), &server.address, home.path());
        command.args(words);
        tokio::task::spawn_blocking(move || crate::Finished::from(command.output().expect("runs")))
    };
    for (words, n_messages) in [
        (&["run", "--resume", "m", "And", "so?"][..], 4),
        (&["run", "m", "--resume", "And so?"], 6),
        (&["run", "m", "--resume=2026", "And so?"], 8),
        (&["run", "m", "--no-history", "--resume", "And so?"], 8),
    ] {
        resume(words).await.expect("joined").check(0, "Yes.\n", "");
        let text = std::fs::read_to_string(&file).expect("the chat");
        assert_eq!(text.lines().count(), n_messages + 1, "{words:?}");
    }
    let request = &server.seen("POST /api/chat")[0];
    assert_eq!(
        request["messages"],
        json!([{"role": "system", "content": "Be kind."}, messages[0], messages[1],
            {"role": "user", "content": "And so?"}])
    );
    let finished = resume(&["run", "m", "--resume", "20260101"])
        .await
        .expect("joined");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("nothing to go on with"),
        "{finished:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_keeps_to_the_terminal() {
    let server = Server::start().await;
    let blob = |digest: &str, completed: u64| json!({"status": format!("pulling {digest}"), "digest": format!("sha256:{digest}"), "total": 2_000_000_000_u64, "completed": completed});
    let layer = format!(
        "using existing layer sha256:{}",
        "0123456789abcdef".repeat(4)
    );
    let begun = [
        json!({"status": "pulling manifest"}),
        json!({"status": layer}),
        blob("0123456789ab", 900_000_000),
        blob("ba9876543210", 0),
        blob("ba9876543210", 2_000_000_000),
    ];
    let rest = [
        blob("0123456789ab", 2_000_000_000),
        json!({"status": "success"}),
    ];
    let home = tempfile::tempdir().expect("temporary home");
    for columns in [20, 30, 40, 60, 80] {
        server.then_hold("POST /api/pull", &begun, &rest);
        let mut terminal = at_terminal(&server, home.path(), &["pull", "m:tag"], columns);
        terminal.until_shown("100%");
        terminal.until_shown("45%");
        let starts = ["pulling m", "using ex", "pulling 0", "pulling b", "success"];
        let check = |rows: &[String], n_rows: usize| {
            assert_eq!(rows.len(), n_rows, "{columns} columns: {rows:#?}");
            for (row, start) in rows.iter().zip(starts) {
                assert!(row.starts_with(start), "{columns} columns: {rows:#?}");
            }
        };
        check(&terminal.rows(), 4);
        server.release();
        assert_eq!(terminal.code(), 0);
        terminal.until_shown("success");
        let rows = terminal.rows();
        check(&rows, 5);
        assert!(
            rows[2].contains("100%") && rows[3].contains("100%"),
            "{rows:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_narrow_terminal_sees_one_line() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.then_hold(
        "POST /api/generate",
        &[],
        &[
            json!({"response": "Yes."}),
            json!({"response": "", "done": true}),
        ],
    );
    let loading =
        json!({"loading": {"model": LONG, "phase": "room", "completed": 0, "total": 200}});
    server.answer("GET /api/status", StatusCode::OK, &[loading]);
    let home = tempfile::tempdir().expect("temporary home");
    let mut terminal = at_terminal(&server, home.path(), &["run", "m", "Is it?"], 40);
    terminal.until_shown("waiting until");
    assert_eq!(terminal.rows().len(), 1, "{:#?}", terminal.rows());
    server.release();
    assert_eq!(terminal.code(), 0);
    terminal.until_shown("Yes.");
    assert_eq!(terminal.text(), "Yes.");
}
