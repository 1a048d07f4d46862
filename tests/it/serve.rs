//! The daemon's REST API as clients of Ollama meet it, on the real starter model.

use rustix::process::Signal;
use serde_json::{Value, json};
use slm_tests::{Daemon, Home, Request, Running, golden_model, starter_model};
use std::{
    fs,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

const MODEL: &str = "smollm2:135m";

fn with_starter() -> (Home, Daemon) {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create(MODEL, &starter_model());
    (home, daemon)
}

/// A generation that would take very long, streamed: so hot that the token which ends an answer is one of fifty thousand.
fn endless() -> Request {
    Request::new("POST", "/api/generate").json(&json!({
        "model": MODEL, "prompt": "Count:", "raw": true,
        "options": { "num_predict": 100_000, "num_ctx": 8192, "temperature": 50, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1 }
    }))
}

fn loaded(daemon: &Daemon) -> Vec<Value> {
    let ps = daemon.http().get("/api/ps").expect(200).json();
    ps["models"]
        .as_array()
        .expect("a list, even when empty")
        .clone()
}

/// Polls until `condition` holds; bounded.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn has_final_figures(last: &Value) {
    assert_eq!(last["done"], true);
    for key in [
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
    ] {
        assert!(
            last[key].as_u64().is_some_and(|ns| ns > 0),
            "{key} in {last}"
        );
    }
    for key in ["prompt_eval_count", "eval_count"] {
        assert!(last[key].as_u64().is_some_and(|n| n > 0), "{key} in {last}");
    }
}

#[test]
fn liveness_version_and_unknown_routes() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let http = daemon.http();
    assert_eq!(http.get("/").expect(200).text(), "Ollama is running");
    for path in ["/", "/api/version", "/api/tags"] {
        let head = http.send(&Request::new("HEAD", path));
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
    }
    let version = http.get("/api/version").expect(200).json();
    let parts: Vec<u32> = version["version"]
        .as_str()
        .expect("a version")
        .split('.')
        .map(|part| part.parse().expect("a number"))
        .collect();
    assert_eq!(parts.len(), 3);
    let cpu = &version["slm"]["cpu"];
    assert!(cpu["threads"].as_u64().is_some_and(|n| n > 0), "{version}");
    let tier = cpu["tier"].as_str().expect("a tier");
    let (log, said) = (daemon.log(), format!("tier={tier}"));
    assert!(log.contains(&said), "no {said} in the log:\n{log}");
    assert_eq!(
        http.get("/nothing").expect(404).text().trim(),
        "404 page not found"
    );
    let wrong = http.send(&Request::new("POST", "/api/tags")).expect(405);
    assert_eq!(wrong.text().trim(), "405 method not allowed");
    assert_eq!(loaded(&daemon), Vec::<Value>::new());
}

#[test]
fn generate_streams_and_answers_whole() {
    let (_home, daemon) = with_starter();
    let ask = |stream: Option<bool>| {
        let mut body = json!({ "model": MODEL, "prompt": "Why is the sky blue?",
            "options": { "temperature": 0, "num_predict": 24, "seed": 7 } });
        if let Some(stream) = stream {
            body["stream"] = stream.into();
        }
        daemon.http().post("/api/generate", &body).expect(200)
    };
    let streamed = ask(None);
    assert_eq!(streamed.header("content-type"), "application/x-ndjson");
    let lines = streamed.lines();
    assert!(lines.len() > 5, "token by token: {lines:?}");
    let (last, chunks) = lines.split_last().unwrap();
    for chunk in chunks {
        assert_eq!(
            (&chunk["model"], &chunk["done"]),
            (&json!(MODEL), &json!(false))
        );
        let time = chunk["created_at"].as_str().expect("a time");
        assert!(time.contains('T') && time.ends_with('Z'), "{time}");
        assert!(chunk.get("context").is_none() && chunk.get("done_reason").is_none());
    }
    has_final_figures(last);
    assert_eq!(last["done_reason"], "length");
    assert_eq!(last["eval_count"], 24);
    let context = last["context"].as_array().expect("context").len() as u64;
    assert_eq!(context, last["prompt_eval_count"].as_u64().unwrap() + 24);
    let text: String = lines
        .iter()
        .filter_map(|line| line["response"].as_str())
        .collect();
    assert!(text.trim().len() > 20, "{text:?}");

    let whole = ask(Some(false));
    assert!(whole.header("content-type").starts_with("application/json"));
    assert_eq!(whole.text().trim_end().lines().count(), 1, "one line");
    let whole = whole.json();
    has_final_figures(&whole);
    assert_eq!(whole["response"], text, "greedy: the same again");
    assert_eq!(whole["context"], last["context"]);
}

