//! `slm bench`: becomes `slmd bench`, which measures a model; `slm bench serve` measures a server under load. What either
//! measures is kept on the machine that it runs on, for the web page of the daemon there.

mod load;
mod report;
mod serve;

use crate::daemon;
use crate::failure::Exit;
use crate::settings::Settings;
use crate::ui::Ui;
use clap::Parser;
use slm_benchmarks::Benchmarks;

/// Arguments of `slm bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `serve` and its options, or those of `slmd bench`; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Measures.
///
/// # Errors
/// When there is no `slmd`, no server, or none that answers.
pub(crate) async fn run(args: Args, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    if args.args.first().is_none_or(|word| word != "serve") {
        return super::serve::become_slmd("bench", args.args);
    }
    let words = std::iter::once("slm bench".to_owned()).chain(args.args);
    let args = match serve::Line::try_parse_from(words) {
        Ok(line) => line.into_args(),
        Err(error) => error.exit(),
    };
    let client = match &args.base_url {
        Some(url) => slm_api::Client::new(&slm_api::Host::parse(url))?,
        None => daemon::connect(settings, ui).await?,
    };
    let kept = settings.data_dir.as_ref().map(|data_dir| {
        Benchmarks::new(data_dir, settings.benchmarks).begin(slm_benchmarks::Kind::Server)
    });
    serve::run(args, &client, kept, ui).await
}
