//! `slm serve`: becomes `slmd serve`.

use std::process::Command;

use anyhow::Context;

use crate::daemon;
use crate::failure::Exit;

/// Arguments of `slm serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Options of `slmd serve`; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Runs the daemon in place of this process, where the platform can do that.
///
/// # Errors
/// When there is no `slmd` or it cannot be started.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    become_slmd("serve", args.args)
}

/// Runs a command of `slmd` in place of this process, where the platform can do that.
///
/// # Errors
/// When there is no `slmd` or it cannot be started.
pub(super) fn become_slmd(name: &str, args: Vec<String>) -> anyhow::Result<Exit> {
    let program = daemon::find_slmd()?;
    let mut command = Command::new(&program);
    command.arg(name).args(args);
    become_process(command).with_context(|| format!("cannot run `{}`", program.display()))
}

#[cfg(unix)]
fn become_process(mut command: Command) -> std::io::Result<Exit> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_process(mut command: Command) -> std::io::Result<Exit> {
    let status = command.status()?;
    Ok(if status.success() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
