//! The daemon under everything at once for a while: answers read to the end, read in part or not at all, vectors, swaps,
//! models that are let go, looks at the lists. Then it must be as it was.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, Http, Request, golden_model, starter_model};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const MEMORY: u64 = 500 << 20;
/// What the process may keep beside models, once they are gone.
const SLACK: u64 = 64 << 20;
const N_CLIENTS: u64 = 6;
/// Models that write, and one that makes vectors.
const WRITERS: [&str; 4] = ["starter", "tiny", "windows", "hybrid"];
const EMBEDDER: &str = "vectors";

#[test]
fn everything_at_once_for_a_moment() {
    soak(Duration::from_secs(10));
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn everything_at_once_for_twenty_minutes() {
    soak(Duration::from_secs(20 * 60));
}

/// How often clients did what.
#[derive(Debug, Default)]
struct Deeds {
    answers: AtomicUsize,
    compared: AtomicUsize,
    hung_up: AtomicUsize,
    refused: AtomicUsize,
    vectors: AtomicUsize,
    swaps: AtomicUsize,
}

fn soak(time: Duration) {
    let mut home = Home::new();
    let variables = [
        ("SLM_MEMORY", "500MiB"),
        ("SLM_NUM_PARALLEL", "4"),
        ("SLM_MAX_QUEUE", "4"),
    ];
    let daemon = Daemon::start_with(&mut home, &variables);
    home.create("starter", &starter_model());
    home.create("tiny", &golden_model("llama"));
    home.create("windows", &golden_model("gemma3"));
    home.create("hybrid", &golden_model("qwen35"));
    home.create(EMBEDDER, &golden_model("bert-mean"));
    let http = daemon.http();
    let expected: Vec<(Value, Value)> = WRITERS
        .iter()
        .flat_map(|model| (0..3).map(|i| ask(model, &prompt(i, 7 * i as usize + 3), 12, 0)))
        .map(|body| (body.clone(), answer(http, &body)))
        .collect();
    let_all_go(http);
    // what a burst leaves open counts as well
    let before = (daemon.resident_bytes(), daemon.n_open_files());

    let deeds = Deeds::default();
    let is_over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let clients: Vec<_> = (0..N_CLIENTS)
            .map(|seed| {
                let (deeds, is_over, expected) = (&deeds, &is_over, &expected);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    while !is_over.load(Relaxed) {
                        act(http, &mut random, expected, deeds);
                    }
                })
            })
            .collect();
        let began = Instant::now();
        let mut most = 0;
        while began.elapsed() < time && !clients.iter().any(|client| client.is_finished()) {
            most = daemon.resident_bytes().max(most);
            thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Relaxed);
        for client in clients {
            client.join().expect("no client has to complain");
        }
        most
    });
    assert!(most <= MEMORY, "{most} of {MEMORY} bytes, {deeds:?}");
    assert!(deeds.answers.load(Relaxed) > 0 && deeds.hung_up.load(Relaxed) > 0);

    // nobody is left in a queue, and nothing is written for those who left
    eventually("all is quiet", || {
        models(http).iter().all(|model| {
            let requests = &model["requests"];
            requests["running"] == 0 && requests["waiting"] == 0
        })
    });
    for (body, written) in &expected {
        assert_eq!(&answer(http, body), written);
    }
    let_all_go(http);
    let kept = || (daemon.resident_bytes(), daemon.n_open_files());
    eventually(&format!("bytes and files are {before:?} again"), || {
        let (bytes, files) = kept();
        bytes < before.0 + SLACK && files <= before.1 + 4
    });
}

