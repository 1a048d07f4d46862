//! `slm cp`: a second name for a model.

use slm_api::Client;
use slm_api::ollama::CopyRequest;

use crate::failure::Exit;
use crate::models;
use crate::ui::Ui;

/// Arguments of `slm cp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of an existing model
    pub source: String,
    /// Name to add
    pub destination: String,
}

/// Copies the name; the weights are shared.
///
/// # Errors
/// When the source is unknown or the destination is no name.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = CopyRequest {
        source: args.source.clone(),
        destination: args.destination.clone(),
    };
    if let Err(error) = client.copy(&request).await {
        return Err(models::explain(client, &args.source, error).await);
    }
    ui.data(&format!(
        "copied '{}' to '{}'\n",
        args.source, args.destination
    ))?;
    Ok(Exit::Done)
}
