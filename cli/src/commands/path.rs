//! `slm path`: where the plain GGUF file of a model is.

use slm_api::Client;

use crate::failure::Exit;
use crate::format::Format;
use crate::models;
use crate::ui::Ui;

/// Arguments of `slm path`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model
    pub model: String,
    /// The adapter's file in place of the weights'
    #[arg(long)]
    pub adapter: bool,
    /// `json` for all files, with digests, sizes and locations
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints one path a line.
///
/// # Errors
/// When there is no such model, or it has no such file.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let found = match client.path(&args.model).await {
        Ok(found) => found,
        Err(error) => return Err(models::explain(client, &args.model, error).await),
    };
    if args.format == Format::Json {
        args.format.print(&found, |_| String::new(), ui)?;
        return Ok(Exit::Done);
    }
    let wanted = if args.adapter { "adapter" } else { "model" };
    let files = found.files.iter().filter(|file| file.kind == wanted);
    let paths: Vec<&str> = files.map(|file| file.path.as_str()).collect();
    anyhow::ensure!(!paths.is_empty(), "`{}` has no {wanted}", found.model);
    if paths.len() > 1 && !args.adapter {
        ui.note("the model is in several files; programs that look for them by name want links called NAME-00001-of-0000N.gguf and so on");
    }
    ui.data(&format!("{}\n", paths.join("\n")))?;
    Ok(Exit::Done)
}
