//! Node.js and a headless Chromium that it drives, where they are to be had.

use crate::fixtures;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// A script of `tests/browser`.
pub fn browser_script(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("browser");
    let path = folder.join(name);
    assert!(path.exists(), "`{}` is not there", path.display());
    path
}

/// `node`, if it is on the search path and knows what the scripts use; says so when it is not.
#[expect(
    clippy::print_stdout,
    reason = "the test runner shows what was passed over"
)]
pub fn node() -> Option<&'static str> {
    // modules without a `package.json` beside them are known since 20.19
    let ask = "const [a, b] = process.versions.node.split('.'); process.exit(+(a < 20 || (a == 20 && b < 19)))";
    let mut node = Command::new("node");
    node.args(["-e", ask])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let is_there = node.status().is_ok_and(|status| status.success());
    if !is_there {
        println!("passed over: there is no Node.js 20.19 or later");
    }
    is_there.then_some("node")
}

/// The folder with Playwright, axe-core and Chromium, if they could be fetched; says so when they could not.
#[expect(
    clippy::print_stdout,
    reason = "the test runner shows what was passed over"
)]
pub fn browser() -> Option<PathBuf> {
    let folder = fixtures::optional("browser/ready").and_then(|p| Some(p.parent()?.to_owned()));
    if folder.is_none() {
        println!(
            "passed over: there is no Chromium, which `cargo xtask test --full` fetches where there is Node.js with npm"
        );
    }
    folder
}
