//! The document at `/openapi.json`, believed word by word: schemathesis makes requests of it, and holds the answers
//! against it. No answer may be a fault of the daemon, have a status that is not described, or a body that is described
//! otherwise.

use slm_tests::{Daemon, Home, Running, data, fixture, golden_model};
use std::{ffi::OsStr, time::Duration};

/// Shows tools and earlier calls.
const TEMPLATE: &str = "{{ range .Tools }}[tool]{{ .Function.Name }}{{ end }}{{ range .Messages }}[{{ .Role }}]\
    {{ .Content }}{{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}\
    [assistant]";

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn every_answer_is_as_the_document_says() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    let weights = golden_model("llama");
    let text = format!(
        "FROM {}\nTEMPLATE \"\"\"{TEMPLATE}\"\"\"\n",
        weights.display()
    );
    let modelfile = home.write("tiny.Modelfile", text);
    home.slm(&[
        OsStr::new("create"),
        OsStr::new("tiny"),
        OsStr::new("-f"),
        modelfile.as_os_str(),
    ])
    .ok();
    home.create("vec", &golden_model("bert-mean"));
    let mut asked = home.command(fixture("schemathesis/bin/python3"));
    asked
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(data("openapi/schemathesis.toml"))
        .args(["run", "--no-color"])
        .arg(format!("http://{}/openapi.json", home.address()))
        .env("PYTHONPATH", data("openapi"))
        // nothing is left beside the hooks
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks");
    let run = Running::start(asked, b"").finish_within(Duration::from_secs(1800));
    println!("{}", run.stdout);
    run.ok();
}