/// `messages` as the starter model's own template writes them.
fn chat_ml(messages: &Value) -> String {
    let mut text = String::from(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n",
    );
    for message in messages.as_array().expect("a list") {
        let word = |key: &str| message[key].as_str().expect("a text").to_owned();
        text += &format!(
            "<|im_start|>{}\n{}<|im_end|>\n",
            word("role"),
            word("content")
        );
    }
    text + "<|im_start|>assistant\n"
}

/// Examples that leave a small model no choice, and a Go template that shows what it is given.
const TOOL_TEMPLATE: &str = r#"{{ range .Tools }}Tool: {{ .Function.Name }}
{{ end }}{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}<|im_start|>user
What is the weather in Paris?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}
</tool_call><|im_end|>
<|im_start|>user
What is the weather in Rome?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "get_weather", "arguments": {"city": "Rome", "days": 3}}
</tool_call><|im_end|>
<|im_start|>user
{{ .Content }}<|im_end|>
<|im_start|>assistant
{{ else if .ToolCalls }}{{ end }}{{ end }}"#;

#[test]
fn a_models_tool_call_comes_back_as_one() {
    let (_home, daemon) = with_starter();
    let made =
        json!({ "model": "tooled", "from": MODEL, "template": TOOL_TEMPLATE, "stream": false });
    daemon.http().post("/api/create", &made).expect(200);
    let show = daemon
        .http()
        .post("/api/show", &json!({ "model": "tooled" }))
        .expect(200)
        .json();
    let capabilities = show["capabilities"].as_array().expect("a list");
    assert!(capabilities.contains(&json!("tools")), "{capabilities:?}");
    let ask = |tool: &str, stream: bool| {
        let body = json!({ "model": "tooled", "stream": stream,
            "messages": [{ "role": "user", "content": "What is the weather in Paris?" }],
            "tools": [{ "type": "function", "function": { "name": tool, "parameters": { "type": "object", "properties": {} } } }],
            "options": { "temperature": 0, "num_predict": 60 } });
        daemon.http().post("/api/chat", &body).expect(200)
    };
    let whole = ask("get_weather", false).json();
    let function = &whole["message"]["tool_calls"][0]["function"];
    assert_eq!(function["index"], 0);
    assert_eq!(function["name"], "get_weather");
    assert_eq!(function["arguments"]["city"], "Paris");
    assert_eq!(whole["message"]["content"], "");
    let lines = ask("get_weather", true).lines();
    let (last, chunks) = lines.split_last().unwrap();
    assert_eq!(chunks.len(), 1, "nothing of the call is text: {chunks:?}");
    let call = &chunks[0]["message"]["tool_calls"][0];
    assert_eq!(&call["function"], function, "greedy: the same again");
    let id = call["id"].as_str().expect("an id");
    assert!(id.starts_with("call_"), "{id}");
    assert_eq!(last["message"]["content"], "");
    assert_eq!(last["done_reason"], "stop");
    // a tool that was not offered is no call
    let other = ask("another", false).json();
    assert!(other["message"].get("tool_calls").is_none());
    let content = other["message"]["content"].as_str().expect("a text");
    assert!(content.starts_with("<tool_call>"), "{content:?}");
}

