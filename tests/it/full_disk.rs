//! A daemon whose disk becomes full: each request ends with a clean error, nothing half-written shows, and it goes on.
//!
//! The test starts this program again in a mount namespace of its own, where a small filesystem in memory can be mounted
//! over the models directory without being root; it says so where that is not to be had.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use serde_json::{Value, json};
use slm_tests::{
    Answer, Daemon, FlakyProxy, Home, Http, Registry, Repository, Request, TestModel, golden_model,
    sha256_hex, store_problems,
};
use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const CHILD: &str = "SLM_TEST_FULL_DISK";
const PAGE: usize = 4096;
const MB: usize = 1 << 20;

#[test]
fn a_daemon_on_a_full_disk() {
    in_namespace("child");
}

#[test]
fn a_disk_that_becomes_full_meanwhile() {
    in_namespace("child_whose_disk_fills_up");
}

/// Runs the ignored test `name` of this file where it may mount what it likes.
fn in_namespace(name: &str) {
    for namespaces in ["-rm", "-m"] {
        let mut probe = Command::new("unshare");
        probe.args([namespaces, "mount", "-t", "tmpfs", "none", "/mnt"]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut command = Command::new("unshare");
        command
            .arg(namespaces)
            .arg(env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg(format!("full_disk::{name}"))
            .env(CHILD, "1");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{text}");
        return;
    }
    println!("skipped: neither `unshare -rm` nor `unshare -m` can mount a tmpfs here");
}

/// Fills the disk up to `room` bytes.
fn fill(filler: &Path, room: usize) {
    let mut file = File::create(filler).expect("a name needs no room");
    while file.write_all(&[0; PAGE]).is_ok() {}
    let len = file.metadata().expect("it is open").len();
    file.set_len(len.saturating_sub(room as u64))
        .expect("less is always possible");
}

/// Whether it went well; if not, it says what to do about the disk.
#[track_caller]
fn is_done(answer: &Answer, when: &str) -> bool {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status == 200 && !body.contains("\"error\"") {
        return true;
    }
    assert!(
        body.contains("free disk space"),
        "{when}: {} {body}",
        answer.status
    );
    false
}

/// A home whose models are on a disk of `size`.
fn small_home(size: &str) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
        .arg(home.models())
        .status();
    assert!(mount.unwrap().success());
    home
}

/// Makes a model of `tiny` with so many bytes of licence.
fn derive(http: &Http, name: &str, n_bytes: usize) {
    let letters = (0..n_bytes).map(|i| char::from(b'a' + ((i ^ (i >> 9)) % 26) as u8));
    let made = http.post(
        "/api/create",
        &json!({"model": name, "from": "tiny", "license": letters.collect::<String>(), "stream": false}),
    );
    made.expect(200);
}

fn delete(http: &Http, name: &str) {
    let request = Request::new("DELETE", "/api/delete");
    http.send(&request.json(&json!({ "model": name })));
}

/// Removes all that no model needs, of whatever age.
fn tidy(http: &Http) {
    let gc = json!({ "remove": true, "older_than": 0, "history": true });
    http.post("/api/gc", &gc).expect(200);
}

/// The model as a bundle, and no longer as a model.
fn packed(http: &Http, name: &str) -> Vec<u8> {
    let exported = http.post("/api/export", &json!({ "models": [name] }));
    let bundle = exported.expect(200).body;
    delete(http, name);
    tidy(http);
    bundle
}

#[track_caller]
fn is_whole(home: &Home, http: &Http, when: &str) {
    assert_eq!(
        store_problems(&home.models()),
        Vec::<String>::new(),
        "{when}"
    );
    let lines = http.post("/api/verify", &json!({})).expect(200).lines();
    assert_eq!(lines.last().unwrap()["status"], "success", "{when}");
}

fn names(http: &Http) -> Vec<String> {
    let tags = http.get("/api/tags").expect(200).json();
    let models = tags["models"].as_array().expect("a list").iter();
    let mut names: Vec<String> = models
        .map(|model| model["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

#[test]
#[ignore = "runs in the namespace that a test above makes"]
fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let registry = Registry::start();
    let model = TestModel::tiny(200_000);
    registry.push("library/tiny", "latest", &model);
    let name = format!("{}/library/tiny", registry.address());
    let mut home = small_home("12m");
    let filler = home.models().join("filler");
    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    let http = daemon.http();
    derive(http, "car", 150_000);
    let car = format!("{}/library/car", registry.address());
    home.slm(&["push", "car", &car, "--format", "modelcar"])
        .ok();
    delete(http, "car");
    derive(http, "travels", 150_000);
    let bundle = packed(http, "travels");
    let blob = vec![7; 50_000];
    let digest = format!("sha256:{}", sha256_hex(&blob));
    let requests = [
        (
            "create",
            Request::new("POST", "/api/create").json(&json!({
                "model": "made", "from": "tiny", "system": "x".repeat(30_000), "stream": false
            })),
        ),
        (
            "copy",
            Request::new("POST", "/api/copy").json(&json!({
                "source": "tiny", "destination": "copied"
            })),
        ),
        (
            "pull",
            Request::new("POST", "/api/pull").json(&json!({
                "model": name, "stream": false
            })),
        ),
        (
            "pull of a package",
            Request::new("POST", "/api/pull").json(&json!({
                "model": car, "stream": false
            })),
        ),
        ("import", Request::new("POST", "/api/import").body(bundle)),
        (
            "upload",
            Request::new("POST", &format!("/api/blobs/{digest}")).body(blob),
        ),
        (
            "replace",
            Request::new("POST", "/api/create").json(&json!({
                "model": "tiny", "from": "tiny", "system": "y".repeat(30_000), "stream": false
            })),
        ),
    ];
    let mut n_refused = 0;
    for (what, request) in &requests {
        for room in [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 40, 60, 80].map(|n| n * PAGE) {
            let when = format!("{what} with {room} bytes of room");
            fill(&filler, room);
            let answer = http.send(request);
            let done = answer.status == 201 || is_done(&answer, &when);
            n_refused += u32::from(!done);
            assert_eq!(
                store_problems(&home.models()),
                Vec::<String>::new(),
                "{when}"
            );
            http.get("/api/tags").expect(200);
            fs::remove_file(&filler).unwrap();
            is_whole(&home, http, &when);
            if !done {
                let again = http.send(request);
                assert!([200, 201].contains(&again.status), "{when}, then with room");
            }
            // begin anew with the same
            for model in ["made", "copied", "travels", &name, &car] {
                delete(http, model);
            }
            if *what == "replace" {
                http.post("/api/rollback", &json!({ "model": "tiny" }))
                    .expect(200);
            }
            tidy(http);
            let _ = fs::remove_file(home.models().join("blobs").join(digest.replace(':', "-")));
        }
    }
    println!("{n_refused} requests were refused");
    assert!(n_refused > 10);
    // a push writes nothing here, so that it works on a full disk in every format
    derive(http, "pushed", 50_000);
    for format in ["ollama", "modelpack", "docker", "modelcar"] {
        fill(&filler, 0);
        let destination = format!("{}/full/{format}", registry.address());
        let push = json!({
            "model": "pushed", "destination": destination, "format": format, "stream": false
        });
        let pushed = http.post("/api/push", &push).expect(200).json();
        assert_eq!(pushed, json!({"status": "success"}));
        let there = Repository::new(registry.address(), &format!("full/{format}"));
        assert!(there.manifest("latest").is_some(), "{format}");
        assert_eq!(there.problems("latest"), Vec::<String>::new(), "{format}");
        fs::remove_file(&filler).unwrap();
        is_whole(&home, http, format);
    }
    // removing works on a full disk, and a model still runs
    fill(&filler, 0);
    let question = json!({
        "model": "tiny", "prompt": "x", "stream": false, "options": { "num_predict": 2 }
    });
    http.post("/api/generate", &question).expect(200);
    let delete = Request::new("DELETE", "/api/delete").json(&json!({ "model": "tiny" }));
    http.send(&delete).expect(200);
    let expected = names(http);
    drop(daemon);
    // the index could not be written: the next daemon sees what there is all the same, without room and with it
    for is_full in [true, false] {
        let daemon = Daemon::start(&mut home);
        assert_eq!(names(daemon.http()), expected, "{is_full}");
        if is_full {
            fs::remove_file(&filler).unwrap();
        }
    }
    let daemon = Daemon::start(&mut home);
    is_whole(&home, daemon.http(), "at the end");
    drop(daemon);
    let _ = Command::new("umount").arg(home.models()).status();
}

/// Waits until `condition` holds.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} never happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The files of the models directory that are still being written, partial downloads aside.
fn n_unfinished(home: &Home) -> usize {
    let blobs = fs::read_dir(home.models().join("blobs")).unwrap();
    let names = blobs.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.as_encoded_bytes().starts_with(b".slm-tmp-"))
        .count()
}

/// Pulls slowly and fills the disk once half of the large blob has come; then says what to do, keeps what came, and goes on.
fn pull_while_the_disk_fills_up(home: &Home, http: &Http, proxy: &FlakyProxy, name: &str) {
    let filler = home.models().join("filler");
    let pull = Request::new("POST", "/api/pull").json(&json!({"model": name, "insecure": true}));
    proxy.limit_rate(4 * MB as u64);
    let mut answer = http.open(&pull).unwrap();
    let mut last = Value::Null;
    let (mut is_filled, mut large) = (false, 0);
    while let Some(line) = answer.next_json().unwrap() {
        if let Some(total) = line["total"].as_u64().filter(|total| *total > MB as u64)
            && line["completed"].as_u64() > Some(total / 2)
        {
            if !is_filled {
                fill(&filler, 0);
            }
            (is_filled, large) = (true, total);
        }
        last = line;
    }
    assert!(is_filled, "no bytes came: {last}");
    let error = last["error"].as_str().unwrap_or_default();
    assert!(error.contains("free disk space"), "{name}: {last}");
    assert_eq!(n_unfinished(home), 0, "{name}");
    is_whole(home, http, name);
    fs::remove_file(&filler).unwrap();
    is_whole(home, http, name);
    proxy.heal();
    proxy.take_delivered();
    let again = http.send(&pull).expect(200).lines();
    assert_eq!(again.last().unwrap()["status"], "success", "{name}");
    is_whole(home, http, name);
    let n_bytes = proxy.take_delivered();
    println!("{name}: {n_bytes} bytes came after {large} in one blob were half there");
    assert!(n_bytes < large * 3 / 4 + MB as u64 / 2, "{name}: {n_bytes}");
}

/// Sends a bundle, fills the disk while a blob of it is being written, and sends the rest.
fn import_while_the_disk_fills_up(home: &Home, address: SocketAddr, bundle: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /api/import HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bundle.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    let (first, rest) = bundle.split_at(bundle.len() / 2);
    connection.write_all(first).unwrap();
    eventually("a blob", || n_unfinished(home) > 0);
    fill(&home.models().join("filler"), 0);
    // it may answer and hang up before it has read everything
    let _ = connection.write_all(rest);
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    answer
}

#[test]
#[ignore = "runs in the namespace that a test above makes"]
fn child_whose_disk_fills_up() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let registry = Registry::start();
    registry.push("library/tiny", "latest", &TestModel::tiny(3 * MB));
    let mut home = small_home("32m");
    let daemon = Daemon::start(&mut home);
    let http = daemon.http();
    home.create("tiny", &golden_model("llama"));
    derive(http, "licensed", 6 * MB);
    let car = format!("{}/library/car", registry.address());
    home.slm(&["push", "licensed", &car, "--format", "modelcar"])
        .ok();
    let bundle = packed(http, "licensed");
    let before = names(http);

    let answer = import_while_the_disk_fills_up(&home, home.address(), &bundle);
    assert!(answer.contains("free disk space"), "{answer}");
    eventually("the end", || n_unfinished(&home) == 0);
    assert_eq!(names(http), before);
    is_whole(&home, http, "an import");
    fs::remove_file(home.models().join("filler")).unwrap();
    let import = Request::new("POST", "/api/import").body(bundle);
    http.send(&import).expect(200);
    is_whole(&home, http, "an import, then with room");
    delete(http, "licensed");
    tidy(http);

    let proxy = FlakyProxy::start(registry.address());
    for model in ["tiny", "car"] {
        let name = format!("{}/library/{model}", proxy.address());
        pull_while_the_disk_fills_up(&home, http, &proxy, &name);
        delete(http, &name);
        tidy(http);
    }
    drop(daemon);
    let _ = Command::new("umount").arg(home.models()).status();
}