/// One thing that clients do.
fn act(http: &Http, random: &mut fastrand::Rng, expected: &[(Value, Value)], deeds: &Deeds) {
    let count = |deed: &AtomicUsize| deed.fetch_add(1, Relaxed);
    let model = WRITERS[random.usize(..WRITERS.len())];
    match random.u32(..100) {
        0..20 => {
            let (body, written) = &expected[random.usize(..expected.len())];
            let answer = http.post("/api/generate", body);
            if answer.status == 503 {
                assert!(answer.header("retry-after").parse::<u64>().is_ok());
                count(&deeds.refused);
                return;
            }
            assert_eq!(&told(&answer.expect(200).json()), written);
            count(&deeds.compared);
        }
        20..50 => {
            let body = any_question(model, random);
            let mut stream = match http.open(&Request::new("POST", "/api/generate").json(&body)) {
                Ok(stream) => stream,
                Err(error) => panic!("{error}"),
            };
            if stream.status == 503 {
                count(&deeds.refused);
                return;
            }
            assert_eq!(stream.status, 200, "{body}");
            let mut last = String::new();
            while let Some(line) = stream.next_line().expect("a stream ends as it should") {
                last = line;
            }
            let last: Value = serde_json::from_str(&last).expect("a line of JSON");
            assert_eq!(last["done"], true, "{last}");
            count(&deeds.answers);
        }
        50..75 => {
            // some before anything comes, some in the middle
            let body = any_question(model, random);
            let request = Request::new("POST", "/v1/completions").json(&body);
            if let Ok(mut stream) = http.open(&request) {
                for _ in 0..random.usize(..20) {
                    if !matches!(stream.next_line(), Ok(Some(_))) {
                        break;
                    }
                }
            }
            count(&deeds.hung_up);
        }
        75..85 => {
            let texts: Vec<String> = (0..random.u64(1..4)).map(|i| prompt(i, 20)).collect();
            let body = json!({ "model": EMBEDDER, "input": texts });
            let answer = http.post("/api/embed", &body);
            if answer.status == 503 {
                count(&deeds.refused);
                return;
            }
            let made = answer.expect(200).json();
            assert_eq!(
                made["embeddings"].as_array().map(Vec::len),
                Some(texts.len())
            );
            count(&deeds.vectors);
        }
        85..88 => {
            let swapped = http.post("/api/swap", &json!({ "model": model }));
            assert!([200, 503].contains(&swapped.status), "{}", swapped.status);
            count(&deeds.swaps);
        }
        88..91 => {
            let gone = json!({ "model": model, "keep_alive": 0 });
            http.post("/api/generate", &gone).expect(200);
        }
        _ => {
            for path in ["/api/tags", "/api/ps", "/metrics", "/api/status"] {
                http.get(path).expect(200);
            }
        }
    }
}

fn any_question(model: &str, random: &mut fastrand::Rng) -> Value {
    let text = prompt(random.u64(..8), random.usize(1..150));
    let mut body = ask(model, &text, random.u32(1..60), random.u64(..100));
    body["stream"] = json!(true);
    if random.bool() {
        body["options"]["temperature"] = json!(0.9);
    }
    body
}

/// A question of both dialects.
fn ask(model: &str, prompt: &str, n_tokens: u32, seed: u64) -> Value {
    json!({
        "model": model, "prompt": prompt, "raw": true, "stream": false, "max_tokens": n_tokens,
        "options": { "num_predict": n_tokens, "temperature": 0, "seed": seed }
    })
}

/// `n` words; those of the same number begin alike.
fn prompt(number: u64, n: usize) -> String {
    let few = ["sea", "wind", "ship", "old", "day", "boy", "fish"];
    let mut random = fastrand::Rng::with_seed(number);
    let words: Vec<&str> = (0..n).map(|_| few[random.usize(..few.len())]).collect();
    words.join(" ")
}

#[track_caller]
fn answer(http: &Http, body: &Value) -> Value {
    told(&http.post("/api/generate", body).expect(200).json())
}

/// What must be the same each time.
fn told(answer: &Value) -> Value {
    json!([
        answer["response"],
        answer["eval_count"],
        answer["done_reason"]
    ])
}

fn models(http: &Http) -> Vec<Value> {
    let ps = http.get("/api/ps").expect(200).json();
    ps["models"].as_array().expect("a list").clone()
}

fn let_all_go(http: &Http) {
    for model in WRITERS.iter().chain([&EMBEDDER]) {
        http.post("/api/generate", &json!({ "model": model, "keep_alive": 0 }))
            .expect(200);
    }
    eventually("every model goes", || models(http).is_empty());
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not yet: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