#[test]
fn chat_streams_and_answers_whole() {
    let (_home, daemon) = with_starter();
    let options = json!({ "temperature": 0, "num_predict": 32 });
    let ask = |messages: &Value, stream: bool| {
        let body =
            json!({ "model": MODEL, "messages": messages, "stream": stream, "options": options });
        daemon.http().post("/api/chat", &body).expect(200)
    };
    // what the model says to the prompt as written by hand
    let by_hand = |messages: &Value| {
        let body = json!({ "model": MODEL, "prompt": chat_ml(messages), "raw": true, "stream": false, "options": options });
        daemon
            .http()
            .post("/api/generate", &body)
            .expect(200)
            .json()
    };
    let question = json!([{ "role": "user", "content": "Why is the sky blue?" }]);
    let streamed = ask(&question, true);
    assert_eq!(streamed.header("content-type"), "application/x-ndjson");
    let lines = streamed.lines();
    let (last, chunks) = lines.split_last().unwrap();
    assert!(chunks.len() > 5, "token by token");
    for chunk in chunks {
        assert_eq!(
            (&chunk["message"]["role"], &chunk["done"]),
            (&json!("assistant"), &json!(false))
        );
    }
    has_final_figures(last);
    let content = |line: &Value| line["message"]["content"].as_str().map(str::to_owned);
    let text: String = lines.iter().filter_map(content).collect();
    assert!(
        !text.contains("<|im_"),
        "special tokens stay inside: {text:?}"
    );
    let raw = by_hand(&question);
    assert_eq!(raw["response"], text);
    assert_eq!(raw["prompt_eval_count"], last["prompt_eval_count"]);
    let whole = ask(&question, false).json();
    assert_eq!(content(&whole).unwrap(), text);

    // the history and a system message of one's own count
    let history = json!([
        { "role": "user", "content": "My name is Otto." },
        { "role": "assistant", "content": "Hello Otto!" },
        { "role": "user", "content": "What is my name?" },
    ]);
    let answer = ask(&history, false).json();
    let raw = by_hand(&history);
    assert_eq!(raw["response"], content(&answer).unwrap());
    assert_eq!(raw["prompt_eval_count"], answer["prompt_eval_count"]);
    let mut with_system = history.as_array().unwrap().clone();
    with_system.insert(
        0,
        json!({ "role": "system", "content": "Answer in one word." }),
    );
    let answer = ask(&with_system.into(), false).json();
    assert_ne!(raw["prompt_eval_count"], answer["prompt_eval_count"]);
}

#[test]
fn options_do_what_they_say() {
    let (_home, daemon) = with_starter();
    let generate = |options: Value| {
        let body = json!({ "model": MODEL, "prompt": "Write a story.", "stream": false, "options": options });
        daemon
            .http()
            .post("/api/generate", &body)
            .expect(200)
            .json()
    };
    let text = |answer: &Value| answer["response"].as_str().unwrap().to_owned();

    let seeded = |seed: u32| {
        text(&generate(
            json!({ "temperature": 1.5, "seed": seed, "num_predict": 24 }),
        ))
    };
    assert_eq!(seeded(1), seeded(1), "the same seed");
    assert_ne!(seeded(1), seeded(2), "another seed");

    let greedy = text(&generate(json!({ "temperature": 0, "num_predict": 24 })));
    let top_1 = text(&generate(
        json!({ "temperature": 2.0, "top_k": 1, "num_predict": 24 }),
    ));
    assert_eq!(greedy, top_1, "only the best token is left");

    // a stop string ends the answer and does not show, wherever its tokens split it
    let word: String = greedy
        .split_whitespace()
        .nth(3)
        .expect("several words")
        .to_owned();
    let stopped = generate(json!({ "temperature": 0, "num_predict": 24, "stop": [word] }));
    let until = &greedy[..greedy.find(&word).unwrap()];
    assert_eq!(text(&stopped), until);
    assert_eq!(stopped["done_reason"], "stop");
    // unknown options are ignored
    generate(json!({ "num_predict": 1, "no_such_option": true, "num_gpu": 3 }));
}

