//! Running other programs, with errors that a person can act on.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Runs `command` with its output captured and returns what it printed. `doing` names the step in the error.
pub(crate) fn output(command: &mut Command, doing: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{doing}: cannot run `{program}`"))?;
    if !out.status.success() {
        bail!(
            "{doing} failed: {}",
            reason(
                &String::from_utf8_lossy(&out.stderr),
                &out.status.to_string()
            )
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs `command` on the terminal.
pub(crate) fn show(command: &mut Command, doing: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{doing}: cannot run `{program}`"))?;
    if !status.success() {
        bail!("{doing} failed ({status})");
    }
    Ok(())
}

/// Whether `program` can be started at all (with `--version`).
pub(crate) fn exists(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The line of a program's stderr that says most: the first that names a network failure, else the last error, else
/// the last line.
fn reason(stderr: &str, status: &str) -> String {
    const NETWORK: [&str; 6] = [
        "Temporary failure in name resolution",
        "Name or service not known",
        "Temporary failure resolving",
        "Could not resolve",
        "Connection refused",
        "Network is unreachable",
    ];
    if let Some(found) = NETWORK.iter().find(|words| stderr.contains(**words)) {
        return format!("no network ({found})");
    }
    let lines = || stderr.lines().map(str::trim).filter(|l| !l.is_empty());
    lines()
        .rfind(|l| l.to_ascii_lowercase().starts_with("err") || l.starts_with("E:"))
        .or_else(|| lines().next_back())
        .map_or_else(|| status.to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_prefers_the_network_then_the_last_error() {
        let offline = "WARNING: Retrying: Failed to establish: [Errno -3] Temporary failure in name resolution\n\
                       ERROR: No matching distribution found for x";
        assert_eq!(
            reason(offline, "1"),
            "no network (Temporary failure in name resolution)"
        );
        assert_eq!(
            reason("ERROR: first\nERROR: second\nnote", "1"),
            "ERROR: second"
        );
        assert_eq!(reason("only this\n\n", "1"), "only this");
        assert_eq!(reason("", "exit status: 3"), "exit status: 3");
    }
}
