//! `cargo xtask pictures`: the pictures of the README, made anew by the programs as they are.
//!
//! A daemon of its own, in an empty home below `target`, gets the starter model from a second one that shares it in the
//! place of the model registry, so that no network has a part in it. What `slm` then shows on a terminal becomes an
//! animated SVG ([`recording`], [`svg`]); a headless Chromium takes the web page in both colours ([`page`]).

mod page;
mod recording;
mod svg;
mod world;

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use recording::{Step, record};
use std::{fs, process::ExitCode};
use world::World;

const MODEL: &str = "smollm2:135m";
/// What is typed at the shell's prompt. The answers are short and, with this model, right.
const COMMANDS: [&str; 4] = [
    "slm pull smollm2:135m",
    "slm list",
    "slm run smollm2:135m \"Give me three reasons to read books.\"",
    "slm ps",
];

/// Builds the programs, and writes the pictures into `docs/pictures`.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    if !arguments.is_empty() {
        bail!("usage: cargo xtask pictures");
    }
    let workspace = Workspace::load()?;
    process::show(
        workspace
            .cargo()
            // as `cargo xtask test` builds them, so that nothing is built twice with other features
            .args(["build", "--release", "--workspace", "--bins", "--tests"]),
        "building slm",
    )?;
    let out = workspace.root.join("docs/pictures");
    fs::create_dir_all(&out).with_context(|| format!("cannot create `{}`", out.display()))?;
    let world = World::new(&workspace)?;

    eprintln!("recording the terminal");
    let steps = COMMANDS.map(|command| Step {
        line: command,
        until: world::PROMPT,
    });
    let frames = record(world.shell(), world::PROMPT, &steps)?;
    write(&out.join("terminal.svg"), svg::animated(&frames).as_bytes())?;

    eprintln!("taking the web page");
    page::take(&workspace, &world.address(), MODEL, &out)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    eprintln!("{}: {} KB", path.display(), bytes.len().div_ceil(1000));
    Ok(())
}
