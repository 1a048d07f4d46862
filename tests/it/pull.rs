//! Pulling from a real registry over good and bad networks, with the daemon up and down.

use serde_json::{Value, json};
use slm_tests::{
    Daemon, FlakyProxy, Home, Registry, Running, TestModel, sha256_hex, store_problems,
};
use std::{fs, net::SocketAddr};

const MB: usize = 1 << 20;

fn name_at(address: SocketAddr) -> String {
    format!("http://{address}/library/tiny")
}

/// The manifest of `tiny` from the registry at `address`.
fn stored_manifest(home: &Home, address: SocketAddr) -> Option<Vec<u8>> {
    let path = format!("manifests/{address}/library/tiny/latest");
    fs::read(home.models().join(path)).ok()
}

#[track_caller]
fn is_whole(home: &Home) {
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
}

#[test]
fn through_the_daemon_with_progress() {
    let registry = Registry::start();
    let model = TestModel::tiny(3 * MB);
    let manifest = registry.push("library/tiny", "latest", &model);
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let answer = daemon.http().post(
        "/api/pull",
        &json!({ "model": name_at(registry.address()), "insecure": true }),
    );
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines = answer.expect(200).lines();
    let statuses: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["status"].as_str())
        .collect();
    assert_eq!(statuses.first(), Some(&"pulling manifest"), "{statuses:?}");
    let tail = ["verifying sha256 digest", "writing manifest", "success"];
    assert!(statuses.ends_with(&tail), "{statuses:?}");
    for bytes in std::iter::once(&model.gguf).chain(model.layers.iter().map(|(_, b)| b)) {
        check_progress(&lines, bytes);
    }
    assert_eq!(
        stored_manifest(&home, registry.address()),
        Some(manifest),
        "verbatim"
    );
    is_whole(&home);

    let tags = daemon.http().get("/api/tags").json();
    let name = format!("{}/library/tiny:latest", registry.address());
    assert_eq!(tags["models"][0]["name"], name);
    let shown = daemon
        .http()
        .post("/api/show", &json!({ "model": name }))
        .expect(200)
        .json();
    assert_eq!(shown["system"], "You count boats.");

    // not streamed: one object
    let body = json!({ "model": name_at(registry.address()), "insecure": true, "stream": false });
    let answer = daemon.http().post("/api/pull", &body).expect(200);
    assert_eq!(answer.json(), json!({ "status": "success" }));
}

/// The progress of one blob never shrinks and ends at its size.
#[track_caller]
fn check_progress(lines: &[Value], bytes: &[u8]) {
    let digest = format!("sha256:{}", sha256_hex(bytes));
    let of_blob: Vec<&Value> = lines
        .iter()
        .filter(|line| line["digest"] == digest)
        .collect();
    assert!(!of_blob.is_empty(), "no progress of {digest}");
    let mut completed = 0;
    for line in &of_blob {
        assert_eq!(line["total"], bytes.len(), "{line}");
        let now = line["completed"].as_u64().unwrap_or(0);
        assert!(
            now >= completed && now <= bytes.len() as u64,
            "{line} after {completed}"
        );
        completed = now;
    }
    assert_eq!(completed, bytes.len() as u64);
}

#[test]
fn with_the_daemon_up_and_down_and_blobs_that_are_there() {
    let registry = Registry::start();
    let model = TestModel::tiny(MB);
    registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let name = name_at(proxy.address());

    // down: slmd pulls by itself
    let mut home = Home::new();
    home.slmd(&["pull", "--insecure", &name]).ok();
    assert!(proxy.take_delivered() > model.size());
    assert!(stored_manifest(&home, proxy.address()).is_some());
    is_whole(&home);

    // up: slmd pull and slm pull go through the daemon, and carry nothing twice
    let daemon = Daemon::start(&mut home);
    for program in ["slmd", "slm"] {
        let arguments = ["pull", "--insecure", &name];
        let run = if program == "slm" {
            home.slm(&arguments)
        } else {
            home.slmd(&arguments)
        };
        run.ok();
        let delivered = proxy.take_delivered();
        assert!(
            delivered < 20_000,
            "{program}: {delivered} bytes for blobs that are there"
        );
    }
    let tags = daemon.http().get("/api/tags").json();
    assert_eq!(tags["models"].as_array().map(Vec::len), Some(1));

    // a new version brings its new layer only; the layer that only the earlier version uses goes with that
    let mut newer = model.clone();
    newer.layers[1].1 = b"You count ships.".to_vec();
    registry.push("library/tiny", "latest", &newer);
    home.slm(&["pull", "--insecure", &name]).ok();
    assert!(proxy.take_delivered() < 30_000);
    let blob = |bytes: &[u8]| {
        home.models()
            .join(format!("blobs/sha256-{}", sha256_hex(bytes)))
    };
    assert!(blob(b"You count ships.").exists());
    assert!(blob(b"You count boats.").exists(), "for a rollback");
    newer.layers[1].1 = b"You count trains.".to_vec();
    registry.push("library/tiny", "latest", &newer);
    home.slm(&["pull", "--insecure", &name]).ok();
    assert!(blob(b"You count ships.").exists());
    assert!(
        !blob(b"You count boats.").exists(),
        "the replaced layer is left behind"
    );
    is_whole(&home);
}

