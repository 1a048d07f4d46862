//! `slm push`: uploads a model to a registry, with progress.

use slm_api::Client;
use slm_api::ollama::PushRequest;

use crate::failure::Exit;
use crate::models;
use crate::progress;
use crate::ui::Ui;

/// Arguments of `slm push`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model on this machine
    pub model: String,
    /// Where to push it: `host/namespace/model:tag`, or `oci://host/repository:tag` [default: what the model's name says]
    pub destination: Option<String>,
    /// How it is packed: `ollama` as it is, `modelpack` (CNCF), `docker` (a Docker model artifact), or `modelcar` (an
    /// image for KServe)
    #[arg(long, value_parser = ["ollama", "modelpack", "docker", "modelcar"], default_value = "ollama")]
    pub format: String,
    /// Allow a registry without TLS
    #[arg(long)]
    pub insecure: bool,
}

/// Pushes the model.
///
/// # Errors
/// When there is no such model, or the registry cannot be reached or refuses it.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = PushRequest {
        model: args.model,
        destination: args.destination,
        format: Some(args.format).filter(|format| format != "ollama"),
        insecure: args.insecure.then_some(true),
        ..PushRequest::default()
    };
    // a status of 404 is about the model here; what a registry says comes in the stream
    let lines = match client.push(&request).await {
        Ok(lines) => lines,
        Err(error) => return Err(models::explain(client, &request.model, error).await),
    };
    progress::follow(lines, ui).await?;
    Ok(Exit::Done)
}
