//! `slm archive` and `slm unarchive`: a model's weights to the archive's disk and back.

use slm_api::Client;

use crate::failure::Exit;
use crate::models;
use crate::progress;
use crate::ui::Ui;

/// Arguments of `slm archive` and `slm unarchive`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of models
    #[arg(required = true)]
    pub models: Vec<String>,
}

/// Moves each model; `back` is from the archive.
///
/// # Errors
/// When a model is unknown, there is no archive, or it has no room.
pub(crate) async fn run(args: Args, back: bool, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    for model in &args.models {
        let moved = async {
            let lines = client.archive(model, back).await?;
            progress::follow(lines, ui).await
        };
        if let Err(error) = moved.await {
            return Err(models::explain(client, model, error).await);
        }
    }
    Ok(Exit::Done)
}
