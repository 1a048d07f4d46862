//! What a person types and sees: `slm` on the real starter model.

use rustix::process::Signal;
use serde_json::json;
use slm_tests::{Daemon, Finished, Home, Running, data, golden_model, python, starter_model};
use std::{
    io::Read,
    process::Stdio,
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

/// A model that answers the same each time, and briefly.
pub(crate) const BRIEF: &str = "brief:latest";

pub(crate) fn with_brief() -> (Home, Daemon) {
    let (home, daemon) = with_starter();
    let text = format!("FROM {MODEL}\nPARAMETER temperature 0\nPARAMETER num_predict 24\n");
    let modelfile = home.write("brief.Modelfile", text).display().to_string();
    home.slm(&["create", BRIEF, "-f", &modelfile]).ok();
    (home, daemon)
}

/// What the model answers to `question`.
pub(crate) fn answer(daemon: &Daemon, question: &str) -> String {
    let messages = json!([{ "role": "user", "content": question }]);
    let body = json!({ "model": BRIEF, "messages": messages, "stream": false });
    let answer = daemon.http().post("/api/chat", &body).expect(200).json();
    let text = answer["message"]["content"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(text.split_whitespace().count() > 4, "{text:?}");
    text
}

/// The cells of a table's rows, header first.
fn rows(table: &str) -> Vec<Vec<String>> {
    let cells = |row: &str| {
        let cells = row
            .split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    table.lines().map(cells).collect()
}

#[test]
fn one_question_one_answer() {
    let (home, daemon) = with_brief();
    let expected = answer(&daemon, "Why is the sky blue?");
    let run = home
        .slm(&["run", BRIEF, "Why", "is", "the", "sky", "blue?"])
        .ok();
    assert_eq!(
        run.stdout.trim(),
        expected.trim(),
        "and no colours or cursor moves into a pipe"
    );
    assert!(run.stdout.ends_with('\n'));
    assert_eq!(run.stderr, "");

    // piped text comes before the words of the command line
    let command = home.slm_command(&["run", BRIEF, "sky", "blue?"]);
    let run = Running::start(command, b"Why is the").finish().ok();
    assert_eq!(run.stdout.trim(), expected.trim());
    let run = Running::start(home.slm_command(&["run", BRIEF]), b"Why is the sky blue?");
    assert_eq!(run.finish().ok().stdout.trim(), expected.trim());

    let run = home.slm(&["run", "--verbose", BRIEF, "Say hello."]).ok();
    for row in [
        "total duration:",
        "load duration:",
        "prompt eval count:",
        "eval count:",
        "eval rate:",
    ] {
        assert!(run.stderr.contains(row), "{run:#?}");
    }
    assert!(!run.stdout.contains("duration"), "figures go to stderr");

    let ps = rows(&home.slm(&["ps"]).ok().stdout);
    assert_eq!(
        ps[0],
        ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
    );
    assert_eq!((ps[1][0].as_str(), ps[1][3].as_str()), (BRIEF, "100% CPU"));
    home.slm(&["stop", BRIEF]).ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    while rows(&home.slm(&["ps"]).ok().stdout).len() > 1 {
        assert!(Instant::now() < deadline, "stop unloads");
        thread::sleep(Duration::from_millis(50));
    }
    drop(daemon);
}

#[test]
fn tables_and_changes() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    assert_eq!(
        rows(&home.slm(&["list"]).ok().stdout).len(),
        1,
        "only the header"
    );
    home.create("boats", &golden_model("llama"));
    let list = rows(&home.slm(&["list"]).ok().stdout);
    assert_eq!(list[0], ["NAME", "ID", "SIZE", "MODIFIED"]);
    assert_eq!(list[1][0], "boats:latest");
    let tags = daemon.http().get("/api/tags").json();
    let digest = tags["models"][0]["digest"].as_str().unwrap();
    assert_eq!(list[1][1], digest[..12]);
    assert!(
        list[1][2].ends_with(" KB") && list[1][3].ends_with("ago"),
        "{list:?}"
    );

    assert_eq!(
        home.slm(&["cp", "boats", "ships"]).ok().stdout.trim(),
        "copied 'boats' to 'ships'"
    );
    assert_eq!(
        rows(&home.slm(&["ls", "sh"]).ok().stdout)[1][0],
        "ships:latest"
    );
    let shown = home.slm(&["show", "ships"]).ok().stdout;
    for word in [
        "Model",
        "architecture",
        "llama",
        "context length",
        "512",
        "quantization",
    ] {
        assert!(shown.contains(word), "no {word} in {shown}");
    }
    let shown = home.slm(&["show", "ships", "--format", "json"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    let modelfile = home.slm(&["show", "ships", "--modelfile"]).ok().stdout;
    assert!(modelfile.contains("FROM "), "{modelfile}");
    assert_eq!(
        home.slm(&["rm", "ships", "boats"])
            .ok()
            .stdout
            .lines()
            .count(),
        2
    );
    assert_eq!(rows(&home.slm(&["list"]).ok().stdout).len(), 1);
}

#[test]
fn mistakes_are_explained() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let run = home.slm(arguments).refused().complains(words);
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {run:#?}");
        assert_eq!(run.stdout, "", "{arguments:?}: errors go to stderr");
    };
    refused(
        &["show", "absent"],
        1,
        &["absent", "not found", "slm pull absent"],
    );
    refused(&["rm", "absent"], 1, &["absent", "not found"]);
    refused(&["cp", "absent", "b"], 1, &["absent", "not found"]);
    refused(&["stop", "absent"], 1, &["absent"]);
    refused(&["show", "bad name!"], 1, &["name"]);
    refused(&["frobnicate"], 2, &["frobnicate"]);
    // nothing is here: what fits is offered
    refused(&["run"], 1, &["no model is here yet", "slm pull"]);
}

/// Unknown models are pulled by `run`; from a registry that cannot be reached that fails with its name.
#[test]
fn running_an_unknown_model_tries_to_pull_it() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    let port = slm_tests::free_port();
    let name = format!("http://127.0.0.1:{port}/library/absent");
    let run = home.slm(&["run", "--insecure", &name, "hello"]).refused();
    run.complains(&[&format!("127.0.0.1:{port}")]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (home, _daemon) = with_starter();
    let mut child = home
        .slm_command(&["run", MODEL, "Write a long story about the sea."])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout); // as `| head -c 4` does
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{:?} {stderr}", out.status);
    assert_eq!(stderr.trim(), "");
}

#[test]
fn ctrl_c_ends_a_one_shot_answer() {
    let (home, daemon) = with_starter();
    let story = [
        "run",
        MODEL,
        "Write a very long story about the sea, in twenty chapters.",
    ];
    let run = Running::start(home.slm_command(&story), b"");
    let is_loaded = || {
        let ps = daemon.http().get("/api/ps").json();
        ps["models"]
            .as_array()
            .is_some_and(|models| !models.is_empty())
    };
    while !is_loaded() {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(100));
    run.signal(Signal::INT);
    let run = run.finish();
    assert_eq!(run.status.code(), Some(130), "{run:#?}");
    assert!(daemon.http().is_up());
    // and the daemon does not go on generating for nobody
    daemon
        .http()
        .post("/api/generate", &json!({ "model": MODEL, "keep_alive": 0 }))
        .expect(200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_loaded() {
        assert!(Instant::now() < deadline, "the engine is still busy");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_daemon_is_started_when_none_runs() {
    let home = Home::new();
    assert_eq!(home.daemons(), Vec::<i32>::new());
    let run = home.slm(&["list"]).ok();
    assert_eq!(rows(&run.stdout)[0][0], "NAME");
    let started = home.daemons();
    assert_eq!(started.len(), 1, "one slmd");
    // it outlives the command, and serves the next one
    home.create("boats", &golden_model("llama"));
    assert_eq!(rows(&home.slm(&["list"]).ok().stdout).len(), 2);
    assert_eq!(home.daemons(), started);
    // it is not in the terminal's process group, so Ctrl-C there does not reach it
    let group = |id: i32| rustix::process::getpgid(rustix::process::Pid::from_raw(id)).unwrap();
    assert_ne!(group(started[0]), rustix::process::getpgrp());
}

/// Several commands at once start one daemon, and all are served.
#[test]
fn many_commands_start_one_daemon() {
    let home = Home::new();
    let runs: Vec<Running> = (0..4)
        .map(|_| Running::start(home.slm_command(&["list"]), b""))
        .collect();
    for run in runs {
        run.finish().ok();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while home.daemons().len() > 1 {
        assert!(Instant::now() < deadline, "the losers of the race go away");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(home.daemons().len(), 1);
}

/// Plays `steps` at a terminal that runs `slm` with `arguments`.
pub(crate) fn at_a_terminal(
    home: &Home,
    arguments: &[&str],
    steps: &serde_json::Value,
) -> Finished {
    let slm = home.slm_command(arguments);
    let mut player = home.command(python());
    player
        .env("TERM", "xterm")
        .arg(data("repl.py"))
        .arg(steps.to_string());
    player.arg(slm.get_program()).args(slm.get_args());
    Running::start(player, b"").finish()
}

/// The longest word of a text: enough to know it by, and wrapped nowhere.
pub(crate) fn landmark(text: &str) -> &str {
    let words = text.split_whitespace();
    words
        .max_by_key(|word| word.len())
        .expect("an answer has words")
}

#[test]
fn a_chat_at_a_terminal() {
    let (home, daemon) = with_brief();
    let steps = json!([
        [">>> ", "Why is the sky blue?\r"],
        [landmark(&answer(&daemon, "Why is the sky blue?")), ""],
        [">>> ", "/set parameter num_predict 5\r"],
        ["Set parameter 'num_predict' to '5'", ""],
        [">>> ", "/show info\r"],
        ["llama", ""],
        [">>> ", "/clear\r"],
        ["Cleared", ""],
        [">>> ", "/nonsense\r"],
        ["Unknown command '/nonsense'", ""],
        [">>> ", "/bye\r"],
    ]);
    at_a_terminal(&home, &["run", BRIEF], &steps).ok();
}

/// Ctrl-C stops the answer and not the program. The answer is so hot that it would not end by itself.
#[test]
fn ctrl_c_in_a_chat() {
    let (home, daemon) = with_brief();
    let steps = json!([
        [">>> ", "/set parameter temperature 50\r"],
        ["Set parameter", ""],
        [">>> ", "/set parameter top_k 0\r"],
        ["Set parameter", ""],
        [">>> ", "/set parameter top_p 1\r"],
        ["Set parameter", ""],
        [">>> ", "/set parameter num_predict -1\r"],
        ["Set parameter", ""],
        [">>> ", "Tell me everything.\r"],
        ["\n", ""],
        ["e", "\u{3}"],
        [">>> ", "/set parameter temperature 0\r"],
        ["Set parameter", ""],
        [">>> ", "/set parameter num_predict 24\r"],
        ["Set parameter", ""],
        [">>> ", "/clear\r"],
        ["Cleared", ""],
        [">>> ", "Why is the sky blue?\r"],
        [landmark(&answer(&daemon, "Why is the sky blue?")), ""],
        [">>> ", "\u{4}"],
    ]);
    at_a_terminal(&home, &["run", BRIEF], &steps).ok();
}

/// From a Modelfile to another answer, on the base's weights; and back to a Modelfile that makes the same model.
#[test]
fn a_model_with_an_adapter() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    let adapter = golden_model("lora-llama-r8").display().to_string();
    let make = |name: &str, text: String| {
        let modelfile = home.write("tuned.Modelfile", text).display().to_string();
        home.slm(&["create", name, "-f", &modelfile]).ok();
    };
    make(
        "tuned",
        format!("FROM tiny\nADAPTER {adapter}\nPARAMETER temperature 0\nPARAMETER num_predict 8\n"),
    );
    let shown = home.slm(&["show", "tuned"]).ok().stdout;
    assert!(shown.contains("  Adapters\n    sha256:"), "{shown}");
    let modelfile = home.slm(&["show", "--modelfile", "tuned"]).ok().stdout;
    make("again", modelfile);
    let tags = daemon.http().get("/api/tags").expect(200).json();
    let digest = |name: &str| {
        let models = tags["models"].as_array().expect("models");
        let model = models.iter().find(|model| model["name"] == name);
        model.expect("it was created")["digest"].clone()
    };
    assert_eq!(digest("tuned:latest"), digest("again:latest"));

    let tuned = home.slm(&["run", "tuned", "The old man"]).ok().stdout;
    let plain = home.slm(&["run", "tiny", "The old man"]).ok().stdout;
    assert_ne!(tuned, plain);
    let running = daemon.http().get("/api/ps").expect(200).json();
    let running = running["models"].as_array().expect("models").len();
    assert_eq!(running, 1, "both run on the same weights");
}
