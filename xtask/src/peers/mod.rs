//! `cargo xtask peers`: slm beside llama.cpp and ik_llama.cpp, on the same files, in one session.
//!
//! `options` reads the command line, `programs` obtains and builds the peers, `runs` lets all take turns and keeps what
//! they print, `machine` says on what, `report` writes the page. Programs alternate round by round, so that what the
//! machine does besides hits all alike, and medians are compared.

mod machine;
mod options;
mod programs;
mod report;
mod runs;

use crate::{
    fixtures::models::{self, STARTER},
    process, synth,
    workspace::{Workspace, is_file},
};
use anyhow::{Context, Result};
use options::{ModelChoice, Options};
use programs::Program;
use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

/// Runs the comparison and writes its page.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        println!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    let workspace = Workspace::load()?;
    let programs = programs(&workspace, &options)?;
    let machine = machine::describe();
    let mut compared = Vec::new();
    for model in &options.models {
        let file = model_file(&workspace, model)?;
        compared.push(runs::compare(&options, &programs, model, &file)?);
    }
    let page = report::page(&report::Page {
        options: &options,
        commit: commit(&workspace),
        machine,
        compared: &compared,
    });
    let path = options
        .output
        .clone()
        .unwrap_or_else(|| workspace.root.join("docs/benchmarks.md"));
    fs::write(&path, page).with_context(|| format!("cannot write `{}`", path.display()))?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Ours, built now, and the peers.
fn programs(workspace: &Workspace, options: &Options) -> Result<Vec<Program>> {
    process::show(
        workspace
            .cargo()
            .args(["build", "--release", "--workspace", "--bins"]),
        "building slmd",
    )?;
    let mut programs = vec![Program::slm(workspace.program("slmd"))];
    let dir = workspace.target_dir.join("peers");
    let llama = match &options.llama_bench {
        Some(path) => path.clone(),
        None => programs::build_llama(&dir)?,
    };
    programs.push(Program::llama(llama)?);
    let ik = match (&options.ik_bench, &options.ik_source) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(source)) => Some(programs::build_ik(source, &dir)?),
        (None, None) => None,
    };
    if let Some(ik) = ik {
        programs.push(Program::ik(ik)?);
    }
    Ok(programs)
}

/// The model's file; fetched or written once.
fn model_file(workspace: &Workspace, model: &ModelChoice) -> Result<PathBuf> {
    match model {
        ModelChoice::Starter => {
            let dir = workspace.fixtures_dir();
            fs::create_dir_all(&dir)
                .with_context(|| format!("cannot create `{}`", dir.display()))?;
            models::fetch(&STARTER, &dir)
        }
        ModelChoice::File(path) => Ok(path.clone()),
        ModelChoice::Synthetic { model, mix } => {
            let dir = workspace.target_dir.join("synth");
            fs::create_dir_all(&dir)
                .with_context(|| format!("cannot create `{}`", dir.display()))?;
            let path = dir.join(format!("{model}-{mix}.gguf"));
            if !is_file(&path) {
                let unfinished = dir.join(format!("{model}-{mix}.writing"));
                synth::write(workspace, model, mix, &unfinished)?;
                fs::rename(&unfinished, &path)
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            Ok(path)
        }
    }
}

/// What was measured, as git calls it; "unknown" outside of a repository.
fn commit(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(&workspace.root);
    let commit = process::output(&mut git, "asking git for the commit");
    commit.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
