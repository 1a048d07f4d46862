//! `slmd bench`: how fast a model runs here, in the tests and words of llama-bench.
//!
//! Loads the model in this process, without a daemon. The timing is that of `slm_engine::bench`; here are options,
//! the order of tests, what is printed, and that results are kept for the web page, after each test. Ctrl-C ends the
//! program at once, since nothing catches it.

mod report;
mod statistics;

use super::{model_file, stdout};
use crate::{config::Flags, cpu, details::GgufFacts};
use anyhow::{anyhow, ensure};
use report::{Format, Outcome, Report, Setup, Subject};
use serde_json::{Map, Value};
use slm_benchmarks::Kind;
use slm_engine::{
    KvType, LoadOptions, Model, ModelFiles,
    bench::{Bench, Test, Work},
    memory,
};
use std::{ffi::OsString, io::IsTerminal, path::Path};

/// Bounds of the buffer that the memory's speed is measured with.
const MIN_STREAM_BYTES: usize = 256 << 20;
const MAX_STREAM_BYTES: usize = 1 << 30;
/// More threads than any machine has cores; more would only queue.
const MAX_THREADS: usize = 1024;

/// Arguments of `slmd bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// GGUF file, or name of a stored model
    #[arg(short, long, value_name = "FILE|NAME")]
    model: String,
    /// Prompt lengths to test (`pp`); 0 for none
    #[arg(
        short = 'p',
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "512"
    )]
    n_prompt: Vec<usize>,
    /// Numbers of single tokens to test (`tg`); 0 for none
    #[arg(
        short = 'n',
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "128"
    )]
    n_gen: Vec<usize>,
    /// A prompt and then single tokens, timed together (`pp+tg`); also -pg
    #[arg(long, value_name = "P,N", value_parser = pair)]
    pg: Vec<(usize, usize)>,
    /// Tokens in the cache before each test, outside of its time
    #[arg(
        short = 'd',
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "0"
    )]
    n_depth: Vec<usize>,
    /// Compute threads; 0 takes what the machine allows
    #[arg(
        short,
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "0",
        env = "SLM_NUM_THREADS",
        value_parser = threads
    )]
    threads: Vec<usize>,
    /// Times that each test is run, after a warm-up
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// Form of the results
    #[arg(short, long, value_enum, default_value = "md")]
    output: Format,
    /// Element type of the cache, of keys and values alike; also -ctk
    #[arg(
        long,
        visible_alias = "ctk",
        default_value = "f16",
        value_name = "TYPE"
    )]
    cache_type_k: KvType,
    /// CPU tier to force [default: the best that this machine has]
    #[arg(long, value_name = "TIER", env = "SLM_CPU")]
    cpu: Option<String>,
}

/// A number of threads; an empty variable is one that is not set.
fn threads(text: &str) -> Result<usize, std::num::ParseIntError> {
    match text.trim() {
        "" => Ok(0),
        number => number.parse(),
    }
}

/// `P,N`.
fn pair(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once(',')
        .and_then(|(prompt, gen_)| Some((prompt.trim().parse().ok()?, gen_.trim().parse().ok()?)));
    numbers.ok_or_else(|| "expected two numbers, such as 512,128".to_owned())
}

/// The command line with llama-bench's short options of several letters as the long ones that they mean.
pub(super) fn with_long_names(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|command| command == "bench") {
        for argument in &mut arguments[2..] {
            let long = match argument.to_str() {
                Some("-pg") => "--pg",
                Some("-ctk") => "--ctk",
                _ => continue,
            };
            *argument = long.into();
        }
    }
    arguments
}

impl BenchArgs {
    /// What to run, in llama-bench's order.
    fn tests(&self) -> Vec<Test> {
        let mut tests = Vec::new();
        for &n_depth in &self.n_depth {
            let mut add = |n_prompt: usize, n_gen: usize| {
                let test = Test {
                    n_prompt,
                    n_gen,
                    n_depth,
                };
                if test.n_tokens() > 0 {
                    tests.push(test);
                }
            };
            self.n_prompt.iter().for_each(|&n| add(n, 0));
            self.n_gen.iter().for_each(|&n| add(0, n));
            self.pg
                .iter()
                .for_each(|&(n_prompt, n_gen)| add(n_prompt, n_gen));
        }
        tests
    }
}

