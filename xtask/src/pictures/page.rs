//! The web page in a headless Chromium.

use crate::{fixtures::browser, process, workspace::Workspace};
use anyhow::{Result, ensure};
use std::{path::Path, process::Command};

/// Has `model` asked on the page of the daemon at `address`, and writes `page-light.png` and `page-dark.png` into `out`.
pub(super) fn take(workspace: &Workspace, address: &str, model: &str, out: &Path) -> Result<()> {
    let scripts = workspace.root.join("tests/browser");
    let fixtures = workspace.fixtures_dir();
    browser::fetch(&fixtures, &scripts)?;
    let folder = fixtures.join("browser");
    ensure!(
        folder.join("ready").exists(),
        "there is no Chromium to take pictures with"
    );
    let mut node = Command::new("node");
    node.arg(scripts.join("pictures.mjs"))
        .args([address, model])
        .arg(out)
        .env("SLM_BROWSER", folder);
    let told = process::output(&mut node, "taking pictures of the page")?;
    eprint!("{told}");
    Ok(())
}
