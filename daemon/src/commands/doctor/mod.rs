//! `slmd doctor`: looks at what a daemon needs here, and says what to do about what is wrong. `slm doctor` becomes it.
//!
//! Nothing is changed but the store's directory, which is made where there is none, and the file that keeps the measured
//! bandwidth. Each check is a function from facts to a [`Check`], so that tests can make the facts up.

mod machine;
mod network;
mod store;

use super::stdout;
use crate::{config::PlaceFlags, cpu::CpuChoice};
use serde::Serialize;
use std::{fmt, io::IsTerminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that what was found needs beside the names of the checks.
const MIN_BESIDE: usize = 40;
/// How far it is indented below them.
const BELOW: usize = 6;

/// Arguments of `slmd doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The version of the command line that asks
    #[arg(long, hide = true, value_name = "VERSION")]
    client_version: Option<String>,
    #[command(flatten)]
    place: PlaceFlags,
}

/// For people, or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON value
    Json,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found.
    found: String,
    /// What to do about it; of what is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            advice: Some(advice.into()),
            ..Self::ok(name, found)
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, found, advice)
        }
    }
}

/// Looks at everything.
///
/// # Errors
/// When something fails that a daemon cannot do without, after all has been printed.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let config = super::resolve(&args.place.0)?;
    let cpu = CpuChoice::of(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut checks = machine::checks(&config, &cpu);
    checks.extend(store::checks(&config));
    checks.extend(runtime.block_on(network::checks(
        &config.host,
        args.client_version.as_deref(),
        |name| std::env::var(name).ok(),
    )));
    match args.format {
        Format::Text => stdout::write(&super::printable(&render(&checks, columns())))?,
        Format::Json => stdout::line(&serde_json::to_string_pretty(&checks)?)?,
    }
    let n_failed = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .count();
    match n_failed {
        0 => Ok(()),
        1 => anyhow::bail!("one check failed"),
        n => anyhow::bail!("{n} checks failed"),
    }
}

/// Columns of the terminal; `None` where a program reads.
fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout
        .is_terminal()
        .then(|| terminal_size::terminal_size_of(&stdout));
    size.flatten().map(|(width, _)| usize::from(width.0))
}

/// The checks as a table of as many columns at most; in a narrow one, what was found stands below its check.
fn render(checks: &[Check], columns: Option<usize>) -> String {
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or(0);
    let beside = 8 + width;
    let is_narrow = columns.is_some_and(|columns| columns < beside + MIN_BESIDE);
    let indent = if is_narrow { BELOW } else { beside };
    let room = columns.map(|columns| columns.saturating_sub(indent).max(1));
    let mut text = String::new();
    for check in checks {
        let head = format!("{:<4}  {:<width$}", check.status, check.name);
        let mut start = format!("{head}  ");
        if is_narrow {
            text.push_str(head.trim_end());
            text.push('\n');
            start = " ".repeat(indent);
        }
        let advice = check.advice.as_ref().map(|advice| format!("-> {advice}"));
        for said in [Some(check.found.clone()), advice].into_iter().flatten() {
            for line in lines(&said, room) {
                text.push_str(&start);
                text.push_str(&line);
                text.push('\n');
                start = " ".repeat(indent);
            }
        }
    }
    text
}

/// A text in lines of so many columns at most, broken between words, and within those that are longer.
fn lines(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in text.split(' ') {
        let width = word.width();
        if taken > 0 && taken + 1 + width <= room {
            taken += 1;
            push(&mut lines, " ");
        } else if taken > 0 {
            lines.push(String::new());
            taken = 0;
        }
        for c in word.chars() {
            let width = c.width().unwrap_or(0);
            if taken + width > room && taken > 0 {
                lines.push(String::new());
                taken = 0;
            }
            taken += width;
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// Bytes for people.
fn bytes(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1} GB", n as f64 / 1e9),
        _ => format!("{} MB", n / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let checks = [
            Check::ok("cpu", "avx2"),
            Check::fail("memory", "1 MB", "buy some"),
        ];
        assert_eq!(
            render(&checks, None),
            "ok    cpu     avx2\nFAIL  memory  1 MB\n              -> buy some\n"
        );
        assert_eq!(render(&checks, Some(80)), render(&checks, None));
        let json = serde_json::to_value(&checks).unwrap();
        assert_eq!(json[1]["status"], "fail");
        assert_eq!(json[1]["advice"], "buy some");
        assert!(json[0].get("advice").is_none());
    }

    #[test]
    fn what_is_said_keeps_to_the_terminal() {
        let path = "`/srv/somewhere/with/a/lot/of/room/of/several/kinds`";
        let found = format!("room in {path}: 1 GB is free");
        let checks = [
            Check::ok("cpu", "avx2"),
            Check::warn(
                "models directory",
                found,
                "remove some models that nobody uses any more",
            ),
        ];
        assert_eq!(
            render(&checks, Some(40)),
            "ok    cpu\n      avx2\nwarn  models directory\n      room in\n      \
             `/srv/somewhere/with/a/lot/of/room\n      /of/several/kinds`: 1 GB is free\n      \
             -> remove some models that nobody\n      uses any more\n"
        );
        for columns in 0..120 {
            let text = render(&checks, Some(columns));
            assert!(
                text.lines().all(|line| line.width() <= columns.max(24)),
                "{columns}: {text}"
            );
            let words = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(words(&text), words(&render(&checks, None)));
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (bytes(999_999_999), bytes(1_500_000_000)),
            ("999 MB".to_owned(), "1.5 GB".to_owned())
        );
    }
}
