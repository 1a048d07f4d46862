//! `slm adopt`: models of Ollama, Hugging Face and LM Studio, used in place.

use std::path::Path;

use anyhow::Context;
use slm_api::Client;
use slm_api::store::{AdoptFound, AdoptRequest};

use crate::failure::Exit;
use crate::format::Format;
use crate::progress;
use crate::text::size;
use crate::text::table::{self, Room};
use crate::ui::Ui;

/// Arguments of `slm adopt`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `ollama`, `huggingface`, `lmstudio`, a folder or a file (default: the first three)
    pub source: Option<String>,
    /// Names to adopt, as they are listed
    pub models: Vec<String>,
    /// Adopt all that is found
    #[arg(short, long, conflicts_with = "models")]
    pub yes: bool,
    /// By hard link, so that a model stays when the other program removes its own
    #[arg(long)]
    pub link: bool,
    /// How to list what is found
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Lists what is there, or adopts it.
///
/// # Errors
/// When the source cannot be read, a name is unknown, or a file is not what its name says.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let source = match args.source.as_deref() {
        None => String::new(),
        Some(program @ ("ollama" | "huggingface" | "lmstudio")) => program.to_owned(),
        Some(path) => {
            let absolute = std::path::absolute(Path::new(path));
            let absolute = absolute.with_context(|| format!("cannot tell where `{path}` is"))?;
            absolute.to_string_lossy().into_owned()
        }
    };
    let request = AdoptRequest {
        source,
        models: args.models,
        hard_link: args.link,
    };
    if args.yes || !request.models.is_empty() {
        let lines = client.adopt(&request).await?;
        progress::follow(lines, ui).await?;
        return Ok(Exit::Done);
    }
    let found = client.find_foreign(&request).await?;
    for note in &found.notes {
        ui.warn(note);
    }
    let table = |found: &AdoptFound| render(found, ui.data_width());
    args.format.print(&found, table, ui)?;
    if args.format == Format::Text && found.models.iter().any(|model| !model.is_here) {
        ui.note("nothing is changed yet: adopt all with `--yes`, or name some behind the source");
    }
    Ok(Exit::Done)
}

fn render(found: &AdoptFound, width: Option<usize>) -> String {
    let mut rows = vec![table::row(["NAME", "FROM", "SIZE", "STATE", "FILE"])];
    rows.extend(found.models.iter().map(|model| {
        vec![
            model.name.clone(),
            model.program.clone(),
            size::bytes(model.size),
            if model.is_here { "here" } else { "new" }.to_owned(),
            model.path.clone(),
        ]
    }));
    let rooms = [
        Room::Name,
        Room::Spare(1),
        Room::Whole,
        Room::Whole,
        Room::Text(0),
    ];
    table::fit(&rows, &rooms, 0, width)
}