#[test]
fn models_load_stay_and_unload() {
    let (_home, daemon) = with_starter();
    let http = daemon.http();
    let load = http
        .post("/api/generate", &json!({ "model": MODEL }))
        .expect(200)
        .lines();
    assert_eq!(load.len(), 1);
    assert_eq!(
        (&load[0]["done_reason"], &load[0]["response"]),
        (&json!("load"), &json!(""))
    );
    let ps = loaded(&daemon);
    assert_eq!(ps.len(), 1);
    assert_eq!(
        (&ps[0]["name"], &ps[0]["model"]),
        (&json!(MODEL), &json!(MODEL))
    );
    assert!(ps[0]["size"].as_u64().unwrap() > 90_000_000);
    assert_eq!(ps[0]["size_vram"], 0);
    assert!(ps[0]["context_length"].as_u64().unwrap() > 0);
    let tags = http.get("/api/tags").json();
    assert_eq!(ps[0]["digest"], tags["models"][0]["digest"]);

    let unload = http
        .post("/api/generate", &json!({ "model": MODEL, "keep_alive": 0 }))
        .expect(200);
    assert_eq!(unload.json()["done_reason"], "unload");
    eventually("unloaded", || loaded(&daemon).is_empty());

    // forever, then for a moment
    http.post(
        "/api/chat",
        &json!({ "model": MODEL, "messages": [], "keep_alive": -1 }),
    )
    .expect(200);
    let expires = loaded(&daemon)[0]["expires_at"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(expires[..4].parse::<u32>().unwrap() > 2100, "{expires}");
    let body = json!({ "model": MODEL, "prompt": "x", "stream": false, "keep_alive": "200ms",
        "options": { "num_predict": 1 } });
    http.post("/api/generate", &body).expect(200);
    eventually("unloaded after its time", || loaded(&daemon).is_empty());
    let bad = http.post(
        "/api/generate",
        &json!({ "model": MODEL, "keep_alive": "soon" }),
    );
    assert!(bad.expect(400).error().contains("soon"));
}

/// Packed weights take the place of the file's pages; they do not lie in memory beside them.
#[test]
fn an_answer_takes_little_more_memory_than_the_file() {
    /// Half floats of keys and values of 3 heads of 64, in 30 layers, in pages of 128 positions.
    const KV_BYTES_OF_A_PAGE: u64 = 2 * 2 * 3 * 64 * 30 * 128;
    let (_home, daemon) = with_starter();
    let before = daemon.resident_bytes();
    let answer = daemon
        .http()
        .post(
            "/api/generate",
            &json!({
                "model": MODEL, "prompt": "The sea", "raw": true, "stream": false,
                "options": { "num_predict": 40, "temperature": 0 },
            }),
        )
        .expect(200)
        .json();
    let counts = ["prompt_eval_count", "eval_count"].map(|key| answer[key].as_u64());
    let n_tokens: u64 = counts.iter().flatten().sum();
    assert!(n_tokens > 40, "{answer}");
    let grown = daemon.resident_bytes() - before;
    let file = fs::metadata(starter_model())
        .expect("the model is there")
        .len();
    let bound = file + file / 10 + n_tokens.div_ceil(128) * KV_BYTES_OF_A_PAGE;
    assert!(grown <= bound, "{grown} bytes for a file of {file}");
    assert!(grown >= file / 2, "{grown} bytes: where are the weights?");
}

#[test]
fn errors_say_what_and_what_to_do() {
    let (_home, daemon) = with_starter();
    let http = daemon.http();
    let post = |path: &str, body: Value| http.post(path, &body);
    for path in ["/api/generate", "/api/chat"] {
        let unknown = post(path, json!({ "model": "absent" })).expect(404);
        assert!(
            unknown
                .header("content-type")
                .starts_with("application/json")
        );
        assert!(
            unknown.error().contains("model 'absent' not found"),
            "{}",
            unknown.error()
        );
        assert!(
            post(path, json!({ "model": "no such!" }))
                .expect(400)
                .error()
                .contains("name")
        );
        let empty = http.send(&Request::new("POST", path)).expect(400);
        assert_eq!(empty.error(), "missing request body");
        for body in ["{", "[]", "{\"model\": 3}", "{\"model\":\"a\"} trailing {"] {
            let bad = http
                .send(&Request::new("POST", path).body(body))
                .expect(400);
            assert!(!bad.error().is_empty(), "{body}");
        }
    }
    assert_eq!(
        post("/api/chat", json!({})).expect(400).error(),
        "model is required"
    );
    assert!(
        post("/api/show", json!({ "model": "absent" }))
            .expect(404)
            .error()
            .contains("not found")
    );
    let copy = post(
        "/api/copy",
        json!({ "source": "absent", "destination": "b" }),
    )
    .expect(404);
    assert!(copy.error().contains("not found"));

    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": MODEL, "messages": messages, "tools": tools });
    assert!(
        post("/api/chat", body)
            .expect(400)
            .error()
            .contains("does not support tools")
    );
    let body = json!({ "model": MODEL, "messages": messages, "think": true });
    assert!(
        post("/api/chat", body)
            .expect(400)
            .error()
            .contains("does not support thinking")
    );

    // a client that sends other content types, nulls, capitals and its own keys is served
    let body = r#"{"Model":"smollm2:135m","prompt":"x","options":{"num_predict":1},"format":"","stream":false,
        "system":null,"template":"","own_key":[1]}"#;
    let request = Request::new("POST", "/api/generate")
        .header("Content-Type", "text/plain")
        .body(body);
    assert_eq!(http.send(&request).expect(200).json()["done"], true);
}

