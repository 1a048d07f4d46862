//! `slmd pull NAME`: through the daemon where one runs, else straight into the store. Both show the same progress.

use super::{occupant::serves, progress::View};
use crate::{
    config::{Config, PlaceFlags},
    pulls::{Pulls, Wish},
    routes,
};
use anyhow::{Context, anyhow};
use slm_api::{Client, ClientError, ollama::PullRequest};
use slm_registry::Store;

/// Arguments of `slmd pull`.
#[derive(Debug, clap::Args)]
pub(super) struct PullArgs {
    /// Model to download, such as smollm2:135m; or hf.co/user/repo[:FORMAT], oci://host/repo:tag, the address or the path
    /// of a GGUF file
    name: String,
    /// Allow a registry that speaks plain HTTP
    #[arg(long)]
    insecure: bool,
    /// Bytes per second at most, such as 5M
    #[arg(long, value_name = "RATE", value_parser = bandwidth)]
    max_bandwidth: Option<u64>,
    #[command(flatten)]
    place: PlaceFlags,
}

fn bandwidth(text: &str) -> Result<u64, String> {
    let rate = slm_api::rate::parse(text).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "expected bytes per second, such as 800k or 5M".to_owned())
}

/// Downloads the model.
///
/// # Errors
/// What the registry, the network or the disk refuse.
pub(super) fn run(args: PullArgs) -> anyhow::Result<()> {
    let reference = routes::reference(&args.name)
        .map_err(|error| anyhow!("`{}`: {}", args.name, error.message()))?;
    let wish = Wish {
        reference,
        insecure: args.insecure,
        max_bandwidth: args.max_bandwidth,
    };
    let config = super::resolve(&args.place.0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let pulled = runtime.block_on(async {
        if serves(&config.host).await {
            let client = Client::new(&config.host)?;
            through_daemon(&client, &args.name, &wish).await
        } else {
            super::start_log("warn");
            let locations = config.locations.clone();
            let store = tokio::task::spawn_blocking(move || Store::open_without_index(locations))
                .await?
                .map_err(super::with_hint)?;
            directly(store, &config, wish).await
        }
    });
    runtime.shutdown_background();
    pulled
}

async fn through_daemon(client: &Client, name: &str, wish: &Wish) -> anyhow::Result<()> {
    let request = PullRequest {
        model: name.to_owned(),
        insecure: wish.insecure.then_some(true),
        max_bandwidth: wish.max_bandwidth,
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

async fn directly(store: Store, config: &Config, wish: Wish) -> anyhow::Result<()> {
    let mut watcher = Pulls::new(store, config).join(wish);
    let mut view = View::new();
    while let Some(lines) = watcher.next().await {
        let lines = lines.map_err(|error| anyhow!("{}", error.message()))?;
        lines.iter().for_each(|line| view.show(line));
    }
    view.finish();
    Ok(())
}
