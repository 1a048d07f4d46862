//! What `slmd` can do: one file per command.

mod bench;
mod bundle;
mod care;
#[expect(
    unreachable_pub,
    reason = "the module of a program, written as if for a library"
)]
mod debug;
mod doctor;
mod eval;
mod login;
mod model_file;
mod occupant;
mod path;
mod progress;
mod pull;
mod serve;
mod settings;
mod stdout;

use crate::config::{Config, Flags};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Keeps language models on this machine and serves them over Ollama's REST API
#[derive(Debug, Parser)]
#[command(name = "slmd", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until a signal ends it
    #[command(visible_alias = "start")]
    Serve {
        #[command(flatten)]
        flags: Flags,
    },
    /// Download a model: through the running daemon, or into the store where none runs
    Pull(pull::PullArgs),
    /// Print the path of a stored model's GGUF file
    Path(path::PathArgs),
    /// Write stored models into one file, to be carried where no network is
    Export(bundle::ExportArgs),
    /// Store the models of a file that `export` wrote
    Import(bundle::ImportArgs),
    /// Read every model again and compare it with its digests
    Verify(care::VerifyArgs),
    /// Show what nobody needs, and remove it
    Gc(care::GcArgs),
    /// Look at what a daemon needs here, and say what to do about what is wrong
    Doctor(doctor::DoctorArgs),
    /// Show every setting, and where its value comes from
    Config(settings::ConfigArgs),
    /// Keep a user and a password for a registry
    Login(login::LoginArgs),
    /// Forget what `login` kept for a registry
    Logout(login::LogoutArgs),
    /// Measure how fast a model runs here, with the tests of llama-bench
    Bench(bench::BenchArgs),
    /// Measure how well a model predicts a text, with the chunks and formulas of llama-perplexity
    Eval(eval::EvalArgs),
    /// Look at what the engine makes of a file
    #[command(subcommand)]
    Debug(debug::DebugCommand),
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    // the provider must be there before the first HTTPS client; a second one is no harm
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match dispatch(Args::parse_from(
        bench::with_long_names(std::env::args_os()),
    )) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<stdout::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Serve { flags } => serve::run(resolve(&flags)?),
        Command::Pull(args) => pull::run(args),
        Command::Path(args) => path::run(&args),
        Command::Export(args) => bundle::export(&args),
        Command::Import(args) => bundle::import(&args),
        Command::Verify(args) => care::verify(args),
        Command::Gc(args) => care::gc(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => settings::run(&args),
        Command::Login(args) => login::login(args, &resolve(&Flags::default())?),
        Command::Logout(args) => login::logout(&args, &resolve(&Flags::default())?),
        Command::Bench(args) => bench::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Debug(command) => debug::run(&command),
    }
}

/// The one place that reads the environment.
fn resolve(flags: &Flags) -> anyhow::Result<Config> {
    Ok(Config::resolve(flags, |name| std::env::var(name).ok())?)
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a command go to stderr"
)]
fn report(error: &anyhow::Error) {
    eprintln!("error: {}", printable(&format!("{error:#}")));
}

/// Names of files and texts in them may hold control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "�")
}

/// The store, for a command that works on it while a daemon may run.
fn open_store(place: &crate::config::PlaceFlags) -> anyhow::Result<slm_registry::Store> {
    let locations = resolve(&place.0)?.locations;
    slm_registry::Store::open_without_index(locations).map_err(with_hint)
}

/// An error of the store, with what to do about it.
fn with_hint(error: slm_registry::Error) -> anyhow::Error {
    let hint = error.hint();
    let error = anyhow::Error::new(error);
    match hint {
        Some(hint) => anyhow::anyhow!("{error:#}; {hint}"),
        None => error,
    }
}

/// Logs go to stderr, with colours on a terminal.
fn start_log(filter: &str) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .try_init();
    // a second start is a mistake of a test at most
    debug_assert!(started.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_terminal_does_not_obey_an_error() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}c"), "a�[2J\nb�c");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
