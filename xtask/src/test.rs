//! `cargo xtask test`: fetch, build, run every test of the workspace.
//!
//! Everything is built with the release profile, so that one build of the dependencies serves users and tests alike.
//! The tests learn where the fixtures are from `SLM_TEST_FIXTURES`.

use crate::{fixtures, fuzz, process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::process::ExitCode;

/// How long `--full` fuzzes each target.
const FUZZ_SECONDS: u64 = 30;

/// Fetches the fixtures, builds the programs, runs the tests.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let wanted = Wanted::parse(arguments)?;
    let workspace = Workspace::load()?;
    let dir = prepare(&workspace, wanted.full)?;
    process::show(
        workspace
            .cargo()
            // as `cargo test` builds them, so that nothing is built twice with other features
            .args(["build", "--release", "--workspace", "--bins", "--tests"]),
        "building the programs and the tests",
    )?;
    let mut test = workspace.cargo();
    test.args(["test", "--release", "--workspace", "--no-fail-fast"])
        .env("SLM_TEST_FIXTURES", &dir);
    if let Some(filter) = &wanted.filter {
        test.arg(filter);
    }
    if wanted.full {
        test.args(["--", "--include-ignored"]);
    }
    let status = test.status().context("cannot run cargo test")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if wanted.full && wanted.filter.is_none() {
        return fuzz::all(&workspace, FUZZ_SECONDS);
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches the fixtures and says where they are.
pub(crate) fn fetch_only(arguments: &[String]) -> Result<ExitCode> {
    let wanted = Wanted::parse(arguments)?;
    if wanted.filter.is_some() {
        bail!("`fixtures` takes no filter; usage: cargo xtask fixtures [--full]");
    }
    let dir = prepare(&Workspace::load()?, wanted.full)?;
    println!("SLM_TEST_FIXTURES={}", dir.display());
    Ok(ExitCode::SUCCESS)
}

fn prepare(workspace: &Workspace, full: bool) -> Result<std::path::PathBuf> {
    fixtures::prepare(workspace, full).context(
        "cannot fetch what the tests need (once, with a network; `target/fixtures` is reused afterwards)",
    )
}

#[derive(Debug, PartialEq)]
struct Wanted {
    full: bool,
    filter: Option<String>,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self {
            full: false,
            filter: None,
        };
        for argument in arguments {
            match argument.as_str() {
                "--full" => wanted.full = true,
                flag if flag.starts_with('-') => {
                    bail!("`{flag}` is not understood; usage: cargo xtask test [--full] [FILTER]")
                }
                _ if wanted.filter.is_some() => bail!("only one FILTER can be given"),
                filter => wanted.filter = Some(filter.to_owned()),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Wanted> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Wanted::parse(&arguments)
    }

    #[test]
    fn arguments() {
        let wanted = |full, filter: Option<&str>| Wanted {
            full,
            filter: filter.map(str::to_owned),
        };
        assert_eq!(parse("").unwrap(), wanted(false, None));
        assert_eq!(parse("store --full").unwrap(), wanted(true, Some("store")));
        assert!(parse("--fast").is_err());
        assert!(parse("a b").is_err());
    }
}
