//! `slm bench serve`: many requests at once through HTTP, of any server that speaks OpenAI's dialect.
//!
//! Options and results carry the names of vLLM's serving benchmark, so that figures of several servers can be compared.

use super::load::{self, Load};
use super::report::Report;
use crate::failure::{Advice, Exit};
use crate::format::Format;
use crate::ui::Ui;
use clap::Parser;
use slm_api::{Client, ClientError};
use slm_benchmarks::Run;

/// The command line behind `slm bench`.
#[derive(Debug, Parser)]
#[command(name = "slm bench", disable_help_subcommand = true)]
pub(super) struct Line {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure a server under load
    Serve(Args),
}

impl Line {
    pub(super) fn into_args(self) -> Args {
        let What::Serve(args) = self.what;
        args
    }
}

/// Arguments of `slm bench serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model that answers
    #[arg(short, long)]
    pub(super) model: String,
    /// Server to measure [default: the daemon]
    #[arg(long, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// Requests of each test
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    num_prompts: u32,
    /// Most requests at once; a test for each number
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrency: Vec<u32>,
    /// Words of each prompt, each about a token
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    random_input_len: u32,
    /// Words at the beginning that all prompts share
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    random_prefix_len: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    random_output_len: u32,
    /// Temperature of the answers; with 0 many models repeat themselves, which guesses ahead make fast
    #[arg(long, value_name = "T", default_value = "0", value_parser = temperature)]
    temperature: f32,
    /// Seed of the prompts: the same again are found in the server's cache [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How to print it; JSON is one line for each test
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn temperature(text: &str) -> Result<f32, String> {
    let value = text.parse().ok();
    value
        .filter(|value: &f32| (0.0..=2.0).contains(value))
        .ok_or_else(|| "a number from 0 to 2".to_owned())
}

/// An address that somebody gave may be any server's: nobody is told to start the daemon.
fn no_server(base_url: Option<&str>, error: ClientError) -> anyhow::Error {
    match (base_url, &error) {
        (Some(url), ClientError::Connect { .. }) => Advice::new(
            format!("no server answers at {url}"),
            "give --base-url the address of a server that speaks OpenAI's dialect",
        )
        .into(),
        _ => error.into(),
    }
}

/// Measures and prints.
///
/// # Errors
/// When no request was answered.
pub(super) async fn run(
    args: Args,
    client: &Client,
    mut kept: Option<Run>,
    ui: Ui,
) -> anyhow::Result<Exit> {
    let load = Load {
        model: args.model,
        n_requests: args.num_prompts as usize,
        n_words: args.random_input_len as usize,
        n_shared_words: args.random_prefix_len as usize,
        n_tokens: args.random_output_len,
        temperature: args.temperature,
    };
    let seed = args.seed.unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        now.as_micros() as u64
    });
    // the model is loaded, and both sides are warm
    let n_tokens = load.n_tokens.min(8);
    let warm = load::one(client, &load, load.prompt(seed, usize::MAX), n_tokens).await;
    warm.map_err(|error| no_server(args.base_url.as_deref(), error))?;
    let mut reports = Vec::new();
    for (i, width) in args.max_concurrency.iter().enumerate() {
        // no test asks what an earlier one has asked: that would be found in the cache
        let seed = seed.wrapping_mul(1024).wrapping_add(i as u64 + 1);
        let (answers, seconds) = load::run(client, &load, *width as usize, seed).await;
        let report = Report::of(&load.model, *width, seconds, &answers);
        if let Some(error) = report.errors.first().filter(|_| report.completed == 0) {
            anyhow::bail!("no request was answered: {error}");
        }
        if args.format == Format::Json {
            ui.data(&format!("{}\n", serde_json::to_string(&report)?))?;
        }
        if let Some(Err(error)) = kept.as_mut().map(|run| report.keep(run)) {
            ui.warn(&format!("results are not kept for the web page: {error}"));
            kept = None;
        }
        reports.push(report);
    }
    if args.format == Format::Text {
        ui.data(&super::report::table(&reports))?;
    }
    let has_failed = reports.iter().any(|report| !report.errors.is_empty());
    Ok(if has_failed { Exit::Failed } else { Exit::Done })
}
