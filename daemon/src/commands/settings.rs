//! `slmd config`: every setting, its value here and who set it. `slm config` becomes it.
//!
//! It is what a daemon started here and now would have; one that runs keeps what it was started with.

use super::{doctor::Format, stdout};
use crate::{
    config::{Config, Flags, SETTINGS, Setting},
    cpu::CpuChoice,
};
use serde::Serialize;

/// Arguments of `slmd config`.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: Flags,
}

/// A setting and its value.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Effective {
    setting: &'static str,
    /// As a person would write it; `null` where there is none.
    value: Option<String>,
    /// `flag`, the variable that set it, or `default`.
    from: String,
    /// Variables that set it, the strongest first.
    variables: Vec<&'static str>,
}

/// Prints the table.
///
/// # Errors
/// The first value that cannot be read.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let effective = effective(&super::resolve(&args.flags)?);
    match args.format {
        Format::Text => stdout::write(&super::printable(&render(&effective))),
        Format::Json => stdout::line(&serde_json::to_string_pretty(&effective)?),
    }
}

fn effective(config: &Config) -> Vec<Effective> {
    let cpu = CpuChoice::of(config);
    let computed = |setting: &Setting| match setting.flag {
        "models" => Some(config.locations.hot.display().to_string()),
        "cpu" => Some(cpu.tier.to_string()),
        "num-threads" => Some(cpu.threads.to_string()),
        _ => Some(setting.default().to_owned()),
    };
    let of_setting = |setting: &'static Setting| {
        let set = config.set.iter().find(|(flag, _, _)| *flag == setting.flag);
        let (value, from) = match set {
            Some((_, value, origin)) => (Some(without_secrets(value)), origin.to_string()),
            None => (computed(setting), "default".to_owned()),
        };
        Effective {
            setting: setting.flag,
            value: value.filter(|value| !value.is_empty()),
            from,
            variables: setting.variables.to_vec(),
        }
    };
    SETTINGS.iter().map(of_setting).collect()
}

/// Addresses in a value without user and password.
fn without_secrets(value: &str) -> String {
    let parts = value.split(',').map(|part| {
        let Some((before, rest)) = part.split_once("://") else {
            return part.to_owned();
        };
        match rest.rsplit_once('@') {
            Some((_, host)) => format!("{before}://…@{host}"),
            None => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

fn render(effective: &[Effective]) -> String {
    let rows: Vec<[&str; 3]> = std::iter::once(["SETTING", "VALUE", "FROM"])
        .chain(effective.iter().map(|one| {
            let value = one.value.as_deref().unwrap_or("-");
            [one.setting, value, one.from.as_str()]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    let lines = rows
        .iter()
        .map(|[setting, value, from]| format!("{setting:<first$}    {value:<second$}    {from}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &[(&str, &str)]) -> Vec<Effective> {
        let look_up = |name: &str| {
            let found = env.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        effective(&Config::resolve(&Flags::default(), look_up).unwrap())
    }

    #[test]
    fn every_setting_says_where_it_comes_from() {
        let all = of(&[
            ("OLLAMA_MODELS", "/m"),
            ("SLM_NUM_THREADS", "3"),
            ("SLM_MIRRORS", "a=http://u:secret@m"),
        ]);
        assert_eq!(all.len(), SETTINGS.len());
        let find = |name: &str| all.iter().find(|one| one.setting == name).unwrap();
        let pair = |name: &str| {
            let one = find(name);
            (one.value.as_deref(), one.from.as_str())
        };
        assert_eq!(pair("models"), (Some("/m"), "OLLAMA_MODELS"));
        assert_eq!(pair("num-threads"), (Some("3"), "SLM_NUM_THREADS"));
        assert_eq!(pair("host"), (Some("127.0.0.1:11434"), "default"));
        assert_eq!(pair("origins"), (None, "default"));
        assert_eq!(pair("mirrors"), (Some("a=http://…@m"), "SLM_MIRRORS"));
        assert!(pair("cpu").0.is_some());
        let text = render(&all);
        assert!(text.starts_with("SETTING"), "{text}");
        assert_eq!(text.lines().count(), 1 + SETTINGS.len());
    }
}
