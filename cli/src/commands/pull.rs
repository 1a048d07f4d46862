//! `slm pull`: fetches a model, with progress.

use slm_api::ollama::PullRequest;
use slm_api::{Client, ClientError};

use crate::failure::Exit;
use crate::progress;
use crate::ui::Ui;

/// Arguments of `slm pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model, such as `qwen3:0.6b`; or `hf.co/user/repo[:FORMAT]`, `oci://host/repo:tag`, or the
    /// address of a GGUF file
    pub model: String,
    /// Allow a registry without TLS
    #[arg(long)]
    pub insecure: bool,
    /// Bytes per second at most, such as `5M`; whoever else waits for the same model shares the bound of the first
    #[arg(long, value_name = "RATE", value_parser = bandwidth)]
    pub max_bandwidth: Option<u64>,
}

fn bandwidth(text: &str) -> Result<u64, String> {
    let rate = slm_api::rate::parse(text).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "expected bytes per second, such as 800k or 5M".to_owned())
}

/// Pulls the model.
///
/// # Errors
/// When the registry has no such model or cannot be reached, or what arrives is damaged.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = PullRequest {
        max_bandwidth: args.max_bandwidth,
        ..request(&args.model, args.insecure)
    };
    send(client, &request, ui).await?;
    Ok(Exit::Done)
}

fn request(model: &str, insecure: bool) -> PullRequest {
    PullRequest {
        model: model.to_owned(),
        insecure: insecure.then_some(true),
        ..PullRequest::default()
    }
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
    send(client, &request(model, insecure), ui).await
}

async fn send(client: &Client, request: &PullRequest, ui: Ui) -> anyhow::Result<()> {
    let result: Result<(), ClientError> = async {
        let lines = client.pull(request).await?;
        progress::follow(lines, ui).await
    }
    .await;
    Ok(result?)
}
