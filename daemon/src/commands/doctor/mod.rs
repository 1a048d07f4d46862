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
use std::fmt;

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
        Format::Text => stdout::write(&super::printable(&render(&checks)))?,
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

fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!(
            "{:<4}  {:<width$}  {}\n",
            check.status, check.name, check.found
        ));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("{:<4}  {:<width$}  -> {advice}\n", "", ""));
        }
    }
    text
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
            render(&checks),
            "ok    cpu     avx2\nFAIL  memory  1 MB\n              -> buy some\n"
        );
        let json = serde_json::to_value(&checks).unwrap();
        assert_eq!(json[1]["status"], "fail");
        assert_eq!(json[1]["advice"], "buy some");
        assert!(json[0].get("advice").is_none());
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (bytes(999_999_999), bytes(1_500_000_000)),
            ("999 MB".to_owned(), "1.5 GB".to_owned())
        );
    }
}
