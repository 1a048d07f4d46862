//! `slmd pull NAME`: through the daemon where one runs, else straight into the store. Both show the same progress.

use super::{occupant::Occupant, progress::View};
use crate::{config::Flags, pulls::Pulls, routes::model_name};
use anyhow::{Context, anyhow};
use slm_api::{Client, ClientError, ollama::PullRequest};
use slm_registry::{ModelName, Store};

/// Arguments of `slmd pull`.
#[derive(Debug, clap::Args)]
pub(super) struct PullArgs {
    /// Model to download, such as smollm2:135m
    name: String,
    /// Allow a registry that speaks plain HTTP
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Downloads the model.
///
/// # Errors
/// What the registry, the network or the disk refuse.
pub(super) fn run(args: PullArgs) -> anyhow::Result<()> {
    let name =
        model_name(&args.name).map_err(|error| anyhow!("`{}`: {}", args.name, error.message()))?;
    let config = super::resolve(&args.flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let pulled = runtime.block_on(async {
        // another program's store is none of ours: only one of us is asked
        let is_there = match Occupant::of(&config.host).await {
            Some(Occupant::Slmd(_)) => true,
            Some(_) | None => !config.host.is_local(),
        };
        if is_there {
            let client = Client::new(&config.host)?;
            through_daemon(&client, &args.name, args.insecure).await
        } else {
            super::start_log("warn");
            let root = config.models_dir.clone();
            let store = tokio::task::spawn_blocking(move || Store::open_without_index(&root))
                .await?
                .map_err(super::with_hint)?;
            directly(store, &name, args.insecure).await
        }
    });
    runtime.shutdown_background();
    pulled
}

async fn through_daemon(client: &Client, name: &str, insecure: bool) -> anyhow::Result<()> {
    let request = PullRequest {
        model: name.to_owned(),
        insecure: insecure.then_some(true),
        ..PullRequest::default()
    };
    let explain = |error: ClientError| match error.hint() {
        Some(hint) => anyhow!("{error}; {hint}"),
        None => anyhow!(error),
    };
    let mut lines = client.pull(&request).await.map_err(explain)?;
    let mut view = View::new();
    while let Some(line) = lines.next().await {
        view.show(&line.map_err(explain)?);
    }
    view.finish();
    Ok(())
}

async fn directly(store: Store, name: &ModelName, insecure: bool) -> anyhow::Result<()> {
    let mut watcher = Pulls::new(store).join(name, insecure);
    let mut view = View::new();
    while let Some(lines) = watcher.next().await {
        let lines = lines.map_err(|error| anyhow!("{}", error.message()))?;
        lines.iter().for_each(|line| view.show(line));
    }
    view.finish();
    Ok(())
}
