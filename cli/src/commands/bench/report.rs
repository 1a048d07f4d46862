//! What the requests of a test say together, in the words of vLLM's serving benchmark.

use super::load::Answer;
use crate::text::table;
use serde::Serialize;
use serde_json::Value;
use slm_benchmarks::Run;
use std::io;
use std::time::Duration;

/// One test. Times in milliseconds, throughputs per second.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    backend: &'static str,
    model_id: String,
    max_concurrency: u32,
    /// Seconds.
    duration: f64,
    pub(super) completed: usize,
    failed: usize,
    total_input_tokens: u64,
    total_output_tokens: u64,
    request_throughput: f64,
    output_throughput: f64,
    total_token_throughput: f64,
    #[serde(flatten)]
    times: serde_json::Map<String, Value>,
    /// What failed requests said.
    pub(super) errors: Vec<String>,
}

impl Report {
    /// Of the answers to a test that took so many seconds.
    pub(super) fn of(
        model: &str,
        width: u32,
        seconds: f64,
        answers: &[Result<Answer, String>],
    ) -> Self {
        let done: Vec<&Answer> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
        let errors = answers.iter().filter_map(|a| a.as_ref().err().cloned());
        let n_input: u64 = done.iter().map(|answer| answer.n_prompt_tokens).sum();
        let n_output: u64 = done.iter().map(|answer| answer.n_tokens).sum();
        let rate = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        let per_token = |answer: &&&Answer| answer.n_tokens > 1;
        let tpot = done.iter().filter(per_token).map(|answer| {
            milliseconds(answer.latency.saturating_sub(answer.ttft)) / (answer.n_tokens - 1) as f64
        });
        let mut times = serde_json::Map::new();
        let mut add = |name: &str, values: Vec<f64>| {
            let spread = Spread::of(values);
            let numbers = [
                ("mean", spread.mean),
                ("median", spread.median),
                ("std", spread.deviation),
                ("p99", spread.p99),
            ];
            for (kind, number) in numbers {
                times.insert(format!("{kind}_{name}_ms"), number.into());
            }
        };
        add("ttft", done.iter().map(|a| milliseconds(a.ttft)).collect());
        add("tpot", tpot.collect());
        let gaps = done.iter().flat_map(|answer| &answer.gaps);
        add("itl", gaps.map(|gap| milliseconds(*gap)).collect());
        add(
            "e2el",
            done.iter().map(|a| milliseconds(a.latency)).collect(),
        );
        Self {
            backend: "openai",
            model_id: model.to_owned(),
            max_concurrency: width,
            duration: seconds,
            completed: done.len(),
            failed: answers.len() - done.len(),
            total_input_tokens: n_input,
            total_output_tokens: n_output,
            request_throughput: rate(done.len() as f64),
            output_throughput: rate(n_output as f64),
            total_token_throughput: rate((n_input + n_output) as f64),
            times,
            errors: errors.collect(),
        }
    }

    /// Keeps it, without what failed requests said: that is for who asked.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn keep(&self, run: &mut Run) -> io::Result<()> {
        let Value::Object(mut fields) = serde_json::to_value(self)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        fields.retain(|name, _| name != "errors");
        run.add(fields)
    }

    fn time(&self, name: &str) -> String {
        format!(
            "{:.1}",
            self.times
                .get(name)
                .and_then(|ms| ms.as_f64())
                .unwrap_or(0.0)
        )
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line for each test.
pub(super) fn table(reports: &[Report]) -> String {
    let heads = [
        "AT ONCE",
        "DONE",
        "FAILED",
        "TOKENS/S",
        "ALL TOKENS/S",
        "TTFT",
        "P99",
        "TPOT",
        "P99",
        "ITL",
        "P99",
    ];
    let mut rows = vec![table::row(heads)];
    rows.extend(reports.iter().map(|report| {
        vec![
            report.max_concurrency.to_string(),
            report.completed.to_string(),
            report.failed.to_string(),
            format!("{:.1}", report.output_throughput),
            format!("{:.1}", report.total_token_throughput),
            report.time("median_ttft_ms"),
            report.time("p99_ttft_ms"),
            report.time("median_tpot_ms"),
            report.time("p99_tpot_ms"),
            report.time("median_itl_ms"),
            report.time("p99_itl_ms"),
        ]
    }));
    let mut text = table::render(&rows, 0);
    text.push_str("\nMedians and 99th percentiles in milliseconds.\n");
    text
}

/// Of a set of values; zeroes for none. Percentiles lie between neighbours in proportion, as numpy has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spread {
    mean: f64,
    median: f64,
    deviation: f64,
    p99: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        let percentile = |p: f64| {
            let at = p * (n - 1.0);
            let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
            low + (high - low) * at.fract()
        };
        Self {
            mean,
            median: percentile(0.5),
            deviation: (squares / n).sqrt(),
            p99: percentile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 3, 4], 99) is 3.97
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.mean, spread.median), (2.5, 2.5));
        assert!((spread.p99 - 3.97).abs() < 1e-9, "{spread:?}");
        assert!((spread.deviation - 1.25f64.sqrt()).abs() < 1e-9);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }

    #[test]
    fn throughput_counts_what_was_answered() {
        let ms = Duration::from_millis;
        let answer = Answer {
            n_prompt_tokens: 10,
            n_tokens: 5,
            ttft: ms(100),
            gaps: vec![ms(50); 4],
            latency: ms(300),
        };
        let answers = [Ok(answer.clone()), Err("full".to_owned()), Ok(answer)];
        let report = Report::of("m", 2, 2.0, &answers);
        assert_eq!((report.completed, report.failed), (2, 1));
        assert_eq!(
            (report.output_throughput, report.total_token_throughput),
            (5.0, 15.0)
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mean_tpot_ms"], 50.0);
        assert_eq!(json["p99_itl_ms"], 50.0);
        assert_eq!(json["median_ttft_ms"], 100.0);
        assert_eq!(json["mean_e2el_ms"], 300.0);
        assert_eq!(json["errors"][0], "full");
        let data = tempfile::tempdir().unwrap();
        let place = slm_benchmarks::Benchmarks::new(data.path(), 1);
        let mut run = place.begin(slm_benchmarks::Kind::Server);
        report.keep(&mut run).unwrap();
        let kept = &place.list().unwrap()[0].results[0];
        assert_eq!(kept["failed"], 1);
        assert!(kept.get("errors").is_none());
        assert!(table(&[report]).contains("50.0"));
    }
}
