//! Many requests and several models on one machine: memory that was promised, contexts, queues, swaps.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, golden_model, starter_model};
use std::{
    thread,
    time::{Duration, Instant},
};

const MODEL: &str = "smollm2:135m";

fn with_starter(variables: &[(&str, &str)]) -> (Home, Daemon) {
    let mut home = Home::new();
    let daemon = Daemon::start_with(&mut home, variables);
    home.create(MODEL, &starter_model());
    (home, daemon)
}

fn models(daemon: &Daemon) -> Vec<Value> {
    let ps = daemon.http().get("/api/ps").expect(200).json();
    ps["models"].as_array().expect("a list").clone()
}

fn ask(prompt: &str, options: Value) -> Value {
    json!({ "model": MODEL, "prompt": prompt, "raw": true, "stream": false, "options": options })
}

/// `n` words, about a token each.
fn words(n: usize) -> String {
    let few = ["sea", "wind", "ship", "old", "day", "boy", "fish"];
    (0..n)
        .map(|i| format!(" {}", few[i * i % few.len()]))
        .collect()
}

/// Another context is no reason to load anew; what does not fit says so with both counts, unless the request lets
/// something go, and then the answer says how much went.
#[test]
fn a_context_is_a_requests_own() {
    let (_home, daemon) = with_starter(&[]);
    let http = daemon.http();
    let generate = |body: &Value| http.post("/api/generate", body);
    let context = |n: usize| json!({ "num_ctx": n, "num_predict": 4, "temperature": 0 });
    for n in [512, 4096, 64, 1024] {
        generate(&ask("The sea", context(n))).expect(200);
    }
    assert_eq!(
        daemon.log().matches(" loaded ").count(),
        1,
        "{}",
        daemon.log()
    );
    assert_eq!(models(&daemon)[0]["context_length"], 4096);

    let long = words(300);
    let refused = generate(&ask(&long, context(128))).expect(400).error();
    assert!(
        refused.contains("it has 3") && refused.contains("context size of 128 tokens"),
        "{refused}"
    );
    let mut body = ask(&long, context(128));
    body["truncate"] = true.into();
    let cut = generate(&body).expect(200).json();
    let [left, gone] = ["prompt_eval_count", "prompt_truncated_count"].map(|k| cut[k].as_u64());
    assert!(left.is_some_and(|n| n < 128), "{cut}");
    assert!(gone.is_some_and(|n| n > 150), "{cut}");
    // of a conversation whole messages go
    let messages: Vec<Value> = (0..9)
        .map(|i| json!({ "role": if i % 2 == 0 { "user" } else { "assistant" }, "content": format!("{i}{}", words(40)) }))
        .collect();
    let chat = json!({ "model": MODEL, "messages": messages, "stream": false, "truncate": true, "options": context(256) });
    let cut = http.post("/api/chat", &chat).expect(200).json();
    assert!(
        cut["prompt_truncated_count"]
            .as_u64()
            .is_some_and(|n| n > 100),
        "{cut}"
    );

    // an answer ends where the context does, unless older tokens may make room
    let endless = json!({ "num_ctx": 96, "num_predict": 200, "temperature": 50, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1 });
    let mut body = ask("The old man and the sea.", endless);
    let full = generate(&body).expect(200).json();
    assert_eq!(full["done_reason"], "length");
    assert!(
        full["eval_count"].as_u64().is_some_and(|n| n < 96),
        "{full}"
    );
    body["shift"] = true.into();
    let shifted = generate(&body).expect(200).json();
    assert_eq!(shifted["eval_count"], 200, "{shifted}");
    assert!(
        shifted["context_shifted_count"]
            .as_u64()
            .is_some_and(|n| n > 90),
        "{shifted}"
    );
}