/// Loads the model and runs every test.
///
/// # Errors
/// A model that is not there or cannot be run, tests that do not fit, or an output that is closed.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let tests = args.tests();
    ensure!(
        !tests.is_empty(),
        "there is nothing to test: give -p, -n or -pg a number above 0"
    );
    let path = model_file::find(&args.model)?;
    let kv_type = args.cache_type_k;
    let mut report = Report::new(std::io::stdout(), args.output);
    let mut setups = Vec::new();
    let mut keeper = Keeper::new();
    for &n_threads in &args.threads {
        ensure!(
            n_threads <= MAX_THREADS,
            "{n_threads} threads are more than the {MAX_THREADS} that can be tested"
        );
        let options = LoadOptions {
            n_threads: Some(n_threads).filter(|&n| n > 0),
            cpu: args.cpu.clone().filter(|tier| !tier.is_empty()),
            kv_type,
            ..LoadOptions::default()
        };
        let model = Model::load(&path, &options)?;
        let subject = subject(&args.model, &path, kv_type.name())?;
        let mut bench = Bench::new(&model);
        for &test in &tests {
            bench.check(test)?;
        }
        let setup = measure(&model, &bench);
        for &test in &tests {
            let started = jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string();
            let times = bench.run(test, usize::from(args.repetitions))?;
            let outcome = Outcome {
                test,
                times,
                started,
            };
            stdout::checked(report.row(&subject, &setup, &outcome))?;
            keeper.keep(report::fields(&subject, &setup, &outcome));
        }
        setups.push(setup);
    }
    let written = report.ceilings(&setups).and_then(|()| report.finish());
    stdout::checked(written)?;
    keeper.tell();
    Ok(())
}

/// Keeps results for the web page. Where that fails, the measurement goes on: it is said once.
struct Keeper {
    run: Option<slm_benchmarks::Run>,
    /// The page, for who reads this in a terminal.
    page: Option<String>,
}

impl Keeper {
    fn new() -> Self {
        match super::resolve(&Flags::default()) {
            Ok(config) => Self {
                run: config.benchmarks.map(|place| place.begin(Kind::Model)),
                page: (config.host.is_local())
                    .then(|| format!("{}/#bench", config.host.client_url())),
            },
            Err(error) => {
                warn(&format!("results are not kept: {error:#}"));
                Self {
                    run: None,
                    page: None,
                }
            }
        }
    }

    fn keep(&mut self, result: Map<String, Value>) {
        let Some(run) = &mut self.run else { return };
        if let Err(error) = run.add(result) {
            warn(&format!("results are not kept for the web page: {error}"));
            self.run = None;
        }
    }

    /// Where the results can be looked at.
    #[expect(clippy::print_stderr, reason = "a word beside the results")]
    fn tell(&self) {
        let page = self.page.as_ref().filter(|_| self.run.is_some());
        if let Some(page) = page.filter(|_| std::io::stderr().is_terminal()) {
            eprintln!("kept; while the daemon runs, {page} draws it");
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "results go to stdout, and nothing else"
)]
fn warn(text: &str) {
    eprintln!("warning: {}", super::printable(text));
}

fn subject(named: &str, path: &Path, kv_type: &'static str) -> anyhow::Result<Subject> {
    let facts = GgufFacts::read(path).map_err(|error| anyhow!("{}", error.message()))?;
    let work = Work::of(&ModelFiles::open(path)?.gguf()?);
    let params = crate::details::count_label(work.n_params);
    Ok(Subject {
        model_filename: named.to_owned(),
        model_type: format!("{} {params} {}", facts.architecture, facts.file_type),
        work,
        kv_type,
        cpu_info: cpu::model_name(),
    })
}

/// The tier and threads that the model runs on, and what they do at best.
fn measure(model: &Model, bench: &Bench<'_>) -> Setup {
    let compute = model.decoder().compute();
    Setup {
        tier: compute.isa().to_string(),
        n_threads: compute.n_threads(),
        chunk: bench.chunk(),
        bytes_per_position: bench.bytes_per_position(),
        bandwidth: compute.measure_bandwidth(stream_bytes()),
        peak_macs: compute.measure_peak_macs(),
    }
}

/// Larger than the caches, and a small part of what memory is left.
fn stream_bytes() -> usize {
    let caches = cpu::largest_cache().unwrap_or(0).saturating_mul(4);
    let wanted = caches.clamp(MIN_STREAM_BYTES, MAX_STREAM_BYTES);
    let left = memory::available_bytes().unwrap_or(u64::MAX) / 4;
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[track_caller]
    fn tests(line: &str) -> Vec<String> {
        let words = format!("slmd bench -m x {line}");
        let mut words = with_long_names(words.split(' ').map(OsString::from));
        words.remove(1);
        let parsed = Line::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
        let tests = parsed.bench.tests();
        tests.iter().map(Test::to_string).collect()
    }

    #[test]
    fn tests_come_in_the_order_of_llama_bench() {
        assert_eq!(tests("-r 1"), ["pp512", "tg128"]);
        assert_eq!(
            tests("-p 8,16 -n 0 -d 0,4096 -pg 512,128"),
            [
                "pp8",
                "pp16",
                "pp512+tg128",
                "pp8 @ d4096",
                "pp16 @ d4096",
                "pp512+tg128 @ d4096"
            ]
        );
        assert_eq!(tests("-p 0 -n 0"), Vec::<String>::new());
    }

    #[test]
    fn an_empty_number_of_threads_is_none() {
        assert_eq!(["", " ", "0", "3"].map(threads), [0, 0, 0, 3].map(Ok));
    }

    #[test]
    fn wrong_numbers_are_refused() {
        for line in ["-r 0", "-p x", "-t x", "--pg 5", "-o yaml", "--ctk q8"] {
            let words = format!("bench -m x {line}");
            assert!(Line::try_parse_from(words.split(' ')).is_err(), "{line}");
        }
    }
}
