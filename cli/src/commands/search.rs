//! `slm search`: models of the catalogue, and of Hugging Face where that can be asked.

use std::cmp::Reverse;

use slm_catalog::hub::Repository;
use slm_catalog::query::{Parameters, Query};
use slm_catalog::search::{self, Entry, Found};
use slm_catalog::{Catalog, Machine};

use crate::failure::Exit;
use crate::fit::{self, tokens_per_second};
use crate::format::Format;
use crate::hub;
use crate::settings::Settings;
use crate::text::size;
use crate::text::table::{self, Room};
use crate::ui::Ui;

/// Arguments of `slm search`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words that have to occur in name, use or licence; without one, the whole catalogue
    pub text: Vec<String>,
    /// How many parameters, such as `0.5b..4b`, `..2b` or `1.7b`
    #[arg(long, value_name = "RANGE")]
    pub params: Option<Parameters>,
    /// Licence, or its beginning, such as `apache`
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// Only what fits the memory that is free
    #[arg(long)]
    pub fits: bool,
    /// In which order
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Ask nobody: the catalogue only
    #[arg(long)]
    pub offline: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// An order of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// The catalogue as it is, then by downloads
    #[default]
    Downloads,
    /// Small ones first
    Size,
    /// By name
    Name,
}

/// Prints what is found.
///
/// # Errors
/// A damaged catalogue; not a network that fails, which is only said.
pub(crate) async fn run(args: Args, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    let query = Query {
        text: args.text.join(" "),
        parameters: args.params,
        licence: args.license,
    };
    let machine = fit::machine(settings);
    let catalog = Catalog::built_in()?;
    let mut found = Found {
        catalog: entries(&catalog, &query, &machine, args.fits, args.sort),
        hugging_face: Vec::new(),
        error: None,
    };
    // without a word it would be all of a million models
    let asks = !args.offline && !settings.hub.offline && !query.text.trim().is_empty();
    if asks {
        match hub::search(&settings.hub, &query).await {
            Ok(repositories) => found.hugging_face = repositories,
            Err(error) => found.error = Some(reason(&error)),
        }
        if args.fits {
            found
                .hugging_face
                .retain(|repository| may_fit(repository, &machine));
        }
        sort_repositories(&mut found.hugging_face, args.sort);
    }
    let table = |found: &Found| render(found, ui.data_width());
    args.format.print(&found, table, ui)?;
    if let Some(error) = &found.error {
        ui.note(&format!(
            "only the catalogue was searched, Hugging Face could not be asked: {error}"
        ));
    }
    if found.catalog.is_empty() && found.hugging_face.is_empty() {
        ui.note("nothing found; fewer words or options find more");
    }
    Ok(Exit::Done)
}

/// An error and its root; what lies between are the layers of the HTTP client, which tell a person nothing.
fn reason(error: &anyhow::Error) -> String {
    match error.root_cause().to_string() {
        root if root == error.to_string() => root,
        root => format!("{error}: {root}"),
    }
}

fn entries(
    catalog: &Catalog,
    query: &Query,
    machine: &Machine,
    only_fitting: bool,
    sort: Sort,
) -> Vec<Entry> {
    let mut entries = search::entries(catalog, query, machine);
    entries.retain(|entry| !only_fitting || entry.fit.fits != Some(false));
    match sort {
        Sort::Downloads => {}
        Sort::Size => entries.sort_by_key(|entry| entry.fit.file_bytes),
        Sort::Name => entries.sort_by(|a, b| a.model.name.cmp(&b.model.name)),
    }
    entries
}

/// Whether a repository's model may fit, by the number in its name and five bits for each weight.
fn may_fit(repository: &Repository, machine: &Machine) -> bool {
    let (Some(n), Some(memory)) = (repository.parameters, machine.memory) else {
        return true;
    };
    n / 8 * 5 <= memory
}

fn sort_repositories(repositories: &mut [Repository], sort: Sort) {
    match sort {
        Sort::Downloads => repositories.sort_by_key(|found| Reverse(found.downloads)),
        Sort::Size => repositories.sort_by_key(|found| found.parameters.unwrap_or(u64::MAX)),
        Sort::Name => repositories.sort_by_key(|found| found.pull.to_lowercase()),
    }
}

