//! Official clients, unmodified, that talk to slmd as they talk to the services they were made for. What they are given
//! back is compared with what is known of the model, whichever client asks.

use slm_tests::{
    Daemon, Home, Running, client_script, clients_node, data, golden_model, large_python, python,
    starter_model,
};
use std::{ffi::OsStr, path::Path, process::Command, time::Duration};

/// The programs share a home with these models, and end with "OK".
#[track_caller]
fn drive(script: &str, command: impl FnOnce(&Home) -> Command) {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    home.create("smollm2:135m", &starter_model());
    home.create("vec", &golden_model("bert-mean"));
    for name in ["weather", "endless"] {
        let modelfile = client_script(&format!("{name}.Modelfile"));
        let line = ["create", name, "-f"].map(OsStr::new);
        home.slm(&[&line[..], &[modelfile.as_os_str()]].concat())
            .ok();
    }
    let mut command = command(&home);
    command
        .arg(client_script(script))
        .arg(format!("http://{}", home.address()))
        .arg(data("golden/bert-mean.json"));
    let run = Running::start(command, b"")
        .finish_within(Duration::from_secs(600))
        .ok();
    assert_eq!(run.stdout.lines().last(), Some("OK"), "{run:#?}");
}

#[track_caller]
fn drive_javascript(script: &str) {
    let (node, clients) = clients_node();
    drive(script, |home| {
        let mut command = home.command(node);
        command.env("SLM_CLIENTS", clients);
        command
    });
}

#[track_caller]
fn drive_python(script: &str, python: &Path) {
    drive(script, |home| {
        let mut command = home.command(python);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    });
}

#[test]
fn ollama_of_npm() {
    drive_javascript("ollama.mjs");
}

#[test]
fn openai_of_npm() {
    drive_javascript("openai.mjs");
}

#[test]
fn anthropic_of_npm() {
    drive_javascript("anthropic.mjs");
}

#[test]
fn ollama_openai_and_anthropic_of_python() {
    drive_python("python_client.py", &python());
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn langchain() {
    drive_python("langchain_client.py", &large_python());
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn litellm() {
    drive_python("litellm_client.py", &large_python());
}
