//! Many clients that ask for endless answers and read none of them, and then all hang up.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, golden_model};
use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// Connections of each dialect.
const N_CLIENTS: usize = 100;

fn requests(daemon: &Daemon) -> (u64, u64) {
    let ps = daemon.http().get("/api/ps").expect(200).json();
    let requests = &ps["models"][0]["requests"];
    let count = |key: &str| requests[key].as_u64().unwrap_or(0);
    (count("running"), count("waiting"))
}

/// Waits for a state that only a fault keeps from coming.
#[track_caller]
fn eventually(daemon: &Daemon, what: &str, holds: impl Fn((u64, u64)) -> bool) {
    let began = Instant::now();
    loop {
        let now = requests(daemon);
        if holds(now) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{what}: {now:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// A request whose answer nobody reads.
fn ask(home: &Home, path: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(home.address()).expect("the daemon takes connections");
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let sent = stream.write_all(format!("{head}{body}").as_bytes());
    sent.expect("the daemon reads");
    stream
}

#[test]
fn clients_that_do_not_read_keep_nobody_out_and_leave_nothing_behind() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    // older tokens make room, so that an answer never ends
    let options = json!({"ignore_eos": true, "num_predict": -1});
    let native =
        json!({"model": "tiny", "prompt": "the", "raw": true, "shift": true, "options": options});
    let openai = json!({"model": "tiny", "prompt": "the", "stream": true, "options": options});
    let clients: Vec<TcpStream> = (0..N_CLIENTS)
        .flat_map(|_| {
            [
                ask(&home, "/api/generate", &native),
                ask(&home, "/v1/completions", &openai),
            ]
        })
        .collect();
    eventually(
        &daemon,
        "some run and the rest waits",
        |(running, waiting)| running > 0 && waiting > 0,
    );
    for path in ["/api/version", "/api/tags", "/v1/models", "/metrics"] {
        daemon.http().get(path).expect(200);
    }
    drop(clients);
    eventually(&daemon, "nothing is left", |all| all == (0, 0));
    let body =
        json!({"model": "tiny", "prompt": "the", "stream": false, "options": {"num_predict": 3}});
    let answer = daemon
        .http()
        .post("/api/generate", &body)
        .expect(200)
        .json();
    assert_eq!(answer["done"], true, "{answer}");
}
