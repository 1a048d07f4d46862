//! The results of `slmd bench` in words: a table, JSON, JSON lines or CSV.
//!
//! Field names are llama-bench's where it has the field, so that scripts for one read the other.

use super::statistics::Statistics;
use crate::details::count_label;
use serde_json::{Map, Value, json};
use slm_engine::bench::{Test, Work};
use std::{io, time::Duration};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Md,
    Json,
    Jsonl,
    Csv,
}

/// What all tests of one run of the program share.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The file as it was named, or the stored model's name.
    pub(super) model_filename: String,
    /// Architecture, size and quantisation.
    pub(super) model_type: String,
    pub(super) work: Work,
    pub(super) kv_type: &'static str,
    pub(super) cpu_info: String,
}

/// What this machine does at best on the threads and the tier that were used.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) tier: String,
    pub(super) n_threads: usize,
    /// Prompt tokens processed at once.
    pub(super) chunk: usize,
    pub(super) bytes_per_position: usize,
    /// Bytes a second from memory.
    pub(super) bandwidth: Option<f64>,
    /// Multiply-adds of bytes a second.
    pub(super) peak_macs: Option<f64>,
}

/// The times of one test.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) test: Test,
    pub(super) times: Vec<Duration>,
    /// When it began, as RFC 3339.
    pub(super) started: String,
}

impl Outcome {
    /// Tokens a second of each repetition.
    fn speeds(&self) -> Vec<f64> {
        let n_tokens = self.test.n_tokens() as f64;
        let seconds = self.times.iter().map(|t| t.as_secs_f64().max(1e-9));
        seconds.map(|s| n_tokens / s).collect()
    }

    /// The share of what the machine does at best: the time that the products of the prompt and the bytes of the
    /// single tokens would take at the measured ceilings, over the median time.
    fn ceiling_share(&self, subject: &Subject, setup: &Setup) -> Option<f64> {
        let mut least = 0.0;
        if self.test.n_prompt > 0 {
            least += subject.work.prompt_macs(self.test) / setup.peak_macs?;
        }
        if self.test.n_gen > 0 {
            let bytes = subject
                .work
                .generation_bytes(self.test, setup.bytes_per_position);
            least += bytes / setup.bandwidth?;
        }
        let median = self.test.n_tokens() as f64 / Statistics::of(&self.speeds()).median;
        Some(least / median)
    }
}

/// Writes results as they come.
pub(super) struct Report<W> {
    out: W,
    format: Format,
    n_rows: usize,
}

impl<W: io::Write> Report<W> {
    pub(super) fn new(out: W, format: Format) -> Self {
        Self {
            out,
            format,
            n_rows: 0,
        }
    }

    /// One test.
    pub(super) fn row(
        &mut self,
        subject: &Subject,
        setup: &Setup,
        outcome: &Outcome,
    ) -> io::Result<()> {
        let is_first = self.n_rows == 0;
        self.n_rows += 1;
        match self.format {
            Format::Md => {
                if is_first {
                    self.out.write_all(TABLE_HEAD.as_bytes())?;
                }
                writeln!(self.out, "{}", table_row(subject, setup, outcome))?;
            }
            Format::Json => {
                let start = if is_first { "[\n" } else { ",\n" };
                let row = Value::Object(fields(subject, setup, outcome));
                write!(self.out, "{start}{row:#}")?;
            }
            Format::Jsonl => {
                let row = Value::Object(fields(subject, setup, outcome));
                writeln!(self.out, "{row}")?;
            }
            Format::Csv => {
                let mut fields = fields(subject, setup, outcome);
                fields.retain(|_, value| !value.is_array());
                if is_first {
                    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                    writeln!(self.out, "{}", names.join(","))?;
                }
                let cells: Vec<String> = fields.values().map(cell).collect();
                writeln!(self.out, "{}", cells.join(","))?;
            }
        }
        self.out.flush()
    }

    /// What was held against, below a table; nothing elsewhere, where it stands in each row.
    pub(super) fn ceilings(&mut self, setups: &[Setup]) -> io::Result<()> {
        if self.format != Format::Md {
            return Ok(());
        }
        for (index, setup) in setups.iter().enumerate() {
            let start = if index == 0 { "\n" } else { "" };
            let giga = |value: Option<f64>, unit: &str| match value {
                Some(value) => format!("{:.1} {unit}", value / 1e9),
                None => format!("unknown {unit}"),
            };
            writeln!(
                self.out,
                "{start}ceiling of {} threads, {}: {} read from memory (tg), {} of byte products (pp)",
                setup.n_threads,
                setup.tier,
                giga(setup.bandwidth, "GB/s"),
                giga(setup.peak_macs, "GMAC/s"),
            )?;
        }
        Ok(())
    }

    /// Closes what is open.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Json {
            let end = if self.n_rows == 0 { "[]\n" } else { "\n]\n" };
            self.out.write_all(end.as_bytes())?;
        }
        self.out.flush()
    }
}

const TABLE_HEAD: &str = "\
| model | size | params | backend | threads | test | t/s | median | min … max | of ceiling |
| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |
";

fn table_row(subject: &Subject, setup: &Setup, outcome: &Outcome) -> String {
    let speed = Statistics::of(&outcome.speeds());
    let share = match outcome.ceiling_share(subject, setup) {
        Some(share) => format!("{:.0} %", share * 100.0),
        None => "–".to_owned(),
    };
    format!(
        "| {} | {} | {} | CPU {} | {} | {} | {:.2} ± {:.2} | {:.2} | {:.2} … {:.2} | {share} |",
        subject.model_type.replace('|', "/"),
        size_label(subject.work.size_bytes),
        count_label(subject.work.n_params),
        setup.tier,
        setup.n_threads,
        outcome.test,
        speed.mean,
        speed.deviation,
        speed.median,
        speed.min,
        speed.max,
    )
}

