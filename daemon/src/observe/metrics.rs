//! Counters and histograms for `GET /metrics`, in the text format of OpenMetrics.
//!
//! Names follow Prometheus' conventions; scheduler gauges have vLLM's names too, since dashboards and load balancers know
//! those. Labels are bounded: models beyond [`MAX_MODELS`] are counted together as `other`.

use super::{Ended, Ending};
use crate::models::Running;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

/// Models with metrics of their own.
const MAX_MODELS: usize = 64;
/// The label of all others.
const OTHER: &str = "other";

/// Bounds of histograms of whole requests, in seconds.
const REQUEST_SECONDS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Bounds of histograms of single tokens, in seconds.
const TOKEN_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

/// The label that vLLM gives its metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModelName {
    model_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    model: String,
    endpoint: String,
    status: &'static str,
}

/// Whole seconds are too coarse a gauge.
type FloatGauge = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All of them.
pub(super) struct Metrics {
    registry: Registry,
    /// Models that have a label of their own.
    named: Mutex<HashSet<String>>,
    requests: Family<OfRequest, Counter>,
    prompt_tokens: Family<OfModel, Counter>,
    cached_tokens: Family<OfModel, Counter>,
    generated_tokens: Family<OfModel, Counter>,
    request_seconds: Histograms<OfModel>,
    queue_seconds: Histograms<OfModel>,
    first_token_seconds: Histograms<OfModel>,
    inter_token_seconds: Histograms<OfModel>,
    live: Live,
    /// One scrape at a time: what is loaded is written anew for each.
    scrape: Mutex<()>,
}

