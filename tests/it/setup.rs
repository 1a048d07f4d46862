//! Before the first answer: finding a model that fits, a look at the machine, completions, the service.

use serde_json::Value;
use slm_tests::{Daemon, Finished, Home, Registry, Running, TestModel};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    thread,
};

fn json(run: &Finished) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
}

/// Answers every request with `body`; gives its address and the first line of the first request.
fn one_page(body: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("an address");
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut request = [0; 4096];
        let n = stream.read(&mut request).expect("a request");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).expect("an answer");
        let request = String::from_utf8_lossy(&request[..n]);
        request.lines().next().unwrap_or_default().to_owned()
    });
    (format!("http://{address}"), asked)
}

#[test]
fn search_needs_neither_daemon_nor_network() {
    let home = Home::new();
    let search = |arguments: &[&str]| {
        let mut all = vec!["search", "--offline", "--format", "json"];
        all.extend(arguments);
        let found = json(&home.slm(&all).ok());
        let models = found["catalog"].as_array().expect("a list").clone();
        models
            .iter()
            .map(|model| model["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        search(&["qwen3", "--sort", "size"]),
        ["qwen3:0.6b", "qwen3:1.7b", "qwen3:4b"]
    );
    assert_eq!(
        search(&[
            "--params",
            "1b..2b",
            "--license",
            "apache",
            "--sort",
            "name"
        ]),
        ["qwen2.5-coder:1.5b", "qwen3:1.7b", "smollm2:1.7b"]
    );
    let nothing = home.slm(&["search", "--offline", "--params", "90b.."]).ok();
    assert_eq!(nothing.stdout, "");
    assert!(nothing.stderr.contains("nothing found"), "{nothing:#?}");
    let bad = home.slm(&["search", "--params", "huge"]).refused();
    assert_eq!(bad.status.code(), Some(2));
    bad.complains(&["number of parameters"]);
    assert_eq!(home.daemons(), [0; 0]);

    // as much as a small model takes
    let mut tight = Home::new();
    tight.set("SLM_MEMORY", "600MiB");
    let fitting = tight
        .slm(&["search", "--offline", "--fits", "--format", "json"])
        .ok();
    for model in json(&fitting)["catalog"].as_array().expect("a list") {
        assert!(model["memory_bytes"].as_u64() <= Some(600 << 20), "{model}");
    }
}

#[test]
fn search_asks_hugging_face_and_goes_on_without_it() {
    let mut home = Home::new();
    let (endpoint, asked) = one_page(
        r#"[{"id": "someone/Qwen3-0.6B-GGUF", "downloads": 5, "tags": ["license:apache-2.0"]},
            {"id": "someone/Qwen3-30B-GGUF", "downloads": 9, "tags": []}]"#,
    );
    home.set("HF_ENDPOINT", endpoint);
    let run = home
        .slm(&["search", "qwen3", "--params", "..1b", "--format", "json"])
        .ok();
    let found = json(&run);
    assert_eq!(
        found["hugging_face"][0]["pull"],
        "hf.co/someone/Qwen3-0.6B-GGUF"
    );
    assert_eq!(found["hugging_face"].as_array().map(Vec::len), Some(1));
    let asked = asked.join().expect("it was asked");
    for words in [
        "/api/models?",
        "search=qwen3",
        "filter=gguf",
        "sort=downloads",
    ] {
        assert!(asked.contains(words), "{asked}");
    }

    let nobody = format!("http://127.0.0.1:{}", slm_tests::free_port());
    home.set("HF_ENDPOINT", nobody);
    let run = home.slm(&["search", "qwen3"]).ok();
    assert!(run.stdout.contains("qwen3:0.6b"), "{run:#?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:#?}");
    assert!(run.stderr.contains("only the catalogue"), "{run:#?}");
}

#[test]
fn a_family_is_pulled_as_the_file_that_fits() {
    let registry = Registry::start();
    registry.push("library/qwen3", "0.6b-q4_K_M", &TestModel::tiny(1000));
    let mut home = Home::new();
    // less than any other file of the family needs
    home.set("SLM_MEMORY", "1500MiB");
    home.set(
        "SLM_MIRRORS",
        format!("registry.ollama.ai=http://{}", registry.address()),
    );
    let _daemon = Daemon::start(&mut home);
    let empty = home.slm(&["list"]).ok();
    assert_eq!(empty.stdout.lines().count(), 1);
    assert!(empty.stderr.contains("no model is here yet"), "{empty:#?}");

    let run = home.slm(&["pull", "qwen3"]).ok();
    for words in ["choosing qwen3:0.6b-q4_K_M", "about 400 MB to download"] {
        assert!(run.stderr.contains(words), "no {words}: {run:#?}");
    }
    let list = home.slm(&["list"]).ok();
    assert!(list.stdout.contains("qwen3:0.6b-q4_K_M"), "{list:#?}");
    assert!(!list.stderr.contains("no model"), "{list:#?}");

    // what is too large is warned of, and fetched all the same
    registry.push("library/qwen3", "4b-q4_K_M", &TestModel::tiny(1000));
    let large = home.slm(&["pull", "qwen3:4b-q4_K_M"]).ok();
    assert!(
        large.stderr.contains("warning: it needs about 3.9 GB"),
        "{large:#?}"
    );
    // the choice has the family's name too, and stays the choice
    assert!(list.stdout.contains("qwen3:latest"), "{list:#?}");
    let again = home.slm(&["pull", "qwen3"]).ok();
    assert!(!again.stderr.contains("choosing"), "{again:#?}");
    // a model of one's own that has the name is not taken for it
    home.create("qwen3", &slm_tests::golden_model("qwen2"));
    let own = home.slm(&["pull", "qwen3"]).refused();
    assert!(!own.stderr.contains("choosing"), "{own:#?}");
}

/// The checks by name, and whether the exit code tells of a failure.
fn doctor(home: &Home) -> (Value, Finished) {
    let run = home.slm(&["doctor", "--format", "json"]);
    let checks = json(&run);
    let has_failed = checks
        .as_array()
        .expect("a list")
        .iter()
        .any(|check| check["status"] == "fail");
    assert_eq!(run.status.code(), Some(i32::from(has_failed)), "{run:#?}");
    (checks, run)
}

#[track_caller]
fn check(checks: &Value, name: &str) -> Value {
    let mut list = checks.as_array().expect("a list").iter();
    let found = list.find(|check| check["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {checks}"))
        .clone()
}

#[test]
fn doctor_looks_and_says_what_to_do() {
    let mut home = Home::new();
    let (checks, _) = doctor(&home);
    for name in [
        "cpu", "threads", "memory", "store", "disk", "daemon", "proxy", "programs",
    ] {
        check(&checks, name);
    }
    assert_eq!(check(&checks, "daemon")["status"], "ok");
    assert_eq!(home.daemons(), [0; 0], "looking starts nothing");

    let daemon = Daemon::start(&mut home);
    home.create("boats", &slm_tests::golden_model("llama"));
    let (checks, _) = doctor(&home);
    let found = check(&checks, "daemon")["found"].to_string();
    assert!(found.contains("answers at"), "{found}");
    assert_eq!(check(&checks, "store")["status"], "ok");

    // a model whose weights are gone
    let path = home.slm(&["path", "boats"]).ok().stdout;
    fs::remove_file(path.trim()).expect("the store is ours");
    let (checks, _) = doctor(&home);
    let store = check(&checks, "store");
    assert_eq!(store["status"], "fail");
    assert!(store["found"].to_string().contains("boats"), "{store}");
    assert!(
        store["advice"].to_string().contains("slm verify"),
        "{store}"
    );
    drop(daemon);

    // somebody else has the port
    let other = Home::new();
    let _listener = TcpListener::bind(other.address()).expect("the port is free");
    let run = other.slm(&["doctor"]).refused();
    assert_eq!(run.status.code(), Some(1));
    assert!(run.stdout.contains("FAIL  daemon"), "{run:#?}");
    assert!(
        run.stdout.contains("-> stop it, or choose another port"),
        "{run:#?}"
    );
}

#[test]
fn config_says_where_values_come_from() {
    let mut home = Home::new();
    home.set("SLM_NUM_THREADS", "3");
    let settings = json(&home.slm(&["config", "--format", "json"]).ok());
    let find = |name: &str| {
        let mut list = settings.as_array().expect("a list").iter();
        list.find(|one| one["setting"] == name).expect(name).clone()
    };
    assert_eq!(find("num-threads")["value"], "3");
    assert_eq!(find("num-threads")["from"], "SLM_NUM_THREADS");
    assert_eq!(find("keep-alive")["from"], "default");
    let text = home.slm(&["config"]).ok().stdout;
    assert!(text.starts_with("SETTING"), "{text}");
    home.set("SLM_KEEP_ALIVE", "soon");
    home.slm(&["config"])
        .refused()
        .complains(&["soon", "SLM_KEEP_ALIVE"]);
}

#[test]
fn completions_and_manual_pages() {
    let home = Home::new();
    let script = home.slm(&["completions", "bash"]).ok().stdout;
    let path = home.write("slm.bash", &script);
    let checked = Command::new("bash").arg("-n").arg(&path).status();
    assert!(checked.expect("bash is there").success());
    let bad = home.slm(&["completions", "cmd.exe"]).refused();
    assert_eq!(bad.status.code(), Some(2));

    let folder = home.path().join("man");
    home.slm(&["man", folder.to_str().expect("UTF-8")]).ok();
    let page = fs::read_to_string(folder.join("slm-pull.1")).expect("a page");
    assert!(page.contains(".TH slm-pull 1"), "{page}");
    let first = home.slm(&["man"]).ok().stdout;
    assert!(first.contains(".TH slm 1"), "{first}");
    let in_file = path.join("man");
    home.slm(&["man", in_file.to_str().expect("UTF-8")])
        .refused()
        .complains(&["cannot create"]);
}

#[test]
fn logs_of_a_daemon_that_was_started_here() {
    let home = Home::new();
    home.slm(&["logs"]).refused().complains(&["no log is here"]);
    home.slm(&["list"]).ok();
    assert_eq!(home.daemons().len(), 1, "`slm list` starts one");
    let all = home.slm(&["logs"]).ok().stdout;
    assert!(all.contains("listening on"), "{all}");
    let last = home.slm(&["logs", "-n", "1"]).ok().stdout;
    assert_eq!(last.lines().count(), 1, "{last}");
}

/// A folder in front of the PATH with programs that write down how they are called.
fn supervisor(home: &Home) -> PathBuf {
    let folder = home.path().join("bin");
    fs::create_dir_all(&folder).expect("a home is writable");
    for name in ["systemctl", "journalctl"] {
        let path = folder.join(name);
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> \"$HOME/calls\"\n");
        fs::write(&path, script).expect("a home is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    folder
}

#[cfg(target_os = "linux")]
#[test]
fn the_service_is_written_started_and_removed() {
    let mut home = Home::new();
    home.set("SLM_KEEP_ALIVE", "1h");
    let folder = supervisor(&home);
    let path = std::env::var("PATH").unwrap_or_default();
    let slm = |arguments: &[&str]| {
        let mut command = home.slm_command(arguments);
        command.env("PATH", format!("{}:{path}", folder.display()));
        Running::start(command, b"").finish()
    };
    let unit = home.path().join("config/systemd/user/slmd.service");

    let dry = slm(&["service", "install", "--dry-run"]).ok();
    for words in [
        "NoNewPrivileges=yes",
        "Environment=\"SLM_KEEP_ALIVE=1h\"",
        "systemctl --user enable --now slmd.service",
    ] {
        assert!(dry.stdout.contains(words), "no {words}: {dry:#?}");
    }
    assert!(!unit.exists() && !home.path().join("calls").exists());
    let system = slm(&["service", "install", "--system", "--dry-run"]).ok();
    assert!(system.stdout.contains("DynamicUser=yes"), "{system:#?}");
    slm(&["service", "stop"])
        .refused()
        .complains(&["no service is installed", "slm service install"]);

    slm(&["service", "install"]).ok();
    let text = fs::read_to_string(&unit).expect("the unit is written");
    assert!(text.contains("slmd\" serve"), "{text}");
    slm(&["service", "status"]).ok();
    slm(&["logs", "-n", "3"]).ok();
    slm(&["service", "uninstall"]).ok();
    assert!(!unit.exists());
    let calls = fs::read_to_string(home.path().join("calls")).expect("they were called");
    assert_eq!(
        calls.lines().collect::<Vec<_>>(),
        [
            "systemctl --user daemon-reload",
            "systemctl --user enable --now slmd.service",
            "systemctl --user status --no-pager slmd.service",
            "journalctl --user-unit slmd.service --lines 3 --no-pager",
            "systemctl --user disable --now slmd.service",
            "systemctl --user daemon-reload",
        ]
    );
}

#[test]
fn a_reader_that_goes_is_no_failure_and_a_full_disk_is_said() {
    let home = Home::new();
    let lines: [&[&str]; 5] = [
        &["doctor"],
        &["doctor", "--format", "json"],
        &["config"],
        &["config", "--format", "json"],
        &["gc"],
    ];
    for line in lines {
        let (reader, writer) = std::io::pipe().expect("pipes can be had");
        drop(reader);
        let mut gone = home.slmd_command(line);
        let gone = gone.stdout(writer).output().expect("slmd starts");
        let said = String::from_utf8_lossy(&gone.stderr);
        assert!(gone.status.success(), "{line:?}: {said}");
        assert!(!said.contains("panicked"), "{line:?}: {said}");

        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = home.slmd_command(line);
        let full = command.stdout(full.expect("Linux has it")).output();
        let full = full.expect("slmd starts");
        let said = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
}