#[test]
fn a_client_that_hangs_up_frees_the_engine() {
    let (_home, daemon) = with_starter();
    let mut stream = daemon.http().open(&endless()).unwrap();
    for _ in 0..3 {
        assert_eq!(stream.next_json().unwrap().unwrap()["done"], false);
    }
    drop(stream);
    // unloading waits for running generations: it would not come in time if the endless one went on
    let unload = json!({ "model": MODEL, "keep_alive": 0 });
    daemon.http().post("/api/generate", &unload).expect(200);
    eventually("the engine is free", || loaded(&daemon).is_empty());
}

#[test]
fn several_clients_at_once() {
    let (_home, daemon) = with_starter();
    let one = |prompt: &'static str| {
        let http = daemon.http().clone();
        let body = json!({ "model": MODEL, "prompt": prompt, "stream": false,
            "options": { "temperature": 0, "num_predict": 12 } });
        move || http.post("/api/generate", &body).expect(200).json()["response"].clone()
    };
    let prompts = [
        "Count to ten.",
        "Name a colour.",
        "Say hello.",
        "What is water?",
    ];
    let alone: Vec<Value> = prompts.iter().map(|prompt| one(prompt)()).collect();
    let threads: Vec<_> = prompts
        .iter()
        .map(|prompt| thread::spawn(one(prompt)))
        .collect();
    let together: Vec<Value> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(together, alone, "who else is served changes no answer");
}

#[test]
fn shutdown_is_graceful_and_bounded() {
    for signal in [Signal::TERM, Signal::INT] {
        let (home, daemon) = with_starter();
        let mut stream = daemon.http().open(&endless()).unwrap();
        stream.next_json().unwrap();
        let status = daemon.end(signal, Duration::from_secs(30));
        assert_eq!(status.code(), Some(0), "{signal:?}");
        // the stream ended one way or the other, and was not left hanging
        while let Ok(Some(_)) = stream.next_line() {}
        assert_eq!(
            slm_tests::store_problems(&home.models()),
            Vec::<String>::new()
        );
    }
}

#[test]
fn who_asks_a_daemon_that_ends_is_told_so() {
    let (home, mut daemon) = with_starter();
    let until = |n_predict: u32| {
        Request::new("POST", "/api/generate").json(&json!({
            "model": MODEL, "prompt": "Count:", "raw": true,
            "options": { "num_predict": n_predict, "temperature": 50, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1 }
        }))
    };
    let mut short = daemon.http().open(&until(150)).unwrap();
    short.next_json().unwrap();
    let mut long = daemon.http().open(&endless()).unwrap();
    long.next_json().unwrap();
    daemon.signal(Signal::TERM);
    eventually("it ends", || daemon.log().contains("stopping"));

    let refused = daemon.http().send(&until(1));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("connection"), "close");
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("shutting down"), "{error}");
    assert_eq!(daemon.http().get("/health").status, 200);
    Running::start(home.slm_of_the_daemon(&["list"]), b"")
        .finish()
        .refused()
        .complains(&["shutting down", "slmd serve", "once it has ended"]);

    // what runs goes on, and is cut off with words when it takes too long
    let mut last = Value::Null;
    while let Ok(Some(line)) = short.next_json() {
        last = line;
    }
    assert_eq!(last["done"], true, "{last}");
    // another daemon waits for the address meanwhile
    let log = home.path().join("next.log");
    let mut next = home.slmd_command(&["serve"]);
    next.stderr(fs::File::create(&log).unwrap());
    let mut next = next.spawn().unwrap();
    let mut last = Value::Null;
    while let Ok(Some(line)) = long.next_json() {
        last = line;
    }
    assert_eq!(last, json!({"error": "the server is shutting down"}));
    assert_eq!(daemon.ended(Duration::from_secs(30)).code(), Some(0));
    eventually("the next one answers", || daemon.http().is_up());
    let waited = fs::read_to_string(&log).unwrap();
    let _ = (next.kill(), next.wait());
    assert!(
        waited.contains("waiting for the end of another slmd"),
        "{waited}"
    );
}

