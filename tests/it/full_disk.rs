//! A daemon whose disk becomes full: each request ends with a clean error, nothing half-written shows, and it goes on.
//!
//! The test starts this program again in a mount namespace of its own, where a small filesystem in memory can be mounted
//! over the models directory without being root; it says so where that is not to be had.

use serde_json::json;
use slm_tests::{
    Answer, Daemon, Home, Registry, Request, TestModel, golden_model, sha256_hex, store_problems,
};
use std::{
    env,
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

const CHILD: &str = "SLM_TEST_FULL_DISK";
const PAGE: usize = 4096;

#[test]
fn a_daemon_on_a_full_disk() {
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
            .args(["--exact", "--ignored", "--nocapture", "full_disk::child"])
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

#[test]
#[ignore = "runs in the namespace that the test above makes"]
fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let registry = Registry::start();
    let model = TestModel::tiny(200_000);
    registry.push("library/tiny", "latest", &model);
    let name = format!("{}/library/tiny", registry.address());
    let mut home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "none"])
        .arg(home.models())
        .status();
    assert!(mount.unwrap().success());
    let filler = home.models().join("filler");
    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    let http = daemon.http();
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
            let lines = http.post("/api/verify", &json!({})).expect(200).lines();
            assert_eq!(lines.last().unwrap()["status"], "success", "{when}");
            if !done {
                let again = http.send(request);
                assert!([200, 201].contains(&again.status), "{when}, then with room");
            }
            // begin anew with the same
            for model in ["made", "copied", &name] {
                let delete = Request::new("DELETE", "/api/delete");
                http.send(&delete.json(&json!({ "model": model })));
            }
            if *what == "replace" {
                http.post("/api/rollback", &json!({ "model": "tiny" }))
                    .expect(200);
            }
            let gc = json!({ "remove": true, "older_than": 0, "history": true });
            http.post("/api/gc", &gc).expect(200);
            let _ = fs::remove_file(home.models().join("blobs").join(digest.replace(':', "-")));
        }
    }
    println!("{n_refused} requests were refused");
    assert!(n_refused > 10);
    // removing works on a full disk, and a model still runs
    fill(&filler, 0);
    let question = json!({
        "model": "tiny", "prompt": "x", "stream": false, "options": { "num_predict": 2 }
    });
    http.post("/api/generate", &question).expect(200);
    let delete = Request::new("DELETE", "/api/delete").json(&json!({ "model": "tiny" }));
    http.send(&delete).expect(200);
    let _ = Command::new("umount").arg(home.models()).status();
}
