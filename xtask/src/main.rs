//! Housekeeping, in Rust so that it runs wherever the project builds: `cargo xtask COMMAND`.
//!
//! - `quickstart [PROMPT]`: from a fresh clone to an answer (also `cargo quickstart`).
//! - `test [--full] [FILTER]`: fetches what the tests need, builds, runs every test.
//! - `fixtures [--full]`: only fetches.
//! - `peers [OPTIONS]`: speed beside llama.cpp and ik_llama.cpp, written to `docs/benchmarks.md`.
//! - `synth-model NAME`: a model file of true shapes with random weights, to measure speed with.
//! - `figures [--profile NAME]`: sizes, start-up time and idle memory of the programs.
//! - `pictures`: the pictures of the README, from the programs as they are.
//! - `fuzz [TARGET] [--seconds N]`: runs the fuzz targets, looking for inputs that break a promise.
//! - `tidy`: checks what the compiler cannot: who may depend on whom, module heads, links, stray marks.
//!
//! Nothing that ships depends on this crate.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program that speaks to the terminal"
)]

mod figures;
mod fixtures;
mod fuzz;
mod peers;
#[cfg(unix)]
#[cfg(unix)]
mod pictures;
mod process;
mod quickstart;
mod synth;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

commands:
  quickstart [PROMPT]      build, get the starter model, answer PROMPT or open the chat
  test [--full] [FILTER]   fetch the fixtures, build, run all tests (or those that match FILTER)
  fixtures [--full]        fetch the fixtures only
  peers [OPTIONS]          compare the speed with llama.cpp and ik_llama.cpp (see peers --help)
  synth-model NAME         write a model file of true shapes with random weights (see synth-model --help)
  figures [--profile NAME] print sizes of the programs, time to start, idle memory
  pictures                 take the pictures of the README anew (Node.js is needed)
  fuzz [TARGET] [--seconds N]
                           look for inputs that break a promise, in one target or in each
  tidy                     check crate arrows, module heads, links and stray marks

--full adds the larger real models (about 1.5 GB), larger clients and the tests that need them, and fuzzes each target for a while.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    match command.as_str() {
        "quickstart" => quickstart::run(rest),
        "test" => test::run(rest),
        "fixtures" => test::fetch_only(rest),
        "peers" => peers::run(rest),
        "synth-model" => synth::run(rest),
        "figures" => figures::run(rest),
        #[cfg(unix)]
        #[cfg(unix)]
        "pictures" => pictures::run(rest),
        "fuzz" => fuzz::run(rest),
        "tidy" => tidy::run(),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => {
            eprintln!("error: `{other}` is no xtask command\n\n{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
