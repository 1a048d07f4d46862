//! `slm rm`: removes models, each unloaded first.

use slm_api::Client;
use slm_api::ollama::DeleteRequest;

use crate::commands::stop;
use crate::failure::Exit;
use crate::models;
use crate::ui::Ui;

/// Arguments of `slm rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of models
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
}

/// Removes each model; one that fails does not keep the others.
///
/// # Errors
/// Only when the output cannot be written; the failure of a model is printed here.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for model in args.models {
        match remove(client, &model).await {
            Ok(()) => ui.data(&format!("deleted '{model}'\n"))?,
            Err(error) => {
                ui.error(&error);
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

async fn remove(client: &Client, model: &str) -> anyhow::Result<()> {
    // Whatever is wrong with the name, the removal says it.
    let _ = stop::unload(client, model).await;
    let request = DeleteRequest {
        model: model.to_owned(),
        name: None,
    };
    match client.delete(&request).await {
        Ok(()) => Ok(()),
        Err(error) => Err(models::explain_unwanted(client, model, error).await),
    }
}
