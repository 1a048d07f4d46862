//! The web page, as a person sees it: in headless Chromium, with a real model and a real registry. Its scripts that need
//! no browser are tested wherever there is Node.js.

use slm_tests::{
    Daemon, FlakyProxy, Home, Registry, Running, TestModel, browser, browser_script, node,
    starter_model,
};
use std::{env, time::Duration};

const MB: usize = 1 << 20;

#[test]
fn the_scripts_of_the_page_do_what_they_promise() {
    let Some(node) = node() else { return };
    let home = Home::new();
    let mut script = home.command(node);
    script
        .arg("--test")
        .arg(browser_script("markdown.test.mjs"));
    Running::start(script, b"").finish().ok();
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn a_person_chats_pulls_and_looks_around() {
    let Some((node, browser)) = node().zip(browser()) else {
        return;
    };
    let mut home = Home::new();
    let registry = Registry::start();
    registry.push("library/boats", "small", &TestModel::tiny(12 * MB));
    let proxy = FlakyProxy::start(registry.address());
    proxy.limit_rate(MB as u64);
    // nobody is asked outside of this machine
    home.set("HF_ENDPOINT", "http://127.0.0.1:1");
    let daemon = Daemon::start(&mut home);
    home.create("smollm2:135m", &starter_model());
    let line = [
        "bench",
        "-m",
        "smollm2:135m",
        "-p",
        "16,32",
        "-n",
        "4",
        "-d",
        "0,64",
        "-r",
        "2",
        "-o",
        "json",
    ];
    let results = home.write("results.json", home.slmd(&line).ok().stdout);
    let line = [
        "bench",
        "serve",
        "-m",
        "smollm2:135m",
        "--num-prompts",
        "2",
        "--max-concurrency",
        "1,2",
        "--random-input-len",
        "8",
        "--random-output-len",
        "4",
    ];
    home.slm(&line).ok();
    let mut script = home.command(node);
    script
        .arg(browser_script("page.mjs"))
        .arg(home.address().to_string())
        .arg("smollm2:135m")
        .arg(format!("http://{}/library/boats:small", proxy.address()))
        .arg(results)
        .env("SLM_BROWSER", browser);
    if let Some(folder) = env::var_os("SLM_SCREENSHOTS") {
        script.env("SLM_SCREENSHOTS", folder);
    }
    let run = Running::start(script, b"")
        .finish_within(Duration::from_secs(600))
        .ok();
    assert_eq!(run.stdout.trim(), "OK");
    drop(daemon);
}
