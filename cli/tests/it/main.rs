//! The built `slm` as a person or a script meets it, against a small server in this process: what goes to stdout and
//! what to stderr, exit codes, and what is sent.

mod prompts;
mod server;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod typing;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::Server;

/// A command that finds its daemon at `address` and its files in `home`.
fn slm(program: &Path, address: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", home)
        .env("SLM_HOST", address)
        .env("SLM_NO_AUTOSTART", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_slm"))
}

/// Runs `slm` with these words and this input to its end.
async fn run(server: &Server, words: &[&str], input: &str) -> Finished {
    let home = tempfile::tempdir().expect("temporary home");
    let mut command = slm(built(), &server.address, home.path());
    command.args(words).stdin(Stdio::piped());
    let input = input.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("slm starts");
        let mut stdin = child.stdin.take().expect("piped");
        // Who reads no input may be gone by now.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("slm ends")
    });
    Finished::from(output.await.expect("joined"))
}

#[derive(Debug)]
struct Finished {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Finished {
    #[track_caller]
    fn check(&self, code: i32, stdout: &str, stderr: &str) {
        let expected = (Some(code), stdout, stderr);
        let actual = (self.code, self.stdout.as_str(), self.stderr.as_str());
        assert_eq!(actual, expected);
    }
}

fn tags(names: &[&str]) -> Value {
    let rows = names.iter().map(|name| {
        json!({
            "name": name, "model": name, "modified_at": "0001-01-01T00:00:00Z", "size": 98_300_000,
            "digest": "ab".repeat(32), "details": {},
        })
    });
    json!({"models": rows.collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_data_and_nothing_else_is_said() {
    let server = Server::start().await;
    server.answer("GET /api/tags", StatusCode::OK, &[tags(&["smollm2:135m"])]);
    let table = "NAME            ID              SIZE     MODIFIED\n\
                 smollm2:135m    abababababab    98 MB    Never\n";
    run(&server, &["ls"], "").await.check(0, table, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_from_arguments_and_input_is_answered() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer(
        "POST /api/generate",
        StatusCode::OK,
        &[
            json!({"response": "Hel"}),
            json!({"response": "lo\u{1b}"}),
            json!({"response": "", "done": true, "eval_count": 2}),
        ],
    );
    let words = [
        "run",
        "m",
        "and",
        "typed",
        "--verbose",
        "--keepalive",
        "90",
        "--system",
        "S",
    ];
    // What is piped on is not changed: the escape stays.
    run(&server, &words, "piped").await.check(
        0,
        "Hello\u{1b}\n",
        "eval count:           2 token(s)\n",
    );
    assert_eq!(
        server.seen("POST /api/generate"),
        [json!({"model": "m", "prompt": "piped and typed", "system": "S", "keep_alive": 90.0})]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_are_no_data() {
    let server = Server::start().await;
    server.answer(
        "POST /api/show",
        StatusCode::OK,
        &[json!({"capabilities": ["thinking"]})],
    );
    let chunks = [
        json!({"response": "", "thinking": "Hm"}),
        json!({"response": "Yes"}),
        json!({"response": "", "done": true}),
    ];
    server.answer("POST /api/generate", StatusCode::OK, &chunks);
    run(&server, &["run", "m", "why"], "").await.check(
        0,
        "Yes\n",
        "Thinking...\nHm\n...done thinking.\n\n",
    );
    run(
        &server,
        &["run", "m", "why", "--hidethinking", "--think=high"],
        "",
    )
    .await
    .check(0, "Yes\n", "");
    let think: Vec<Value> = server
        .seen("POST /api/generate")
        .iter()
        .map(|request| request["think"].clone())
        .collect();
    assert_eq!(think, [json!(true), json!("high")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_pulled_and_a_misspelt_one_suggested() {
    let server = Server::start().await;
    server.answer("GET /api/tags", StatusCode::OK, &[tags(&["smollm2:135m"])]);
    let missing = json!({"error": "model 'smolm2' not found"});
    server.answer("POST /api/show", StatusCode::NOT_FOUND, &[missing]);
    let failure = json!({"error": "pull model manifest: file does not exist"});
    server.answer(
        "POST /api/pull",
        StatusCode::OK,
        &[json!({"status": "pulling manifest"}), failure],
    );
    run(&server, &["run", "smolm2", "hi"], "").await.check(
        1,
        "",
        "pulling manifest\n\
         error: model 'smolm2' is not on this machine and cannot be pulled: pull model manifest: file does not exist\n\
         hint: did you mean `smollm2:135m`? `slm list` shows all that are here\n",
    );
    run(&server, &["show", "smolm2"], "").await.check(
        1,
        "",
        "error: model 'smolm2' not found\n\
         hint: did you mean `smollm2:135m`? `slm list` shows all that are here\n",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_a_model_is_said_before_it_is_fetched() {
    let server = Server::start().await;
    let size = |here: u64| json!({"status": "pulling manifest", "total": 900_000_000_000_000_u64, "completed": here});
    let lines = |here| {
        [
            json!({"status": "pulling manifest"}),
            size(here),
            json!({"status": "success"}),
        ]
    };
    server.answer("POST /api/pull", StatusCode::OK, &lines(0));
    let finished = run(&server, &["pull", "hf.co/user/repo"], "").await;
    let told: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let start = "hf.co/user/repo: 900 TB to download, at least 900 TB of memory";
    assert!(
        told[0] == "pulling manifest" && told[1].starts_with(start),
        "{finished:?}"
    );
    assert!(
        told[2].starts_with("warning: it needs about 900 TB and "),
        "{finished:?}"
    );
    // all of it is here
    server.answer(
        "POST /api/pull",
        StatusCode::OK,
        &lines(900_000_000_000_000),
    );
    run(&server, &["pull", "hf.co/user/repo"], "").await.check(
        0,
        "",
        "pulling manifest\nsuccess\n",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_fails_does_not_keep_the_others() {
    let server = Server::start().await;
    server.answer("GET /api/tags", StatusCode::OK, &[tags(&[])]);
    let gone = json!({"error": "model 'x' not found"});
    server.answer(
        "DELETE /api/delete",
        StatusCode::NOT_FOUND,
        std::slice::from_ref(&gone),
    );
    server.answer("POST /api/generate", StatusCode::NOT_FOUND, &[gone]);
    run(&server, &["rm", "x", "y"], "").await.check(
        1,
        "",
        "error: model 'x' not found\nhint: run `slm list` to see what is here\n\
         error: model 'y' not found\nhint: run `slm list` to see what is here\n",
    );
    server.answer("DELETE /api/delete", StatusCode::OK, &[]);
    run(&server, &["rm", "x", "y"], "")
        .await
        .check(0, "deleted 'x'\ndeleted 'y'\n", "");
}

/// `create` with a server that takes links, or does not.
async fn create(link: StatusCode) -> Server {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let modelfile = folder.path().join("Modelfile");
    std::fs::write(&modelfile, "FROM ./m.gguf\nPARAMETER stop x\n").expect("write");
    std::fs::write(folder.path().join("m.gguf"), "abc").expect("write");
    let blob = "/api/blobs/sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    server.answer(&format!("PUT {blob}"), link, &[]);
    server.answer(&format!("POST {blob}"), StatusCode::CREATED, &[]);
    server.answer(
        "POST /api/create",
        StatusCode::OK,
        &[json!({"status": "success"})],
    );
    let path = modelfile.to_str().expect("UTF-8");
    let finished = run(&server, &["create", "new", "-f", path], "").await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
    let create = json!({
        "model": "new",
        "files": {"m.gguf": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        "parameters": {"stop": ["x"]},
    });
    assert_eq!(server.seen("POST /api/create"), [create]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_linked_where_the_daemon_can_and_sent_where_not() {
    let linked = create(StatusCode::CREATED).await;
    assert_eq!(linked.n_requests_with("POST /api/blobs/"), 0);
    let sent = create(StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(sent.n_requests_with("POST /api/blobs/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_modelfile_is_told_with_its_line_and_nothing_is_sent() {
    let server = Server::start().await;
    let finished = run(&server, &["create", "m", "-f", "-"], "FROM a\nFROMM b\n").await;
    assert_eq!(finished.code, Some(1));
    let start =
        "error: the Modelfile on stdin is wrong: (line 2, column 1): command must be one of";
    assert!(finished.stderr.starts_with(start), "{finished:?}");
    assert_eq!(server.n_requests_with("POST"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_daemon_is_said_in_two_lines() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let server = Server::nowhere(&address);
    let finished = run(&server, &["list"], "").await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let start = format!("error: cannot connect to slmd at http://{address}: ");
    assert!(
        lines.len() == 2 && lines[0].starts_with(&start),
        "{finished:?}"
    );
    assert!(
        lines[1].starts_with("hint: start the daemon with `slmd serve`"),
        "{finished:?}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_come_up_shows_its_log() {
    // A file that was just written cannot be run while another thread forks, so nothing here is: `slm` is a link, and
    // its `slmd` is a shell that reads the script named `serve`.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary home");
    let program = home.path().join("slm");
    std::fs::hard_link(built(), &program).expect("link");
    std::os::unix::fs::symlink("/bin/sh", home.path().join("slmd")).expect("link");
    std::fs::write(
        home.path().join("serve"),
        "echo \"$0: port taken\" >&2\nexit 3\n",
    )
    .expect("write");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let mut command = slm(&program, &address, home.path());
    command.env_remove("SLM_NO_AUTOSTART").arg("list");
    command.current_dir(home.path());
    let output = tokio::task::spawn_blocking(move || command.output().expect("slm runs"));
    let finished = Finished::from(output.await.expect("joined"));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let expected =
        "error: slmd ended at once (exit status: 3), its log says:\n  serve: port taken\nhint: ";
    assert!(finished.stderr.contains(expected), "{finished:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_the_answer_with_130() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer_for_ever("POST /api/generate", &json!({"response": "word "}));
    let home = tempfile::tempdir().expect("temporary home");
    let mut command = slm(built(), &server.address, home.path());
    command.args(["run", "m", "talk"]);
    let code = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("slm starts");
        let mut first = [0; 5];
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut first).expect("the answer begins");
        assert_eq!(&first, b"word ");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signal");
        std::io::copy(&mut stdout, &mut std::io::sink()).expect("rest");
        child.wait().expect("slm ends").code()
    });
    assert_eq!(code.await.expect("joined"), Some(130));
    server.until_stream_dropped().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_success() {
    let server = Server::start().await;
    server.answer("POST /api/show", StatusCode::OK, &[json!({})]);
    server.answer_for_ever("POST /api/generate", &json!({"response": "word "}));
    let home = tempfile::tempdir().expect("temporary home");
    let mut command = slm(built(), &server.address, home.path());
    command.args(["run", "m", "talk"]);
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("slm starts");
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut [0; 5]).expect("the answer begins");
        drop(stdout);
        child.wait_with_output().expect("slm ends")
    });
    Finished::from(output.await.expect("joined")).check(0, "", "");
    server.until_stream_dropped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_2_and_the_version_is_data() {
    let server = Server::nowhere("127.0.0.1:1");
    let finished = run(&server, &["frobnicate"], "").await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    let version = format!("slm {}\n", env!("CARGO_PKG_VERSION"));
    run(&server, &["--version"], "")
        .await
        .check(0, &version, "");
}
