//! `slm list`: the models on this machine.

use jiff::Timestamp;
use slm_api::Client;
use slm_api::ollama::TagsModel;

use crate::failure::Exit;
use crate::fit;
use crate::settings::Settings;
use crate::text::{size, table, time};
use crate::ui::Ui;

/// Arguments of `slm list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names that start with this
    pub prefix: Option<String>,
    /// Digests of everything that is here, for `slm export --without` elsewhere
    #[arg(long, conflicts_with = "prefix")]
    pub digests: bool,
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
    let tags = client.tags().await?;
    let prefix = args.prefix.unwrap_or_default();
    ui.data(&render(&tags.models, &prefix, Timestamp::now()))?;
    if tags.models.is_empty() && settings.host.is_local() {
        ui.note(&fit::offer(&fit::machine(settings))?);
    }
    Ok(Exit::Done)
}

/// The table of the models whose name starts with `prefix`.
pub(crate) fn render(models: &[TagsModel], prefix: &str, now: Timestamp) -> String {
    let mut head = table::row(["NAME", "ID", "SIZE", "MODIFIED"]);
    let has_locations = models.iter().any(|model| model.location.is_some());
    if has_locations {
        head.push("LOCATION".to_owned());
    }
    let mut rows = vec![head];
    let models = models
        .iter()
        .filter(|model| has_prefix(&model.name, prefix));
    rows.extend(models.map(|model| {
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
    table::render(&rows, 0)
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
            render(&models, "", now),
            "NAME                ID              SIZE      MODIFIED\n\
             smollm2:135m        0123456789ab    98 MB     About a minute ago\n\
             hf.co/u/r:Q4_K_M    0123456789ab    1.3 GB    2 weeks ago\n"
        );
        assert_eq!(
            render(&models, "SMOL", now),
            "NAME            ID              SIZE     MODIFIED\n\
             smollm2:135m    0123456789ab    98 MB    About a minute ago\n"
        );
        assert_eq!(render(&[], "", now), "NAME    ID    SIZE    MODIFIED\n");
        let [mut far, _] = models;
        far.location = Some("archive".into());
        assert_eq!(
            render(&[far], "", now),
            "NAME            ID              SIZE     MODIFIED              LOCATION\n\
             smollm2:135m    0123456789ab    98 MB    About a minute ago    archive\n"
        );
    }
}
