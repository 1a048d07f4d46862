//! `slm df`: what takes how much of the disk.

use slm_api::Client;
use slm_api::care::DfResponse;

use crate::failure::Exit;
use crate::format::Format;
use crate::text::size;
use crate::text::table::{self, Room};
use crate::ui::Ui;

/// Arguments of `slm df`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints the table.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let usage = client.df().await?;
    let table = |usage: &DfResponse| render(usage, ui.data_width());
    args.format.print(&usage, table, ui)?;
    Ok(Exit::Done)
}

fn render(usage: &DfResponse, width: Option<usize>) -> String {
    let mut rows = vec![table::row(["NAME", "OWN", "SHARED", "EARLIER"])];
    rows.extend(usage.models.iter().map(|model| {
        vec![
            model.name.clone(),
            size::bytes(model.own),
            size::bytes(model.shared),
            size::bytes(model.earlier),
        ]
    }));
    let rooms = [Room::Name, Room::Whole, Room::Spare(1), Room::Spare(0)];
    let mut text = table::fit(&rows, &rooms, 0, width);
    let partials = usage.partials.iter().map(|partial| partial.size).sum();
    let mut sums = vec![
        (
            "models and versions",
            usage.blobs - usage.unreferenced.min(usage.blobs),
        ),
        ("  of these, earlier versions", usage.earlier),
        ("unfinished downloads", partials),
        ("used by no model", usage.unreferenced),
    ];
    sums.extend(usage.free.map(|free| ("free on the disk", free)));
    let sums = sums
        .into_iter()
        .map(|(what, n_bytes)| vec![what.to_owned(), size::bytes(n_bytes)]);
    text.push('\n');
    text.push_str(&table::render(&sums.collect::<Vec<_>>(), 0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_api::care::{DfModel, GcFile};

    #[test]
    fn shares_and_sums() {
        let usage = DfResponse {
            models: vec![DfModel {
                name: "m:latest".to_owned(),
                own: 2_000,
                shared: 3_000,
                earlier: 1_000,
            }],
            partials: vec![GcFile {
                digest: String::new(),
                size: 500,
            }],
            blobs: 10_000,
            earlier: 1_000,
            unreferenced: 4_000,
            free: Some(7_000_000_000),
        };
        assert_eq!(
            render(&usage, None),
            "NAME        OWN     SHARED    EARLIER\n\
             m:latest    2 KB    3 KB      1 KB\n\
             \n\
             models and versions             6 KB\n  \
               of these, earlier versions    1 KB\n\
             unfinished downloads            500 B\n\
             used by no model                4 KB\n\
             free on the disk                7 GB\n"
        );
    }
}
