//! Care of the store: what a user does about damage, garbage, space and new versions, with the daemon and without.

use serde_json::{Value, json};
use slm_tests::{
    Daemon, FlakyProxy, Home, Registry, Running, TestModel, golden_model, sha256_hex,
    store_problems,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// A home with `tiny` from a registry, and the registry.
fn pulled() -> (Home, Registry, TestModel, String) {
    let registry = Registry::start();
    let model = TestModel::tiny(2 << 20);
    registry.push("library/tiny", "latest", &model);
    let home = Home::new();
    let name = format!("{}/library/tiny", registry.address());
    home.slmd(&["pull", &name]).ok();
    (home, registry, model, format!("{name}:latest"))
}

fn blob(home: &Home, bytes: &[u8]) -> PathBuf {
    let name = format!("blobs/sha256-{}", sha256_hex(bytes));
    home.models().join(name)
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).expect("the blob is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // in a new file: the old one may be linked
    fs::remove_file(path).expect("a temporary home is writable");
    fs::write(path, bytes).expect("a temporary home is writable");
}

#[track_caller]
fn is_whole(home: &Home) {
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
}

fn digest_of(home: &Home, name: &str) -> String {
    let df: Value =
        serde_json::from_str(&home.slm(&["outdated", "--format", "json"]).stdout).expect("JSON");
    let models = df["models"].as_array().expect("a list");
    let model = models.iter().find(|model| model["name"] == name);
    model.expect("it is listed")["digest"]
        .as_str()
        .expect("a text")
        .to_owned()
}

#[test]
fn damage_is_found_and_mended_with_and_without_a_daemon() {
    let (mut home, _registry, model, name) = pulled();
    let licence = blob(&home, &model.layers[0].1);
    let digest = format!("sha256:{}", sha256_hex(&model.layers[0].1));
    let whole = home.slmd(&["verify"]).ok();
    assert!(whole.stdout.contains("0 problems"), "{whole:?}");
    flip_a_bit(&licence);
    let found = home.slmd(&["verify"]).refused();
    assert_eq!(found.status.code(), Some(1));
    assert!(
        found.stdout.contains(&digest) && found.stdout.contains(&name),
        "{found:?}"
    );
    let mended = home.slmd(&["verify", "--repair"]).ok();
    assert!(mended.stdout.contains("repaired"), "{mended:?}");
    is_whole(&home);

    let daemon = Daemon::start(&mut home);
    assert!(home.slm(&["verify"]).ok().stdout.contains("all whole"));
    home.slm(&["cp", &name, "second"]).ok();
    fs::remove_file(&licence).unwrap();
    flip_a_bit(&blob(&home, &model.gguf));
    let found = home.slm(&["verify"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stdout.contains("missing sha256:"), "{found:?}");
    assert!(found.stdout.contains("damaged sha256:"), "{found:?}");
    assert!(found.stdout.contains("second:latest"), "{found:?}");
    let found = home.slm(&["verify", "second", "--format", "json"]);
    let found: Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["summary"]["models"], 1);
    // the raw stream: progress, problems, a last line
    let lines = daemon
        .http()
        .post("/api/verify", &json!({}))
        .expect(200)
        .lines();
    let last = lines.last().expect("a last line");
    assert_eq!(
        (&last["status"], &last["summary"]["problems"]),
        (&json!("damaged"), &json!(2))
    );
    assert!(
        lines
            .iter()
            .any(|line| line["completed"].as_u64() > Some(0))
    );
    let mended = home.slm(&["verify", "--repair"]).ok();
    assert!(
        mended.stdout.contains("2 repaired, all whole"),
        "{mended:?}"
    );
    is_whole(&home);
    let missing = home.slm(&["verify", "nothing"]).refused();
    missing.complains(&["nothing", "not found"]);
}

#[test]
fn what_cannot_be_mended_is_said_and_the_exit_code_is_1() {
    let (mut home, registry, model, name) = pulled();
    let _daemon = Daemon::start(&mut home);
    home.create("own", &golden_model("mistral"));
    let own = fs::read(golden_model("mistral")).unwrap();
    flip_a_bit(&blob(&home, &own));
    flip_a_bit(&blob(&home, &model.layers[0].1));
    drop(registry);
    let found = home.slm(&["verify", "--repair"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stdout.contains("2 not repaired"), "{found:?}");
    assert!(found.stdout.contains("create it again"), "{found:?}");
    assert!(found.stdout.contains(&name), "{found:?}");
    assert!(blob(&home, &own).exists(), "nothing is taken away");
}

#[test]
fn garbage_is_shown_then_removed_and_space_adds_up() {
    let (mut home, _registry, model, name) = pulled();
    let orphan = home
        .models()
        .join(format!("blobs/sha256-{}", sha256_hex(b"orphan")));
    fs::write(&orphan, b"orphan").unwrap();
    let partial = home
        .models()
        .join(format!("blobs/sha256-{}-partial", sha256_hex(b"partial")));
    fs::write(&partial, [1; 10_000]).unwrap();
    let young = home.slmd(&["gc"]).ok();
    assert!(
        young.stdout.contains("0 bytes would be removed"),
        "{young:?}"
    );
    let _daemon = Daemon::start(&mut home);
    home.slm(&["cp", &name, "second"]).ok();
    let df = home.slm(&["df", "--format", "json"]).ok().stdout;
    let df: Value = serde_json::from_str(&df).expect("JSON");
    assert_eq!(df["unreferenced"], 6);
    assert!(df["models"][1]["shared"].as_u64() > Some(model.size()));
    assert_eq!(df["models"][1]["own"], 0);
    let df = home.slm(&["df"]).ok().stdout;
    assert!(
        df.contains("second:latest") && df.contains("free on the disk"),
        "{df}"
    );
    let young = home.slm(&["gc"]).ok().stdout;
    assert_eq!(young, "nothing to remove\n");
    let shown = home.slm(&["gc", "--older-than", "0"]).ok().stdout;
    assert!(shown.contains("would be removed"), "{shown}");
    assert!(orphan.exists() && partial.exists());
    let removed = home.slm(&["gc", "--older-than", "0", "--yes"]).ok().stdout;
    assert!(removed.contains("\nremoved "), "{removed}");
    assert!(!orphan.exists() && !partial.exists());
    home.slm(&["gc", "--older-than", "never"]).refused();
    is_whole(&home);
}

#[test]
fn a_newer_version_is_noticed_fetched_and_taken_back() {
    let (mut home, registry, model, name) = pulled();
    let daemon = Daemon::start(&mut home);
    home.create("own", &golden_model("llama"));
    let none = home.slm(&["outdated"]).ok().stdout;
    assert_eq!(none, "no model is known to be outdated\n");
    home.slm(&["update", "--all"]).ok();
    home.slm(&["rollback", &name])
        .refused()
        .complains(&["no earlier version"]);
    let first = digest_of(&home, &name);

    let mut newer = model.clone();
    newer.layers[1].1 = b"You count ships.".to_vec();
    registry.push("library/tiny", "latest", &newer);
    let found = home.slm(&["outdated"]).ok().stdout;
    assert!(
        found.contains(&name) && found.contains("outdated"),
        "{found}"
    );
    assert!(!found.contains("own"), "{found}");
    let all = home.slm(&["outdated", "--all"]).ok().stdout;
    assert!(all.contains("own") && all.contains("local"), "{all}");
    home.slm(&["update", "--all"]).ok();
    let system = |home: &Home| home.slm(&["show", "--system", &name]).ok().stdout;
    assert_eq!(system(&home).trim(), "You count ships.");
    let second = digest_of(&home, &name);
    assert_ne!(first, second);
    for (digest, text) in [(&first, "boats"), (&second, "ships"), (&first, "boats")] {
        home.slm(&["rollback", &name]).ok();
        assert_eq!(digest_of(&home, &name), **digest);
        assert!(system(&home).contains(text));
        is_whole(&home);
    }
    home.slm(&["update", &name]).ok();
    assert_eq!(digest_of(&home, &name), second);
    // of a copy, too
    home.slm(&["rollback", &name]).ok();
    home.slm(&["cp", &name, "second"]).ok();
    home.slm(&["update", "second"]).ok();
    assert_eq!(digest_of(&home, "second:latest"), second);

    // what is left of the earlier version goes when that is asked for
    let shown = home.slm(&["gc", "--history"]).ok().stdout;
    assert!(
        shown.contains("version ") && shown.contains(&name),
        "{shown}"
    );
    home.slm(&["gc", "--history", "-f"]).ok();
    home.slm(&["rollback", &name]).refused();
    is_whole(&home);

    home.slm(&["update", "own"])
        .refused()
        .complains(&["was made here"]);
    home.slm(&["update", "nothing"])
        .refused()
        .complains(&["not found"]);
    // offline
    drop(registry);
    let offline = home.slm(&["outdated"]);
    assert_eq!(offline.status.code(), Some(1));
    assert!(offline.stdout.contains("unreachable"), "{offline:?}");
    assert!(offline.stderr.contains("cannot reach"), "{offline:?}");
    home.slm(&["update", &name])
        .refused()
        .complains(&["cannot reach", "still there"]);
    assert_eq!(digest_of(&home, &name), second);
    drop(daemon);
}

#[test]
fn where_a_model_came_from_is_shown_when_asked() {
    let (mut home, _registry, _, name) = pulled();
    let daemon = Daemon::start(&mut home);
    let plain = json!({ "model": name });
    let plain = daemon.http().post("/api/show", &plain).expect(200).json();
    assert!(plain.get("provenance").is_none(), "only when asked for");
    let asked = json!({ "model": name, "provenance": true });
    let shown = daemon.http().post("/api/show", &asked).expect(200).json();
    let noted = &shown["provenance"];
    assert_eq!(noted["via"], "pull");
    assert_eq!(noted["source"], name);
    assert_eq!(noted["revision"], digest_of(&home, &name));
    let modelfile = home.write("Modelfile", format!("FROM {name}\nSYSTEM x\n"));
    home.slm(&["create", "child", "-f", &modelfile.display().to_string()])
        .ok();
    home.slm(&["cp", "child", "copy"]).ok();
    home.slm(&["rm", "child"]).ok();
    let text = home.slm(&["show", "--provenance", "copy"]).ok().stdout;
    let parent = format!("{name}@{}", digest_of(&home, &name));
    assert!(text.contains("create") && text.contains(&parent), "{text}");
    home.create("own", &golden_model("llama"));
    let text = home.slm(&["show", "--provenance", "own"]).ok().stdout;
    let gguf = fs::read(golden_model("llama")).unwrap();
    assert!(text.contains(&sha256_hex(&gguf)), "{text}");
}

/// Two daemons, and commands beside one: politely locked out, or safe.
#[test]
fn two_on_one_store() {
    let (mut home, registry, _, name) = pulled();
    let daemon = Daemon::start(&mut home);
    let port = format!("127.0.0.1:{}", slm_tests::free_port());
    let second = home.slmd(&["serve", "--host", &port]).refused();
    second.complains(&["in use by another process with the id", "SLM_MODELS"]);
    // Commands of another address do not find the daemon, and work beside it.
    registry.push("library/other", "latest", &TestModel::tiny(1 << 20));
    let other = format!("{}/library/other", registry.address());
    let beside = |arguments: &[&str]| {
        let mut command = home.slmd_command(arguments);
        command.env("SLM_HOST", &port);
        Running::start(command, b"")
    };
    let pulls: Vec<Running> = (0..3).map(|_| beside(&["pull", &other])).collect();
    let through = home.slm_command(&["pull", &other]);
    let through = Running::start(through, b"");
    let gc = beside(&["gc", "--older-than", "0", "--history", "--yes"]);
    for pull in pulls {
        pull.finish().ok();
    }
    through.finish().ok();
    gc.finish().ok();
    beside(&["verify"]).finish().ok();
    is_whole(&home);
    let list = home.slm(&["list"]).ok().stdout;
    assert!(list.contains(&name) && list.contains(&other), "{list}");
    drop(daemon);
    // The dead keep nobody out.
    let daemon = Daemon::start(&mut home);
    daemon.end(rustix::process::Signal::TERM, Duration::from_secs(20));
}

/// What a pull has, and what it still lacks, is nobody's garbage: neither for this daemon nor for a process beside it.
#[test]
fn garbage_is_collected_beside_pulls_that_go_on() {
    let registry = Registry::start();
    let model = TestModel::tiny(2 << 20);
    registry.push("library/tiny", "latest", &model);
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let http = daemon.http();
    // a package too, of which more than its files is on the disk for a while
    home.create("base", &golden_model("llama"));
    let create = json!({
        "model": "m", "from": "base", "license": "l".repeat(5 << 20), "stream": false
    });
    http.post("/api/create", &create).expect(200);
    let car = format!("{}/library/car", registry.address());
    home.slm(&["push", "m", &car, "--format", "modelcar"]).ok();
    for name in ["m", "base"] {
        home.slm(&["rm", name]).ok();
    }
    let gc = json!({ "remove": true, "older_than": 0, "history": true });
    for model in ["tiny", "car"] {
        for with_daemon in [true, false] {
            let proxy = FlakyProxy::start(registry.address());
            proxy.limit_rate(8 << 20);
            let name = format!("http://{}/library/{model}", proxy.address());
            let arguments = ["pull", "--insecure", &name];
            let is_done = AtomicBool::new(false);
            let n_collections = thread::scope(|scope| {
                let collecting = scope.spawn(|| {
                    let mut n_collections = 0;
                    while !is_done.load(Ordering::SeqCst) {
                        http.post("/api/gc", &gc).expect(200);
                        n_collections += 1;
                    }
                    n_collections
                });
                let command = match with_daemon {
                    true => home.slm_command(&arguments),
                    false => home.slmd_command(&arguments),
                };
                let pulled = Running::start(command, b"").finish();
                is_done.store(true, Ordering::SeqCst);
                let n_collections = collecting.join().expect("it only asks");
                pulled.ok();
                n_collections
            });
            println!("{n_collections} collections beside a pull of {model}");
            assert!(n_collections > 0);
            is_whole(&home);
            let manifest = format!("manifests/{}/library/{model}/latest", proxy.address());
            assert!(home.models().join(manifest).exists());
            let n_delivered = proxy.delivered();
            assert!(
                n_delivered < 7 << 20,
                "{model}: {n_delivered} bytes: something came twice"
            );
            home.slm(&["rm", &name]).ok();
            http.post("/api/gc", &gc).expect(200);
        }
    }
}
