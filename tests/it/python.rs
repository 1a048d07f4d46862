//! The unmodified `ollama`, `openai` and `anthropic` Python clients against slmd.

use slm_tests::{Daemon, Home, Running, data, golden_model, python, starter_model};
use std::ffi::OsStr;

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

/// Shows tools and what they answered, which the starter model's own template does not.
const TOOLED: &str = "{{ range .Tools }}[tool]{{ .Function.Name }}{{ end }}{{ range .Messages }}[{{ .Role }}]{{ .Content }}\
    {{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}[assistant]";

#[test]
fn the_openai_and_anthropic_clients_chat_stream_embed_and_understand_errors() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    home.create("smollm2:135m", &starter_model());
    home.create("vec", &golden_model("bert-mean"));
    let text = format!("FROM smollm2:135m\nTEMPLATE \"\"\"{TOOLED}\"\"\"\n");
    let modelfile = home.write("tooled.Modelfile", text);
    home.slm(&[
        OsStr::new("create"),
        OsStr::new("tooled"),
        OsStr::new("-f"),
        modelfile.as_os_str(),
    ])
    .ok();
    let mut script = home.command(python());
    script
        .arg(data("openai_client.py"))
        .arg(format!("http://{}", home.address()))
        .arg("smollm2:135m")
        .arg("vec");
    let run = Running::start(script, b"").finish().ok();
    assert_eq!(run.stdout.trim(), "OK");
}
