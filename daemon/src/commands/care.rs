//! `slmd verify` and `slmd gc`: through the daemon where one runs, else on the store itself. `slm` shows more of the same.

use super::{occupant::serves, progress::View, stdout};
use crate::{
    care::{self, Verification},
    config::{Config, PlaceFlags},
    error::ApiError,
    ndjson::LINES_AHEAD,
    pulls::Pulls,
};
use anyhow::{Context, anyhow, bail};
use slm_api::{
    Client,
    care::{GcRequest, GcResponse, StoreProblem, VerifyLine, VerifyRequest, VerifySummary},
    ollama::Progress,
};
use slm_registry::Store;
use tokio::sync::mpsc;

/// Arguments of `slmd verify`.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Only these models (default: the whole store)
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Fetch what is damaged again, from where it came
    #[arg(long)]
    repair: bool,
    /// Allow a registry that speaks plain HTTP for that
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Arguments of `slmd gc`.
#[derive(Debug, clap::Args)]
pub(super) struct GcArgs {
    /// Remove it, in place of showing what would go
    #[arg(short = 'f', long, visible_alias = "force")]
    yes: bool,
    /// How old blobs that no model uses and unfinished downloads must be, such as `30m` or `0` (default: an hour, and
    /// two weeks for downloads)
    #[arg(long, value_name = "AGE", value_parser = slm_api::age::parse)]
    older_than: Option<u64>,
    /// Earlier versions of models too, which `slm rollback` goes back to
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Verifies.
///
/// # Errors
/// When damage remains, or the store cannot be read.
pub(super) fn verify(args: VerifyArgs) -> anyhow::Result<()> {
    let config = super::resolve(&args.place.0)?;
    let request = VerifyRequest {
        models: args.models,
        repair: args.repair.then_some(true),
        insecure: args.insecure.then_some(true),
    };
    let runtime = runtime()?;
    let shown = runtime.block_on(async {
        let mut show = Shown::new();
        if serves(&config.host).await {
            let client = Client::new(&config.host)?;
            let mut lines = client.verify(&request).await?;
            while let Some(line) = lines.next().await {
                show.line(&line?);
            }
        } else {
            let store = open(&config).await?;
            let pulls = Pulls::new(store.clone(), &config);
            let verification = Verification::check(&request, &pulls).map_err(said)?;
            let (lines, mut receiver) = mpsc::channel(LINES_AHEAD);
            let work = tokio::spawn(verification.run(store, lines));
            while let Some(line) = receiver.recv().await {
                show.line(&line.map_err(said)?);
            }
            work.await?;
        }
        anyhow::Ok(show.finish())
    });
    runtime.shutdown_background();
    let (summary, was_said) = shown?;
    let n_left = summary.problems - summary.repaired.min(summary.problems);
    if n_left > 0 {
        bail!(
            "{n_left} of {} blobs and manifests are damaged",
            summary.blobs + summary.models
        );
    }
    was_said
}

/// Collects garbage, or shows it.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) fn gc(args: GcArgs) -> anyhow::Result<()> {
    let config = super::resolve(&args.place.0)?;
    let request = GcRequest {
        remove: args.yes.then_some(true),
        older_than: args.older_than,
        history: args.history.then_some(true),
    };
    let runtime = runtime()?;
    let found: anyhow::Result<GcResponse> = runtime.block_on(async {
        if serves(&config.host).await {
            return Ok(Client::new(&config.host)?.gc(&request).await?);
        }
        let store = open(&config).await?;
        let found = tokio::task::spawn_blocking(move || care::gc(&store, &request)).await?;
        found.map_err(said)
    });
    runtime.shutdown_background();
    let found = found?;
    for (what, files) in [("blob", &found.blobs), ("download", &found.partials)] {
        for file in files {
            stdout::line(&format!("{what} {} {} bytes", file.digest, file.size))?;
        }
    }
    for version in &found.versions {
        stdout::line(&format!("version {} of {}", version.digest, version.name))?;
    }
    if let Some(name) = &found.blocked_by {
        stdout::line(&format!(
            "blobs are kept: the manifest of {name} cannot be read; pull it again or remove it"
        ))?;
    }
    let n_bytes = found.bytes;
    stdout::line(&match found.removed {
        true => format!("removed {n_bytes} bytes"),
        false => format!("{n_bytes} bytes would be removed; --yes does it"),
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

async fn open(config: &Config) -> anyhow::Result<Store> {
    super::start_log("warn");
    let locations = config.locations.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open_without_index(locations)).await?;
    opened.map_err(super::with_hint)
}

fn said(error: ApiError) -> anyhow::Error {
    anyhow!("{}", error.message())
}

/// What was shown of a verification.
struct Shown {
    view: View,
    summary: VerifySummary,
    /// Whether all could be said. Where not, the work goes on: it may be a repair.
    said: anyhow::Result<()>,
}

impl Shown {
    fn new() -> Self {
        Self {
            view: View::new(),
            summary: VerifySummary::default(),
            said: Ok(()),
        }
    }

    fn say(&mut self, text: &str) {
        if self.said.is_ok() {
            self.said = stdout::line(text);
        }
    }

    fn line(&mut self, line: &VerifyLine) {
        if let Some(problem) = &line.problem {
            self.say(&sentence(&line.status, problem));
        }
        if let Some(summary) = &line.summary {
            self.summary = summary.clone();
            self.say(&format!(
                "{} bytes in {} models and {} blobs: {} problems, {} repaired",
                summary.bytes, summary.models, summary.blobs, summary.problems, summary.repaired
            ));
        }
        if line.total.is_some() {
            self.view.show(&Progress {
                status: line.status.clone(),
                // one bar for each kind of work
                digest: Some(line.status.clone()),
                total: line.total,
                completed: line.completed,
            });
        }
    }

    fn finish(self) -> (VerifySummary, anyhow::Result<()>) {
        self.view.finish();
        (self.summary, self.said)
    }
}

fn sentence(status: &str, problem: &StoreProblem) -> String {
    let what = problem.digest.as_deref().unwrap_or("manifest");
    let models = match problem.models.as_slice() {
        [] => "no model".to_owned(),
        models => models.join(", "),
    };
    let reason = problem.error.as_ref().unwrap_or(&problem.reason);
    match status {
        "repaired" => format!("repaired {what} of {models}"),
        "problem" => format!("{} {what} of {models}: {reason}", problem.kind),
        _ => format!("{status} {what} of {models}: {reason}"),
    }
}
