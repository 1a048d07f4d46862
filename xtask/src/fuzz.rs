//! `cargo xtask fuzz [TARGET] [--seconds N]`: builds the fuzz targets with coverage and runs them, one after another.
//!
//! No nightly compiler is needed: what marks the edges of the program for libFuzzer is an LLVM pass that the stable
//! compiler can run too. A C++ compiler is, since libFuzzer is written in it. Each run starts from the seeds in
//! `fuzz/corpus` and from what earlier runs have collected under `target/fuzz`.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

const USAGE: &str = "usage: cargo xtask fuzz [TARGET] [--seconds N]";
/// How long each target runs when nothing is said.
const DEFAULT_SECONDS: u64 = 60;
/// Flags that make the compiler count edges and report comparisons.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Bounds of one input: seconds, and megabytes of the whole process and of one allocation. Counting makes programs some
/// five times slower: this is a few seconds of a release build.
const LIMITS: [&str; 4] = [
    "-timeout=30",
    "-rss_limit_mb=1024",
    "-malloc_limit_mb=256",
    "-max_len=8192",
];

/// Runs the targets that the command line names.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let wanted = Wanted::parse(arguments)?;
    let workspace = Workspace::load()?;
    let names = targets(&workspace)?;
    let chosen: Vec<&String> = match &wanted.target {
        None => names.iter().collect(),
        Some(name) => names.iter().filter(|known| *known == name).collect(),
    };
    if chosen.is_empty() {
        bail!("there is no such target; targets are: {}", names.join(", "));
    }
    fuzz(&workspace, &chosen, wanted.seconds)
}

/// Runs every target for so many seconds.
pub(crate) fn all(workspace: &Workspace, seconds: u64) -> Result<ExitCode> {
    let names = targets(workspace)?;
    fuzz(workspace, &names.iter().collect::<Vec<_>>(), seconds)
}

/// The names of all targets, which are the programs of the package.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let package = workspace.packages.iter().find(|p| p["name"] == "slm-fuzz");
    let package = package.context("the workspace has no package `slm-fuzz`")?;
    let programs = package["targets"].as_array().into_iter().flatten();
    let programs = programs.filter(|target| target["kind"][0] == "bin");
    Ok(programs
        .filter_map(|target| target["name"].as_str())
        .map(str::to_owned)
        .collect())
}

fn fuzz(workspace: &Workspace, names: &[&String], seconds: u64) -> Result<ExitCode> {
    let host = host()?;
    let folder = workspace.target_dir.join("fuzz");
    let mut build = workspace.cargo();
    build
        .args(["build", "--package", "slm-fuzz", "--features", "libfuzzer"])
        .args(["--profile", "fuzz", "--bins"])
        // named, so that the flags reach the programs and not what the compiler itself runs
        .args(["--target", &host])
        .arg("--target-dir")
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"));
    process::show(&mut build, "building the fuzz targets")?;
    let programs = folder.join(&host).join("fuzz");
    let mut failed = Vec::new();
    for name in names {
        println!("fuzzing {name} for {seconds} s");
        if !one(workspace, &programs.join(name), name, &folder, seconds)? {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "fuzzing found something in: {}\nthe inputs are under {}; docs/how-to/fuzz.md says what to do with one",
        failed.join(", "),
        folder.join("artifacts").display()
    );
    Ok(ExitCode::FAILURE)
}

/// Runs one target; whether nothing was found.
fn one(
    workspace: &Workspace,
    program: &Path,
    name: &str,
    folder: &Path,
    seconds: u64,
) -> Result<bool> {
    let collected = folder.join("corpus").join(name);
    let artifacts = folder.join("artifacts").join(name);
    for folder in [&collected, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let sources = workspace.root.join("fuzz");
    let mut command = Command::new(program);
    command
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!(
            "-dict={}",
            sources.join(format!("dictionaries/{name}.dict")).display()
        ))
        .arg(&collected);
    let templates = workspace.root.join("tests/data/templates");
    let mut inputs = vec![
        sources.join("corpus").join(name),
        sources.join("regressions").join(name),
    ];
    match name {
        "jinja_template" => inputs.push(templates.join("jinja")),
        "go_template" => inputs.push(templates.join("go")),
        _ => {}
    }
    command.args(inputs.iter().filter(|folder| folder.is_dir()));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(status.success())
}

/// The platform that the compiler builds for by itself.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = process::output(
        Command::new(rustc).arg("-vV"),
        "asking the compiler for its platform",
    )?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

#[derive(Debug, PartialEq)]
struct Wanted {
    target: Option<String>,
    seconds: u64,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self {
            target: None,
            seconds: DEFAULT_SECONDS,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => {
                    let seconds = arguments.next().and_then(|text| text.parse().ok());
                    wanted.seconds = seconds
                        .filter(|n| *n > 0)
                        .context("`--seconds` needs a number of at least 1; 0 would never end")?;
                }
                flag if flag.starts_with('-') => bail!("`{flag}` is not understood; {USAGE}"),
                _ if wanted.target.is_some() => bail!("only one TARGET can be given; {USAGE}"),
                target => wanted.target = Some(target.to_owned()),
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
        let wanted = |target: Option<&str>, seconds| Wanted {
            target: target.map(str::to_owned),
            seconds,
        };
        assert_eq!(parse("").unwrap(), wanted(None, DEFAULT_SECONDS));
        assert_eq!(parse("gguf --seconds 5").unwrap(), wanted(Some("gguf"), 5));
        for wrong in ["a b", "--fast", "--seconds", "--seconds x", "--seconds 0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_target_has_its_folder_of_seeds_and_its_dictionary() {
        let workspace = Workspace::load().unwrap();
        let names = targets(&workspace).unwrap();
        assert!(names.len() >= 10, "{names:?}");
        for name in names {
            let fuzz = workspace.root.join("fuzz");
            assert!(fuzz.join("corpus").join(&name).is_dir(), "{name}");
            let dictionary = fuzz.join("dictionaries").join(format!("{name}.dict"));
            assert!(dictionary.is_file(), "{}", dictionary.display());
        }
    }
}
