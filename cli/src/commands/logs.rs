//! `slm logs`: what the daemon says: from the journal when it runs as a service, else from the log of the daemon that
//! `slm` started.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::daemon;
use crate::failure::{Advice, Exit};
use crate::service::{self, Scope};
use crate::settings::Settings;
use crate::ui::Ui;

/// How often a log is looked at that is followed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How much of a log is read from its end.
const MAX_TAIL_BYTES: u64 = 8 << 20;
/// How much is read at a time of what is new.
const MAX_NEW_BYTES: u64 = 1 << 20;

/// Arguments of `slm logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
}

/// Prints the log.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(crate) async fn run(args: &Args, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    if let Some(scope) = service::installed(settings) {
        return journal(scope, args);
    }
    let path = daemon::log_path(settings);
    let Some(path) = path.filter(|path| path.is_file()) else {
        let place = daemon::log_path(settings)
            .map_or(String::new(), |path| format!(" ({})", path.display()));
        return Err(Advice::new(
            format!("no log is here: no service is installed, and `slm` has started no daemon{place}"),
            "a daemon started with `slmd serve` writes to its own terminal; one that another supervisor runs, to that one's log",
        )
        .into());
    };
    print_file(&path, args, ui).await
}

/// Becomes `journalctl`.
fn journal(scope: Scope, args: &Args) -> anyhow::Result<Exit> {
    if !cfg!(target_os = "linux") {
        return Err(Advice::new(
            "the service's log is a file of launchd",
            "look at ~/Library/Logs/slmd.log",
        )
        .into());
    }
    let mut command = Command::new("journalctl");
    command.args(journal_arguments(scope, args));
    let status = command
        .status()
        .context("cannot run `journalctl`, which keeps the service's log")?;
    Ok(if status.success() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn journal_arguments(scope: Scope, args: &Args) -> Vec<String> {
    let unit = match scope {
        Scope::User => "--user-unit",
        Scope::System => "--unit",
    };
    let mut arguments = vec![
        unit.to_owned(),
        service::UNIT.to_owned(),
        "--lines".to_owned(),
        args.lines.to_string(),
        "--no-pager".to_owned(),
    ];
    if args.follow {
        arguments.push("--follow".to_owned());
    }
    arguments
}

async fn print_file(path: &Path, args: &Args, ui: Ui) -> anyhow::Result<Exit> {
    let (text, mut end) = tail(path, args.lines)
        .with_context(|| format!("cannot read the log `{}`", path.display()))?;
    ui.model_text(&text)?;
    if !args.follow {
        return Ok(Exit::Done);
    }
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        // it is away for a moment when it is set aside
        let Ok((text, new_end)) = news(path, end) else {
            continue;
        };
        end = new_end;
        ui.model_text(&text)?;
    }
}

/// The last `n_lines` lines, and the position behind them.
fn tail(path: &Path, n_lines: usize) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let shown = &lines[lines.len().saturating_sub(n_lines)..];
    Ok((shown.concat(), len))
}

/// What came behind `start`, and the new position. A log that became shorter begins anew.
fn news(path: &Path, start: u64) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let start = if len < start { 0 } else { start };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    let n = file.take(MAX_NEW_BYTES).read_to_end(&mut bytes)? as u64;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), start + n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_and_what_comes_then() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("slmd.log");
        std::fs::write(&path, "a\nb\nc\n").expect("write");
        assert_eq!(tail(&path, 2).expect("read"), ("b\nc\n".to_owned(), 6));
        assert_eq!(tail(&path, 0).expect("read").0, "");
        assert_eq!(tail(&path, 99).expect("read").0, "a\nb\nc\n");
        std::fs::write(&path, "a\nb\nc\nd").expect("write");
        assert_eq!(news(&path, 6).expect("read"), ("d".to_owned(), 7));
        assert_eq!(news(&path, 7).expect("read"), (String::new(), 7));
        std::fs::write(&path, "new\n").expect("write");
        assert_eq!(news(&path, 7).expect("read"), ("new\n".to_owned(), 4));
        assert!(tail(&folder.path().join("absent"), 1).is_err());
    }

    #[test]
    fn the_journal_is_asked_for_the_unit() {
        let args = Args {
            follow: true,
            lines: 7,
        };
        let arguments = journal_arguments(Scope::User, &args).join(" ");
        assert_eq!(
            arguments,
            "--user-unit slmd.service --lines 7 --no-pager --follow"
        );
        let args = Args {
            follow: false,
            ..args
        };
        let arguments = journal_arguments(Scope::System, &args).join(" ");
        assert_eq!(arguments, "--unit slmd.service --lines 7 --no-pager");
    }
}
