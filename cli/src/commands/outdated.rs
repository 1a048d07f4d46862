//! `slm outdated`: which models their sources have newer.

use slm_api::Client;
use slm_api::care::{OutdatedModel, OutdatedResponse};

use crate::commands::list::short_id;
use crate::failure::Exit;
use crate::format::Format;
use crate::text::table::{self, Room};
use crate::ui::Ui;

/// Arguments of `slm outdated`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that are current, pinned or made here too
    #[arg(short, long)]
    pub all: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints the table; the exit code is 1 when a source could not be asked.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let found = client.outdated().await?;
    args.format
        .print(&found, |found| render(found, args.all, ui.data_width()), ui)?;
    let mut exit = Exit::Done;
    for model in &found.models {
        if let Some(error) = &model.error {
            if args.format == Format::Text {
                ui.warn(&format!("cannot ask for `{}`: {error}", model.name));
            }
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// Whether a person has something to do about it.
fn is_news(model: &OutdatedModel) -> bool {
    ["outdated", "gone", "unreachable"].contains(&model.status.as_str())
}

fn render(found: &OutdatedResponse, all: bool, width: Option<usize>) -> String {
    let shown = found.models.iter().filter(|model| all || is_news(model));
    let mut rows = vec![table::row(["NAME", "HERE", "THERE", "STATUS"])];
    rows.extend(shown.map(|model| {
        vec![
            model.name.clone(),
            short_id(&model.digest),
            model.revision.as_deref().map_or("-".to_owned(), short_id),
            model.status.clone(),
        ]
    }));
    let n_outdated = found
        .models
        .iter()
        .filter(|model| model.status == "outdated")
        .count();
    let mut text = match rows.len() {
        1 => "no model is known to be outdated\n".to_owned(),
        _ => {
            let rooms = [Room::Name, Room::Spare(1), Room::Spare(0), Room::Whole];
            table::fit(&rows, &rooms, 0, width)
        }
    };
    if n_outdated > 0 {
        text.push_str("`slm update --all` fetches what is newer\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_somebody_unless_all_is_asked_for() {
        let model = |name: &str, status: &str, revision: Option<&str>| OutdatedModel {
            name: name.to_owned(),
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            status: status.to_owned(),
            revision: revision.map(str::to_owned),
            ..OutdatedModel::default()
        };
        let found = OutdatedResponse {
            models: vec![
                model("a:latest", "current", None),
                model("b:latest", "outdated", Some("sha256:fedcba9876543210")),
            ],
        };
        assert_eq!(
            render(&found, false, None),
            "NAME        HERE            THERE           STATUS\n\
             b:latest    0123456789ab    fedcba987654    outdated\n\
             `slm update --all` fetches what is newer\n"
        );
        assert!(render(&found, true, None).contains("a:latest    0123456789ab    -"));
        let found = OutdatedResponse::default();
        assert_eq!(
            render(&found, false, None),
            "no model is known to be outdated\n"
        );
    }
}
