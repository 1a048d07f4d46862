//! `slm stop`: unloads a model.

use slm_api::ollama::{GenerateRequest, KeepAlive};
use slm_api::{Client, ClientError};

use crate::failure::{Advice, Exit};
use crate::ui::Ui;

/// Arguments of `slm stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a loaded model
    pub model: String,
}

/// Unloads the model once its work is done.
///
/// # Errors
/// When there is no such model.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    match unload(client, &args.model).await {
        Ok(()) => {
            ui.note(&format!("stopped '{}'", args.model));
            Ok(Exit::Done)
        }
        Err(error) if error.is_not_found() => Err(Advice::new(
            format!("couldn't find model \"{}\" to stop", args.model),
            "run `slm ps` to see what is loaded",
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Asks for the model to be unloaded.
///
/// # Errors
/// As the client says.
pub(crate) async fn unload(client: &Client, model: &str) -> Result<(), ClientError> {
    let request = GenerateRequest {
        model: model.to_owned(),
        keep_alive: Some(KeepAlive::Seconds(0.0)),
        ..GenerateRequest::default()
    };
    let mut chunks = client.generate(&request).await?;
    while let Some(chunk) = chunks.next().await {
        chunk?;
    }
    Ok(())
}
