//! `slm list`: the models on this machine.

use jiff::Timestamp;
use slm_api::Client;
use slm_api::ollama::{TagsModel, TagsResponse};

use crate::failure::Exit;
use crate::fit;
use crate::format::Format;
use crate::settings::Settings;
use crate::text::table::{self, Room};
use crate::text::{size, time};
use crate::ui::Ui;

/// Arguments of `slm list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names that start with this
    pub prefix: Option<String>,
    /// Digests of everything that is here, for `slm export --without` elsewhere
    #[arg(long, conflicts_with = "prefix")]
    pub digests: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t, conflicts_with = "digests")]
    pub format: Format,
}

/// Prints the table.
///
/// # Errors
/// As the client says.
pub(crate) async fn run(
    args: Args,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Exit> {
    if args.digests {
        let blobs = client.blobs().await?.blobs;
        let lines = blobs.iter().map(|blob| format!("{}\n", blob.digest));
        ui.data(&lines.collect::<String>())?;
        return Ok(Exit::Done);
    }
    let mut tags = client.tags().await?;
    let is_empty = tags.models.is_empty();
    let prefix = args.prefix.unwrap_or_default();
    tags.models.retain(|model| has_prefix(&model.name, &prefix));
    let table = |tags: &TagsResponse| render(&tags.models, ui.data_width(), Timestamp::now());
    args.format.print(&tags, table, ui)?;
    if is_empty && settings.host.is_local() && args.format == Format::Text {
        ui.note(&fit::offer(&fit::machine(settings), ui.note_width())?);
    }
    Ok(Exit::Done)
}

/// The table of models, within `width` columns.
pub(crate) fn render(models: &[TagsModel], width: Option<usize>, now: Timestamp) -> String {
    let mut head = table::row(["NAME", "ID", "SIZE", "MODIFIED"]);
    let has_locations = models.iter().any(|model| model.location.is_some());
    if has_locations {
        head.push("LOCATION".to_owned());
    }
    let mut rows = vec![head];
    rows.extend(models.iter().map(|model| {
        let mut row = vec![
            model.name.clone(),
            short_id(&model.digest),
            size::bytes(model.size),
            time::relative(&model.modified_at, now),
        ];
        if has_locations {
            row.push(model.location.clone().unwrap_or("hot".to_owned()));
        }
        row
    }));
    let rooms = [
        Room::Name,
        Room::Spare(0),
        Room::Whole,
        Room::Spare(2),
        Room::Spare(1),
    ];
    table::fit(&rows, &rooms, 0, width)
}

/// The first twelve digits of a digest.
pub(crate) fn short_id(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}

/// Whether a name starts with a prefix, whatever the case.
pub(crate) fn has_prefix(name: &str, prefix: &str) -> bool {
    name.to_lowercase().starts_with(&prefix.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, size: u64, modified_at: &str) -> TagsModel {
        TagsModel {
            name: name.into(),
            digest: "0123456789abcdef".repeat(4),
            size,
            modified_at: modified_at.into(),
            ..TagsModel::default()
        }
    }

    #[test]
    fn the_table() {
        let now = "2026-08-21T18:00:00Z".parse().expect("timestamp");
        let models = [
            model("smollm2:135m", 98_300_000, "2026-08-21T17:58:59Z"),
            model("hf.co/u/r:Q4_K_M", 1_321_098_329, "2026-08-01T00:00:00Z"),
        ];
        assert_eq!(
            render(&models, None, now),
            "NAME                ID              SIZE      MODIFIED\n\
             smollm2:135m        0123456789ab    98 MB     About a minute ago\n\
             hf.co/u/r:Q4_K_M    0123456789ab    1.3 GB    2 weeks ago\n"
        );
        assert!(has_prefix(&models[0].name, "SMOL") && !has_prefix(&models[1].name, "SMOL"));
        assert_eq!(
            render(&models, Some(44), now),
            "NAME              SIZE    MODIFIED\n\
             smollm2:135m      98 MB   About a minute ago\n\
             hf.co/u/r:Q4_K_M  1.3 GB  2 weeks ago\n"
        );
        assert_eq!(render(&[], None, now), "NAME    ID    SIZE    MODIFIED\n");
        let [mut far, _] = models;
        far.location = Some("archive".into());
        assert_eq!(
            render(&[far], None, now),
            "NAME            ID              SIZE     MODIFIED              LOCATION\n\
             smollm2:135m    0123456789ab    98 MB    About a minute ago    archive\n"
        );
    }
}
