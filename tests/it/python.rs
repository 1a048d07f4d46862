//! The unmodified `ollama` Python client against slmd.

use slm_tests::{Daemon, Home, Running, data, golden_model, python, starter_model};

#[test]
fn the_python_client_lists_shows_generates_chats_and_streams() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    home.create("smollm2:135m", &starter_model());
    let mut script = home.command(python());
    script
        .arg(data("ollama_client.py"))
        .arg(format!("http://{}", home.address()))
        .arg("smollm2:135m")
        .arg(golden_model("llama"));
    let run = Running::start(script, b"").finish().ok();
    assert_eq!(run.stdout.trim(), "OK");
}