#[test]
fn a_command_starts_a_daemon_again_that_was_ending() {
    let (home, mut daemon) = with_starter();
    let mut long = daemon.http().open(&endless()).unwrap();
    long.next_json().unwrap();
    daemon.signal(Signal::TERM);
    eventually("it ends", || daemon.log().contains("stopping"));
    let list = home.slm_command(&["list"]);
    let list = Running::start(list, b"");
    eventually("it is waited for", || {
        daemon.http().get("/health").status == 200
    });
    drop(long);
    let list = list.finish().ok();
    assert!(list.stdout.contains(MODEL), "{list:?}");
    assert!(list.stderr.contains("slmd is stopping"), "{list:?}");
    assert_eq!(daemon.ended(Duration::from_secs(30)).code(), Some(0));
}

#[test]
fn a_taken_port_is_explained() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    // by another slmd, and by something else
    let port = home.address().port().to_string();
    home.slmd(&["serve"])
        .refused()
        .complains(&[&port, "SLM_HOST", "slmd"]);
    drop(daemon);
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = other.local_addr().unwrap();
    let mut serve = home.slmd_command(&["serve"]);
    serve.env("SLM_HOST", address.to_string());
    let port = address.port().to_string();
    Running::start(serve, b"")
        .finish()
        .refused()
        .complains(&[&port, "SLM_HOST"]);
}

#[test]
fn two_daemons_do_not_share_a_store() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    let mut second = home.slmd_command(&["serve"]);
    second.env("SLM_HOST", format!("127.0.0.1:{}", slm_tests::free_port()));
    let models = home.models().display().to_string();
    Running::start(second, b"")
        .finish()
        .refused()
        .complains(&[&models]);
}

#[test]
fn origins_and_hosts_are_checked() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let get = |name: &str, value: &str| {
        daemon
            .http()
            .send(&Request::new("GET", "/api/tags").header(name, value))
    };
    for origin in [
        "http://localhost:3000",
        "https://127.0.0.1",
        "app://x",
        "tauri://localhost",
    ] {
        let answer = get("Origin", origin).expect(200);
        assert!(
            !answer.header("access-control-allow-origin").is_empty(),
            "{origin}"
        );
    }
    for origin in ["https://evil.example", "http://localhost.evil.example"] {
        assert_eq!(get("Origin", origin).expect(403).body, b"", "{origin}");
    }
    let preflight = Request::new("OPTIONS", "/api/chat")
        .header("Origin", "http://localhost:3000")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type");
    let preflight = daemon.http().send(&preflight).expect(204);
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .to_lowercase()
            .contains("content-type")
    );

    let port = home.address().port();
    let fine = [
        "localhost",
        "127.0.0.1",
        "box.local",
        concat!("host.docker", ".internal"),
    ];
    for host in fine {
        get("Host", &format!("{host}:{port}")).expect(200);
    }
    for host in ["evil.example", "localhost.evil.example"] {
        assert_eq!(
            get("Host", &format!("{host}:{port}")).expect(403).body,
            b"",
            "{host}"
        );
    }
}

/// A model of an architecture that the engine does not know is stored and described, and refused by name when run.
#[test]
fn a_model_that_cannot_run_says_why() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let mut bytes = std::fs::read(golden_model("llama")).unwrap();
    // the first `llama` in the file is the value of general.architecture
    let start = bytes.windows(5).position(|w| w == b"llama").unwrap();
    bytes[start..start + 5].copy_from_slice(b"llamo");
    let file = home.write("other.gguf", bytes);
    home.create("other", &file);
    let answer = daemon
        .http()
        .post("/api/generate", &json!({ "model": "other", "prompt": "x" }));
    assert!(answer.status >= 400, "{}", answer.status);
    assert!(answer.error().contains("llamo"), "{}", answer.error());
    assert!(daemon.http().is_up());
}
