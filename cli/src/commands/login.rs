//! `slm login` and `slm logout`: become `slmd login` and `slmd logout`, since the daemon's program keeps credentials.

use crate::failure::Exit;

/// Arguments of `slm login` and `slm logout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Host of the registry, and options; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Runs the daemon's command of that name.
///
/// # Errors
/// When there is no `slmd` or it cannot be started.
pub(crate) fn run(command: &str, args: Args) -> anyhow::Result<Exit> {
    super::serve::become_slmd(command, args.args)
}
