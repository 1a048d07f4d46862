//! `slm swap`: makes a model ready, then lets the others go.

use slm_api::Client;
use slm_api::ollama::SwapRequest;

use crate::failure::Exit;
use crate::models;
use crate::ui::Ui;

/// Arguments of `slm swap`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model to make ready
    pub model: String,
    /// Keep it loaded until it is stopped, whatever else is wanted
    #[arg(long)]
    pub pin: bool,
    /// How long it stays loaded when idle, such as 5m
    #[arg(long, value_name = "DURATION")]
    pub keepalive: Option<String>,
}

/// Waits until the model is ready. No request is dropped: the others go once theirs have ended.
///
/// # Errors
/// When the model is unknown or does not fit.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = SwapRequest {
        model: args.model.clone(),
        keep_alive: args.keepalive.map(slm_api::ollama::KeepAlive::Text),
        pin: args.pin.then_some(true),
        ..SwapRequest::default()
    };
    match client.swap(&request).await {
        Ok(done) => {
            let released = match done.released.as_slice() {
                [] => String::new(),
                names => format!("; released {}", names.join(", ")),
            };
            ui.note(&format!("'{}' is ready{released}", done.model));
            Ok(Exit::Done)
        }
        Err(error) => Err(models::explain(client, &args.model, error).await),
    }
}