/// `97.6 MiB`, as llama-bench writes sizes.
fn size_label(bytes: u64) -> String {
    match bytes {
        0x4000_0000.. => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
        _ => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// A result, in the fields of llama-bench and ours.
pub(super) fn fields(subject: &Subject, setup: &Setup, outcome: &Outcome) -> Map<String, Value> {
    let speeds = outcome.speeds();
    let speed = Statistics::of(&speeds);
    let nanoseconds: Vec<f64> = outcome.times.iter().map(|t| t.as_nanos() as f64).collect();
    let time = Statistics::of(&nanoseconds);
    let fields = json!({
        "build_version": env!("CARGO_PKG_VERSION"),
        "cpu_info": subject.cpu_info,
        "backends": "CPU",
        "tier": setup.tier,
        "model_filename": subject.model_filename,
        "model_type": subject.model_type,
        "model_size": subject.work.size_bytes,
        "model_n_params": subject.work.n_params,
        "n_batch": setup.chunk,
        "n_ubatch": setup.chunk,
        "n_threads": setup.n_threads,
        "type_k": subject.kv_type,
        "type_v": subject.kv_type,
        "n_prompt": outcome.test.n_prompt,
        "n_gen": outcome.test.n_gen,
        "n_depth": outcome.test.n_depth,
        "test": outcome.test.to_string(),
        "test_time": outcome.started,
        "avg_ns": time.mean as u64,
        "stddev_ns": time.deviation as u64,
        "median_ns": time.median as u64,
        "avg_ts": speed.mean,
        "stddev_ts": speed.deviation,
        "median_ts": speed.median,
        "min_ts": speed.min,
        "max_ts": speed.max,
        "ceiling_share": outcome.ceiling_share(subject, setup),
        "bandwidth_bytes_per_s": setup.bandwidth,
        "peak_macs_per_s": setup.peak_macs,
        "samples_ns": outcome.times.iter().map(|t| t.as_nanos() as u64).collect::<Vec<_>>(),
        "samples_ts": speeds,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("the literal above is an object"),
    }
}

/// A cell of CSV: always in quotes, as llama-bench writes them.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            model_filename: "a \"b\".gguf".into(),
            model_type: "llama 154K F32".into(),
            work: Work {
                n_params: 154_000,
                size_bytes: 616_000,
                bytes_per_token: 1e6,
                layer_macs: 100.0,
                head_macs: 100.0,
            },
            kv_type: "f16",
            cpu_info: "a CPU".into(),
        }
    }

    fn setup() -> Setup {
        Setup {
            tier: "avx2".into(),
            n_threads: 2,
            chunk: 512,
            bytes_per_position: 0,
            bandwidth: Some(1e9),
            peak_macs: Some(1000.0),
        }
    }

    fn outcome(n_prompt: usize, n_gen: usize) -> Outcome {
        Outcome {
            test: Test {
                n_prompt,
                n_gen,
                n_depth: 0,
            },
            times: [1, 2, 3].map(Duration::from_secs).to_vec(),
            started: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, format);
        for outcome in [outcome(6, 0), outcome(0, 6)] {
            report.row(&subject(), &setup(), &outcome).unwrap();
        }
        report.ceilings(&[setup()]).unwrap();
        report.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_the_fields_of_llama_bench_and_ours() {
        let rows: Vec<Value> = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(rows.len(), 2);
        for name in [
            "model_filename",
            "model_type",
            "model_size",
            "model_n_params",
            "n_batch",
            "n_threads",
            "n_prompt",
            "n_gen",
            "n_depth",
            "test_time",
            "avg_ns",
            "stddev_ns",
            "avg_ts",
            "stddev_ts",
            "samples_ns",
            "samples_ts",
            "cpu_info",
            "median_ts",
            "ceiling_share",
            "tier",
        ] {
            assert!(!rows[0][name].is_null(), "{name} in {}", rows[0]);
        }
        assert_eq!(rows[0]["median_ts"], 3.0);
        assert_eq!(rows[0]["avg_ns"], 2_000_000_000u64);
        assert_eq!(rows[1]["samples_ts"], json!([6.0, 3.0, 2.0]));
        let empty = Report::new(Vec::new(), Format::Json);
        assert!(empty.finish().is_ok());
    }

    #[test]
    fn json_lines_and_csv_have_a_row_a_line() {
        let lines = written(Format::Jsonl);
        let rows: Vec<Value> = lines
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!((rows.len(), &rows[1]["test"]), (2, &json!("tg6")));
        let csv = written(Format::Csv);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("build_version,cpu_info,"));
        assert!(lines[1].contains("\"a \"\"b\"\".gguf\""), "{}", lines[1]);
    }

    #[test]
    fn the_table_says_median_spread_and_share() {
        let table = written(Format::Md);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6, "{table}");
        let columns = lines[0].matches('|').count();
        for line in &lines[..4] {
            assert_eq!(line.matches('|').count(), columns, "{line}");
        }
        // 6 · 100 + 100 products at 1000 a second take 0.7 s of 2 s
        assert!(
            lines[2].ends_with("| pp6 | 3.67 ± 2.08 | 3.00 | 2.00 … 6.00 | 35 % |"),
            "{table}"
        );
        assert!(
            lines[5].starts_with("ceiling of 2 threads, avx2: 1.0 GB/s"),
            "{table}"
        );
    }

    #[test]
    fn without_a_ceiling_there_is_no_share() {
        let mut setup = setup();
        setup.peak_macs = None;
        assert_eq!(outcome(6, 0).ceiling_share(&subject(), &setup), None);
        assert!(outcome(0, 6).ceiling_share(&subject(), &setup).is_some());
    }
}
