//! `slm pull`: fetches a model, with progress.

use slm_api::ollama::PullRequest;
use slm_api::{Client, ClientError};

use crate::failure::Exit;
use crate::progress;
use crate::ui::Ui;

/// Arguments of `slm pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model, such as `qwen3:0.6b`
    pub model: String,
    /// Allow a registry without TLS
    #[arg(long)]
    pub insecure: bool,
}

/// Pulls the model.
///
/// # Errors
/// When the registry has no such model or cannot be reached, or what arrives is damaged.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    pull(client, &args.model, args.insecure, ui).await?;
    Ok(Exit::Done)
}

/// Pulls a model and shows how far it is.
///
/// # Errors
/// As [`run`].
pub(crate) async fn pull(
    client: &Client,
    model: &str,
    insecure: bool,
    ui: Ui,
) -> anyhow::Result<()> {
    let request = PullRequest {
        model: model.to_owned(),
        insecure: insecure.then_some(true),
        ..PullRequest::default()
    };
    let result: Result<(), ClientError> = async {
        let lines = client.pull(&request).await?;
        progress::follow(lines, ui).await
    }
    .await;
    Ok(result?)
}