#[test]
fn a_broken_connection_is_resumed() {
    let registry = Registry::start();
    let model = TestModel::tiny(12 * MB);
    registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let name = name_at(proxy.address());
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);

    // the pull is ended in the middle of the large layer
    proxy.limit_rate(6 * MB as u64);
    let pull = Running::start(home.slm_command(&["pull", "--insecure", &name]), b"");
    while proxy.delivered() < 8 * MB as u64 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(pull);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(stored_manifest(&home, proxy.address()).is_none());
    is_whole(&home);
    let first = proxy.take_delivered();

    // the next one carries what was missing, not everything again
    proxy.heal();
    home.slm(&["pull", "--insecure", &name]).ok();
    let second = proxy.take_delivered();
    assert!(
        first + second < model.size() + 5 * MB as u64,
        "{first} + {second} bytes for a model of {}",
        model.size()
    );
    assert!(stored_manifest(&home, proxy.address()).is_some());
    is_whole(&home);
}

#[test]
fn a_connection_that_breaks_for_a_moment_does_not_fail_the_pull() {
    let registry = Registry::start();
    let model = TestModel::tiny(6 * MB);
    registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let home = Home::new();
    proxy.limit_rate(8 * MB as u64);
    proxy.cut_after(3 * MB as u64);
    let name = name_at(proxy.address());
    let pull = Running::start(home.slmd_command(&["pull", "--insecure", &name]), b"");
    while proxy.delivered() < 3 * MB as u64 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    proxy.heal();
    pull.finish().ok();
    assert!(proxy.take_delivered() < model.size() + 3 * MB as u64);
    is_whole(&home);
}

#[test]
fn damaged_bytes_are_refused() {
    let registry = Registry::start();
    let model = TestModel::tiny(MB);
    registry.push("library/tiny", "latest", &model);
    registry.damage_blob(&model.layers[0].1);
    let mut home = Home::new();
    let name = name_at(registry.address());
    // down and up
    home.slmd(&["pull", "--insecure", &name])
        .refused()
        .complains(&["digest", "pull"]);
    is_whole(&home);
    let daemon = Daemon::start(&mut home);
    home.slm(&["pull", "--insecure", &name])
        .refused()
        .complains(&["digest"]);
    assert!(stored_manifest(&home, registry.address()).is_none());
    assert_eq!(
        daemon.http().get("/api/tags").json(),
        json!({ "models": [] })
    );
    is_whole(&home);

    // the damaged part was discarded: once the registry is mended, the same command succeeds
    registry.damage_blob(&model.layers[0].1);
    home.slm(&["pull", "--insecure", &name]).ok();
    is_whole(&home);
}

#[test]
fn unknown_models_and_hosts_are_named() {
    let registry = Registry::start();
    let mut home = Home::new();
    let absent = format!("http://{}/library/absent", registry.address());
    home.slmd(&["pull", "--insecure", &absent])
        .refused()
        .complains(&["absent"]);

    let daemon = Daemon::start(&mut home);
    home.slm(&["pull", "--insecure", &absent])
        .refused()
        .complains(&["not"]);
    let body = json!({ "model": absent, "insecure": true });
    let lines = daemon.http().post("/api/pull", &body).lines();
    let error = lines.last().unwrap()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(error.contains("file does not exist"), "{lines:?}");

    // nobody listens there
    let closed = slm_tests::free_port();
    let nobody = format!("http://127.0.0.1:{closed}/library/tiny");
    let complaint = [format!("127.0.0.1:{closed}")];
    let words: Vec<&str> = complaint.iter().map(String::as_str).collect();
    home.slm(&["pull", "--insecure", &nobody])
        .refused()
        .complains(&words);
    daemon.kill();
    home.slmd(&["pull", "--insecure", &nobody])
        .refused()
        .complains(&words);

    home.slmd(&["pull", "bad name!"])
        .refused()
        .complains(&["name"]);
    is_whole(&home);
}

#[test]
fn a_full_disk_is_named_and_the_store_stays_whole() {
    let registry = Registry::start();
    let model = TestModel::tiny(12 * MB);
    registry.push("library/tiny", "latest", &model);
    let mut home = Home::new();
    let name = name_at(registry.address());
    let daemon = Daemon::start_on_a_small_disk(&mut home);
    home.slm(&["pull", "--insecure", &name])
        .refused()
        .complains(&["cannot write"]);
    assert!(stored_manifest(&home, registry.address()).is_none());
    is_whole(&home);
    assert!(daemon.http().is_up());
    // what fits still works, and with room again the pull goes on
    home.create("boats", &slm_tests::golden_model("llama"));
    daemon.kill();
    let _daemon = Daemon::start(&mut home);
    home.slm(&["pull", "--insecure", &name]).ok();
    is_whole(&home);
}