/// Of the models that are loaded now.
#[derive(Default)]
struct Live {
    memory: Family<OfModel, Gauge>,
    kv_used: Family<OfModel, Gauge>,
    kv_limit: Family<OfModel, Gauge>,
    wait_seconds: Family<OfModel, FloatGauge>,
    resident: Gauge,
    running: Family<OfModelName, Gauge>,
    waiting: Family<OfModelName, Gauge>,
    swapped: Family<OfModelName, Gauge>,
    kv_usage: Family<OfModelName, FloatGauge>,
    gpu_usage: Family<OfModelName, FloatGauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn requests() -> Histogram {
    Histogram::new(REQUEST_SECONDS)
}

fn tokens() -> Histogram {
    Histogram::new(TOKEN_SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            named: Mutex::default(),
            requests: Family::default(),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            generated_tokens: Family::default(),
            request_seconds: Family::new_with_constructor(requests),
            queue_seconds: Family::new_with_constructor(requests),
            first_token_seconds: Family::new_with_constructor(requests),
            inter_token_seconds: Family::new_with_constructor(tokens),
            live: Live::default(),
            scrape: Mutex::default(),
        };
        let registry = metrics.registered();
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    fn registered(&self) -> Registry {
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("slm");
        let count = |own: &mut Registry, name, help, family: &Family<OfModel, Counter>| {
            own.register(name, help, family.clone());
        };
        own.register(
            "requests",
            "Requests that have ended",
            self.requests.clone(),
        );
        count(
            own,
            "prompt_tokens",
            "Tokens of prompts and texts, cached ones included",
            &self.prompt_tokens,
        );
        count(
            own,
            "cached_tokens",
            "Of them, those that had been computed before",
            &self.cached_tokens,
        );
        count(
            own,
            "generated_tokens",
            "Tokens of answers that have ended",
            &self.generated_tokens,
        );
        let seconds = |own: &mut Registry, name, help, family: &Histograms<OfModel>| {
            own.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        seconds(
            own,
            "request_duration",
            "From a request to its end",
            &self.request_seconds,
        );
        seconds(
            own,
            "queue_time",
            "Waiting for the engine",
            &self.queue_seconds,
        );
        seconds(
            own,
            "time_to_first_token",
            "From a request to its first token",
            &self.first_token_seconds,
        );
        seconds(
            own,
            "inter_token_latency",
            "Between two tokens of an answer",
            &self.inter_token_seconds,
        );
        let live = &self.live;
        let bytes = |own: &mut Registry, name, help, family: &Family<OfModel, Gauge>| {
            own.register_with_unit(name, help, Unit::Bytes, family.clone());
        };
        bytes(
            own,
            "model_memory",
            "Memory that a loaded model may take",
            &live.memory,
        );
        bytes(
            own,
            "kv_cache_used",
            "Memory that keys and values take now",
            &live.kv_used,
        );
        bytes(
            own,
            "kv_cache_limit",
            "Memory that they may take",
            &live.kv_limit,
        );
        own.register_with_unit(
            "estimated_wait",
            "How long a request that joins now would wait",
            Unit::Seconds,
            live.wait_seconds.clone(),
        );
        own.register_with_unit(
            "resident_memory",
            "Memory that the daemon has",
            Unit::Bytes,
            live.resident.clone(),
        );
        let gauge =
            |own: &mut Registry, name: &str, help: &str, family: &Family<OfModelName, Gauge>| {
                own.register(name, help, family.clone());
            };
        gauge(
            &mut registry,
            "vllm:num_requests_running",
            "Requests that are being computed",
            &live.running,
        );
        gauge(
            &mut registry,
            "vllm:num_requests_waiting",
            "Requests that wait",
            &live.waiting,
        );
        gauge(
            &mut registry,
            "vllm:num_requests_swapped",
            "None: nothing is swapped out",
            &live.swapped,
        );
        let share = |own: &mut Registry,
                     name: &str,
                     help: &str,
                     family: &Family<OfModelName, FloatGauge>| {
            own.register(name, help, family.clone());
        };
        let help = "Share of the memory for keys and values that is in use, 1 being all";
        share(
            &mut registry,
            "vllm:kv_cache_usage_perc",
            help,
            &live.kv_usage,
        );
        share(
            &mut registry,
            "vllm:gpu_cache_usage_perc",
            "The same, by its older name",
            &live.gpu_usage,
        );
        registry
    }

    /// The label of a model.
    fn label(&self, model: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains(model) {
            if named.len() >= MAX_MODELS {
                return OTHER.to_owned();
            }
            named.insert(model.to_owned());
        }
        model.to_owned()
    }

    /// Where the times between the tokens of an answer go.
    pub(super) fn gaps(&self, model: &str) -> Histogram {
        let of = OfModel {
            model: self.label(model),
        };
        self.inter_token_seconds.get_or_create(&of).clone()
    }

    /// A request has ended.
    pub(super) fn note(&self, ended: &Ended) {
        let model = self.label(&ended.model);
        let request = OfRequest {
            model: model.clone(),
            endpoint: ended.endpoint.to_string(),
            status: ended.ending.name(),
        };
        self.requests.get_or_create(&request).inc();
        let of = OfModel { model };
        let figures = &ended.figures;
        let add = |family: &Family<OfModel, Counter>, n: usize| {
            family.get_or_create(&of).inc_by(n as u64);
        };
        add(&self.prompt_tokens, figures.n_prompt);
        add(&self.cached_tokens, figures.n_cached);
        add(&self.generated_tokens, figures.n_generated);
        let observe = |family: &Histograms<OfModel>, time: Duration| {
            family.get_or_create(&of).observe(time.as_secs_f64());
        };
        observe(&self.request_seconds, ended.total);
        if !matches!(ended.ending, Ending::Failed) {
            observe(&self.queue_seconds, figures.queued);
        }
        if let Some(time) = ended.first_token {
            observe(&self.first_token_seconds, time);
        }
    }

    /// Everything as text, with what the models that are loaded do now.
    pub(super) fn text(&self, running: &[Running]) -> Result<String, fmt::Error> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.set(running, |model| self.label(model));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Live {
    fn set(&self, all: &[Running], label: impl Fn(&str) -> String) {
        for family in [&self.memory, &self.kv_used, &self.kv_limit] {
            family.clear();
        }
        for family in [&self.running, &self.waiting, &self.swapped] {
            family.clear();
        }
        self.wait_seconds.clear();
        self.kv_usage.clear();
        self.gpu_usage.clear();
        self.resident
            .set(signed(super::resident_bytes().unwrap_or(0)));
        for running in all {
            let model = label(&running.record.name.to_string());
            let memory = &running.memory;
            let name = OfModelName {
                model_name: model.clone(),
            };
            let of = OfModel { model };
            let business = &running.business;
            self.memory
                .get_or_create(&of)
                .inc_by(signed(running.size_bytes));
            self.kv_used
                .get_or_create(&of)
                .inc_by(signed(memory.kv_bytes_in_use));
            self.kv_limit
                .get_or_create(&of)
                .inc_by(signed(memory.kv_bytes_limit));
            self.wait_seconds
                .get_or_create(&of)
                .set(business.wait.as_secs_f64());
            self.running
                .get_or_create(&name)
                .inc_by(business.n_running as i64);
            self.waiting
                .get_or_create(&name)
                .inc_by(business.n_waiting as i64);
            self.swapped.get_or_create(&name).set(0);
            let limit = memory.kv_bytes_limit.max(1) as f64;
            let share = (memory.kv_bytes_in_use as f64 / limit).min(1.0);
            self.kv_usage.get_or_create(&name).set(share);
            self.gpu_usage.get_or_create(&name).set(share);
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Figures;
    use std::time::SystemTime;

    fn ended(model: &str) -> Ended {
        Ended {
            at: SystemTime::now(),
            model: model.to_owned(),
            endpoint: "/api/chat".into(),
            ending: Ending::Stop,
            figures: Figures {
                n_prompt: 30,
                n_cached: 20,
                n_generated: 5,
                queued: Duration::from_millis(3),
                ..Figures::default()
            },
            first_token: Some(Duration::from_millis(40)),
            total: Duration::from_millis(200),
        }
    }

    #[test]
    fn what_ended_is_counted_under_its_models_name() {
        let metrics = Metrics::default();
        metrics.note(&ended("a"));
        metrics.note(&ended("a"));
        metrics.note(&ended("b"));
        metrics.gaps("a").observe(0.03);
        let text = metrics.text(&[]).unwrap();
        for line in [
            r#"slm_requests_total{model="a",endpoint="/api/chat",status="stop"} 2"#,
            r#"slm_prompt_tokens_total{model="a"} 60"#,
            r#"slm_cached_tokens_total{model="a"} 40"#,
            r#"slm_generated_tokens_total{model="b"} 5"#,
            r#"slm_time_to_first_token_seconds_bucket{le="0.05",model="a"} 2"#,
            r#"slm_time_to_first_token_seconds_bucket{le="0.025",model="a"} 0"#,
            r#"slm_inter_token_latency_seconds_count{model="a"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::default();
        for i in 0..MAX_MODELS + 10 {
            metrics.note(&ended(&format!("m{i}")));
        }
        let text = metrics.text(&[]).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("slm_prompt_tokens_total{"));
        assert_eq!(lines.count(), MAX_MODELS + 1);
        assert!(
            text.contains(r#"slm_prompt_tokens_total{model="other"} 300"#),
            "{text}"
        );
    }
}