/// Sixteen long answers at once: the process stays within what it was given.
#[test]
fn memory_is_a_promise() {
    const MEMORY: u64 = 300 << 20;
    let (_home, daemon) = with_starter(&[("SLM_MEMORY", "300MiB")]);
    let http = daemon.http();
    let prompt = words(400);
    let most = thread::scope(|scope| {
        let running: Vec<_> = (0..16)
            .map(|i| {
                let body = ask(
                    &format!("{i}{prompt}"),
                    json!({ "num_predict": 30, "num_ctx": 600, "seed": i }),
                );
                scope.spawn(move || http.post("/api/generate", &body).expect(200).json())
            })
            .collect();
        let mut most = 0;
        while running.iter().any(|thread| !thread.is_finished()) {
            most = daemon.resident_bytes().max(most);
            thread::sleep(Duration::from_millis(5));
        }
        for thread in running {
            let answer = thread.join().expect("it was answered");
            assert!(answer["eval_count"].as_u64().is_some_and(|n| n > 0));
        }
        most
    });
    assert!(most <= MEMORY, "{most} of {MEMORY} bytes");
    let memory = &models(&daemon)[0]["memory"];
    let promised: u64 = ["weights", "buffers", "kv_limit"]
        .iter()
        .filter_map(|key| memory[key].as_u64())
        .sum();
    assert!(promised <= MEMORY, "{memory}");

    let small = &[("SLM_MEMORY", "120MiB")];
    let (_home, daemon) = with_starter(small);
    let refused = daemon.http().post("/api/generate", &ask("x", json!({})));
    let refused = refused.expect(500).error();
    assert!(refused.contains("requires more system memory"), "{refused}");
    assert!(
        refused.contains("would fit") || refused.contains("use a smaller one"),
        "{refused}"
    );
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let (_home, daemon) = with_starter(&[("SLM_NUM_PARALLEL", "1"), ("SLM_MAX_QUEUE", "1")]);
    let http = daemon.http();
    http.post("/api/generate", &ask("x", json!({ "num_predict": 1 })))
        .expect(200);
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..6)
            .map(|i| {
                let body = ask(&words(200), json!({ "num_predict": 40, "seed": i }));
                scope.spawn(move || http.post("/api/generate", &body))
            })
            .collect();
        asked
            .into_iter()
            .map(|t| t.join().expect("an answer"))
            .collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 200);
    assert!(
        served.len() >= 2 && !refused.is_empty(),
        "{} served",
        served.len()
    );
    for answer in refused {
        let answer = answer.expect(503);
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!(seconds >= 1);
        assert!(answer.error().contains("server busy"));
    }
}

/// The old model answers to the end while the new one is made ready, and goes then.
#[test]
fn a_swap_drops_no_request() {
    let (home, daemon) = with_starter(&[]);
    home.create("tiny", &golden_model("llama"));
    let http = daemon.http();
    let answer = thread::scope(|scope| {
        let body = ask(&words(300), json!({ "num_predict": 60, "temperature": 1 }));
        let running = scope.spawn(move || http.post("/api/generate", &body));
        let deadline = Instant::now() + Duration::from_secs(30);
        let is_running = || {
            let models = models(&daemon);
            models
                .first()
                .is_some_and(|m| m["requests"]["running"] == 1)
        };
        while !is_running() {
            assert!(Instant::now() < deadline, "it never ran");
            thread::sleep(Duration::from_millis(5));
        }
        let swapped = home.slm(&["swap", "tiny", "--pin"]).ok();
        assert!(
            swapped
                .stderr
                .contains("'tiny' is ready; released smollm2:135m"),
            "{}",
            swapped.stderr
        );
        running.join().expect("an answer")
    });
    assert_eq!(answer.expect(200).json()["eval_count"], 60);
    let deadline = Instant::now() + Duration::from_secs(30);
    while models(&daemon).len() > 1 {
        assert!(Instant::now() < deadline, "the other stayed");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(models(&daemon)[0]["pinned"], true);
    home.slm(&["swap", "absent"]).refused();
}
