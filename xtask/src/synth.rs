//! `cargo xtask synth-model NAME --type MIX -o FILE`: model files of true shapes with random weights.
//!
//! The work is done by the crate `slm-synth`, which is built with the release profile: quantising is arithmetic.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result};
use std::{
    path::Path,
    process::{Command, ExitCode},
};

/// Runs the generator with the words of the command line.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut command = command(&Workspace::load()?);
    let status = command
        .args(arguments)
        // file names are relative to where the person is
        .current_dir(std::env::current_dir()?)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes one file.
pub(crate) fn write(workspace: &Workspace, model: &str, mix: &str, path: &Path) -> Result<()> {
    let mut command = command(workspace);
    command.args([model, "--type", mix, "-o"]).arg(path);
    process::show(&mut command, &format!("writing {model} {mix}"))
}

fn command(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args(["run", "--quiet", "--release", "--manifest-path"])
        .arg(workspace.root.join("Cargo.toml"))
        .args(["--package", "slm-synth", "--"]);
    cargo
}