fn render(found: &Found, width: Option<usize>) -> String {
    let mut text = String::new();
    if !found.catalog.is_empty() {
        let head = [
            "PULL", "PARAMS", "SIZE", "MEMORY", "SPEED", "FITS", "LICENSE", "CONTEXT", "GOOD AT",
        ];
        let mut rows = vec![table::row(head)];
        rows.extend(found.catalog.iter().map(row));
        let rooms = [
            Room::Name,
            Room::Spare(2),
            Room::Whole,
            Room::Spare(3),
            Room::Spare(5),
            Room::Whole,
            Room::Spare(1),
            Room::Spare(0),
            Room::Text(4),
        ];
        text.push_str(&table::fit(&rows, &rooms, 0, width));
    }
    if !found.hugging_face.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut rows = vec![table::row([
            "HUGGING FACE",
            "PARAMS",
            "DOWNLOADS",
            "LICENSE",
        ])];
        rows.extend(found.hugging_face.iter().map(|repository| {
            vec![
                repository.pull.clone(),
                repository.parameters.map_or("-".to_owned(), short_count),
                repository.downloads.to_string(),
                repository.licence.clone().unwrap_or("-".to_owned()),
            ]
        }));
        let rooms = [Room::Name, Room::Spare(1), Room::Spare(2), Room::Spare(0)];
        text.push_str(&table::fit(&rows, &rooms, 0, width));
    }
    text
}

fn row(entry: &Entry) -> Vec<String> {
    let fit = &entry.fit;
    vec![
        entry.pull.clone(),
        short_count(entry.model.parameters),
        format!("~{}", size::bytes(fit.file_bytes)),
        format!("~{}", size::bytes(fit.memory_bytes)),
        fit.tokens_per_second.map_or("-".to_owned(), |speed| {
            format!("~{}", tokens_per_second(speed))
        }),
        match fit.fits {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        }
        .to_owned(),
        entry.model.licence.clone(),
        entry.model.context.to_string(),
        entry.model.good_at.clone(),
    ]
}

/// `135M`, `1.7B`.
fn short_count(n: u64) -> String {
    match n {
        // what would be 1000M
        999_500_000.. => format!("{:.1}B", n as f64 / 1e9),
        _ => format!("{:.0}M", n as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        memory: Some(2_400_000_000),
        bandwidth: Some(20_000_000_000),
    };

    fn names(query: &Query, only_fitting: bool, sort: Sort) -> Vec<String> {
        let catalog = Catalog::built_in().expect("a catalogue");
        let entries = entries(&catalog, query, &MACHINE, only_fitting, sort);
        entries.into_iter().map(|entry| entry.model.name).collect()
    }

    fn qwen3() -> Query {
        Query {
            text: "qwen3".to_owned(),
            ..Query::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_on_request() {
        let by_size = names(&qwen3(), false, Sort::Size);
        assert_eq!(by_size, ["qwen3:0.6b", "qwen3:1.7b", "qwen3:4b"]);
        assert_eq!(
            names(&qwen3(), true, Sort::Name),
            ["qwen3:0.6b", "qwen3:1.7b"]
        );
        let all = names(&Query::default(), false, Sort::Name);
        assert!(all.is_sorted() && all.len() >= 16, "{all:?}");
    }

    #[test]
    fn the_table_says_about() {
        let catalog = Catalog::built_in().expect("a catalogue");
        let found = Found {
            catalog: entries(&catalog, &qwen3(), &MACHINE, false, Sort::Size),
            hugging_face: vec![Repository {
                pull: "hf.co/a/b-3B".to_owned(),
                downloads: 7,
                licence: None,
                parameters: Some(3_000_000_000),
            }],
            error: None,
        };
        let text = render(&found, None);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start));
        let words = |start: &str| {
            let line = line(start).expect(start);
            line.split("    ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words("qwen3:4b")[..6],
            [
                "qwen3:4b-q4_K_M",
                "4.0B",
                "~2.5 GB",
                "~3.9 GB",
                "~7.9 tokens/s",
                "no"
            ]
        );
        assert_eq!(words("hf.co"), ["hf.co/a/b-3B", "3.0B", "7", "-"]);
        let json = serde_json::to_value(&found).expect("JSON");
        assert_eq!(json["catalog"][0]["pull"], "qwen3:0.6b-q8_0");
        assert_eq!(json["catalog"][0]["fits"], true);
        assert_eq!(json["catalog"][2]["variant_fits"][0]["fits"], false);
        assert!(!may_fit(
            &Repository {
                parameters: Some(7_000_000_000),
                ..found.hugging_face[0].clone()
            },
            &MACHINE
        ));
    }

    #[test]
    fn counts_and_reasons_are_short() {
        assert_eq!(short_count(134_515_008), "135M");
        assert_eq!(short_count(999_885_952), "1.0B");
        let error = anyhow::anyhow!("no such host").context("connect");
        assert_eq!(
            reason(&error.context("cannot fetch")),
            "cannot fetch: no such host"
        );
        assert_eq!(reason(&anyhow::anyhow!("odd")), "odd");
    }
}
