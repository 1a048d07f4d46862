//! `slm doctor` and `slm config`: become `slmd doctor` and `slmd config`, since the daemon's program knows what a daemon
//! needs and how it is set.

use crate::failure::Exit;
use crate::format::Format;

/// Arguments of `slm doctor` and `slm config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs `slmd doctor`.
///
/// # Errors
/// When there is no `slmd` or it cannot be started.
pub(crate) fn doctor(args: &Args) -> anyhow::Result<Exit> {
    let mut passed = passed(args);
    passed.push("--client-version".to_owned());
    passed.push(env!("CARGO_PKG_VERSION").to_owned());
    super::serve::become_slmd("doctor", passed)
}

/// Runs `slmd config`.
///
/// # Errors
/// As [`doctor`].
pub(crate) fn config(args: &Args) -> anyhow::Result<Exit> {
    super::serve::become_slmd("config", passed(args))
}

fn passed(args: &Args) -> Vec<String> {
    let format = match args.format {
        Format::Text => "text",
        Format::Json => "json",
    };
    vec!["--format".to_owned(), format.to_owned()]
}
