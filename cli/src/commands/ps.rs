//! `slm ps`: the models that are loaded.

use jiff::Timestamp;
use slm_api::Client;
use slm_api::ollama::{PsModel, PsResponse};

use crate::commands::list;
use crate::failure::Exit;
use crate::format::Format;
use crate::text::table::{self, Room};
use crate::text::{size, time};
use crate::ui::Ui;

/// Arguments of `slm ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names that start with this
    pub prefix: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints the table.
///
/// # Errors
/// As the client says.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let mut loaded = client.ps().await?;
    let prefix = args.prefix.unwrap_or_default();
    loaded
        .models
        .retain(|model| list::has_prefix(&model.name, &prefix));
    let table = |loaded: &PsResponse| render(&loaded.models, ui.data_width(), Timestamp::now());
    args.format.print(&loaded, table, ui)?;
    Ok(Exit::Done)
}

fn render(models: &[PsModel], width: Option<usize>, now: Timestamp) -> String {
    let header = ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"];
    let mut rows = vec![table::row(header)];
    rows.extend(models.iter().map(|model| {
        vec![
            model.name.clone(),
            list::short_id(&model.digest),
            size::bytes(model.size),
            processor(model.size, model.size_vram),
            model.context_length.to_string(),
            until(&model.expires_at, now),
        ]
    }));
    let rooms = [
        Room::Name,
        Room::Spare(0),
        Room::Whole,
        Room::Spare(1),
        Room::Spare(2),
        Room::Spare(3),
    ];
    table::fit(&rows, &rooms, 0, width)
}

fn processor(size: u64, size_vram: u64) -> String {
    if size == 0 || size_vram > size {
        return "Unknown".to_owned();
    }
    match size_vram {
        0 => "100% CPU".to_owned(),
        _ if size_vram == size => "100% GPU".to_owned(),
        _ => {
            let cpu = ((size - size_vram) as f64 / size as f64 * 100.0).round();
            format!("{cpu}%/{}% CPU/GPU", 100.0 - cpu)
        }
    }
}

fn until(expires_at: &str, now: Timestamp) -> String {
    if time::is_past(expires_at, now) {
        return "Stopping...".to_owned();
    }
    time::relative(expires_at, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let now = "2026-08-21T18:00:00Z".parse().expect("timestamp");
        let model = |name: &str, expires_at: &str| PsModel {
            name: name.into(),
            digest: "0123456789abcdef".repeat(4),
            size: 400_000_000,
            expires_at: expires_at.into(),
            context_length: 4096,
            ..PsModel::default()
        };
        let models = [
            model("smollm2:135m", "2026-08-21T18:04:30Z"),
            model("qwen3:0.6b", "2318-08-21T18:04:30Z"),
            model("old:latest", "2026-08-21T17:59:59Z"),
        ];
        assert_eq!(
            render(&models, None, now),
            "NAME            ID              SIZE      PROCESSOR    CONTEXT    UNTIL\n\
             smollm2:135m    0123456789ab    400 MB    100% CPU     4096       4 minutes from now\n\
             qwen3:0.6b      0123456789ab    400 MB    100% CPU     4096       Forever\n\
             old:latest      0123456789ab    400 MB    100% CPU     4096       Stopping...\n"
        );
    }

    #[test]
    fn the_processor() {
        for (size, size_vram, expected) in [
            (0, 0, "Unknown"),
            (1, 2, "Unknown"),
            (10, 0, "100% CPU"),
            (10, 10, "100% GPU"),
            (1000, 333, "67%/33% CPU/GPU"),
        ] {
            assert_eq!(processor(size, size_vram), expected);
        }
    }
}
