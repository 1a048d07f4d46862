//! `slm rollback`: the version of a model before its last update.

use slm_api::Client;
use slm_api::care::RollbackRequest;

use crate::commands::list::short_id;
use crate::failure::Exit;
use crate::models;
use crate::ui::Ui;

/// Arguments of `slm rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model
    pub model: String,
}

/// Swaps the model with its earlier version; twice is as before.
///
/// # Errors
/// When there is no such model, or no earlier version of it.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = RollbackRequest {
        model: args.model.clone(),
    };
    match client.rollback(&request).await {
        Ok(now) => ui.data(&format!(
            "'{}' is {} again\n",
            args.model,
            short_id(&now.digest)
        ))?,
        Err(error) => return Err(models::explain(client, &args.model, error).await),
    }
    Ok(Exit::Done)
}
