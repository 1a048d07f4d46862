//! What the daemon has done: sums since it started, and its last requests with their times.
//!
//! Counted where generations and vectors end, for every dialect alike; whatever reports figures reads them here. A
//! [`Watch`] goes with a request from when its model is asked for, and notes how it ended exactly once, also when the
//! client hangs up. No text of a request or an answer is kept, and nothing of who asked.

mod machine;
mod metrics;
mod watch;

pub(crate) use machine::{resident_bytes, total_bytes};
pub(crate) use watch::Watch;

use crate::{inference::Job, models::Running};
use metrics::Metrics;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Requests that are remembered.
const KEPT: usize = 64;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The model came to its end.
    Stop,
    /// There was no room for more.
    Length,
    /// Vectors were made.
    Embedded,
    /// The client went away, or the daemon ended.
    Cancelled,
    /// There was an error.
    Failed,
}

impl Ending {
    /// The word on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Embedded => "embedded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: SystemTime,
    pub(crate) model: String,
    /// The route.
    pub(crate) endpoint: Arc<str>,
    pub(crate) ending: Ending,
    pub(crate) figures: Figures,
    /// From the request to the first token, if one came.
    pub(crate) first_token: Option<Duration>,
    /// From the request to the end.
    pub(crate) total: Duration,
}

/// Tokens of a request and the times that the engine measured; zero as far as it did not get there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Tokens of the prompt, or of all texts.
    pub(crate) n_prompt: usize,
    /// Of them, those that were known already.
    pub(crate) n_cached: usize,
    pub(crate) n_generated: usize,
    /// Waiting for the engine thread.
    pub(crate) queued: Duration,
    /// From then to the first token, or to the vectors.
    pub(crate) prefill: Duration,
    /// From the first token to the last.
    pub(crate) decode: Duration,
}

/// Sums since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Requests that got what they asked for.
    pub(crate) n_finished: u64,
    pub(crate) n_cancelled: u64,
    pub(crate) n_failed: u64,
    /// Requests that have begun and not ended.
    pub(crate) n_running: u64,
    /// Tokens of prompts and texts, cached ones included.
    pub(crate) n_prompt: u64,
    pub(crate) n_cached: u64,
    /// Tokens of answers, those of running ones included.
    pub(crate) n_generated: u64,
    pub(crate) queued: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
}

/// All that was observed.
#[derive(Debug)]
pub(crate) struct Observed {
    started: Instant,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    n_running: AtomicU64,
    /// Counts token by token; the rest is known at the end of a request.
    n_generated: AtomicU64,
    log: Mutex<Log>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Log {
    /// Without what [`Shared`] counts.
    totals: Totals,
    /// The oldest first.
    recent: VecDeque<Ended>,
}

impl Default for Observed {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            shared: Arc::default(),
        }
    }
}

impl Observed {
    /// A request begins to be worked on.
    pub(crate) fn begin(&self, job: &Job) -> Watch {
        let model = job.record.name.to_string();
        let endpoint = Arc::clone(&job.client.endpoint);
        Watch::new(Arc::clone(&self.shared), model, endpoint, job.began)
    }

    /// All metrics as text, those of the loaded models as they are now.
    ///
    /// # Errors
    /// Never in practice: text is written into memory.
    pub(crate) fn metrics(&self, running: &[Running]) -> Result<String, std::fmt::Error> {
        self.shared.metrics.text(running)
    }

    /// Since the daemon started.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The sums.
    pub(crate) fn totals(&self) -> Totals {
        let totals = self.shared.log().totals;
        Totals {
            n_running: self.shared.n_running.load(Ordering::Relaxed),
            n_generated: self.shared.n_generated.load(Ordering::Relaxed),
            ..totals
        }
    }

    /// The last requests that have ended, the newest first.
    pub(crate) fn recent(&self) -> Vec<Ended> {
        self.shared.log().recent.iter().rev().cloned().collect()
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        // every critical section leaves the log whole
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, ended: Ended) {
        self.metrics.note(&ended);
        let mut log = self.log();
        log.totals.add(&ended);
        if log.recent.len() == KEPT {
            log.recent.pop_front();
        }
        log.recent.push_back(ended);
    }
}

impl Totals {
    fn add(&mut self, ended: &Ended) {
        let figures = &ended.figures;
        *match ended.ending {
            Ending::Stop | Ending::Length | Ending::Embedded => &mut self.n_finished,
            Ending::Cancelled => &mut self.n_cancelled,
            Ending::Failed => &mut self.n_failed,
        } += 1;
        self.n_prompt += figures.n_prompt as u64;
        self.n_cached += figures.n_cached as u64;
        self.queued = self.queued.saturating_add(figures.queued);
        self.prefill = self.prefill.saturating_add(figures.prefill);
        self.decode = self.decode.saturating_add(figures.decode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_engine::{Finish, Stats, StopReason};

    fn watch(observed: &Observed, model: &str) -> Watch {
        let shared = Arc::clone(&observed.shared);
        Watch::new(shared, model.to_owned(), "/api/chat".into(), Instant::now())
    }

    fn finish(n_generated_tokens: usize) -> Finish {
        Finish {
            text: String::new(),
            reason: StopReason::Stop,
            stop: None,
            stats: Stats {
                n_prompt_tokens: 7,
                n_cached_tokens: 3,
                n_generated_tokens,
                decode: Duration::from_secs(2),
                ..Stats::default()
            },
        }
    }

    #[test]
    fn each_end_is_noted_once() {
        let observed = Observed::default();
        let mut done = watch(&observed, "a");
        assert_eq!(observed.totals().n_running, 1);
        done.token();
        done.token();
        assert_eq!(observed.totals().n_generated, 2, "counted as they come");
        // the token that ends an answer has no text, and comes with the end
        done.generated(&finish(3));
        drop(done);
        let mut failed = watch(&observed, "b");
        failed.failed();
        drop(failed);
        let mut gone = watch(&observed, "c");
        gone.prompt(5);
        gone.token();
        drop(gone);

        let totals = Totals {
            n_finished: 1,
            n_cancelled: 1,
            n_failed: 1,
            n_running: 0,
            n_prompt: 12,
            n_cached: 3,
            n_generated: 4,
            decode: Duration::from_secs(2),
            ..Totals::default()
        };
        assert_eq!(observed.totals(), totals);
        let recent = observed.recent();
        let ends = recent.iter().map(|e| (e.model.as_str(), e.ending));
        assert_eq!(
            ends.collect::<Vec<_>>(),
            [
                ("c", Ending::Cancelled),
                ("b", Ending::Failed),
                ("a", Ending::Stop)
            ]
        );
        assert!(recent[0].first_token.is_some() && recent[1].first_token.is_none());
        assert_eq!(recent[2].figures.n_generated, 3);
    }

    #[test]
    fn only_the_last_requests_are_kept_and_all_are_counted() {
        let observed = Observed::default();
        for index in 0..KEPT + 10 {
            drop(watch(&observed, &index.to_string()));
        }
        let recent = observed.recent();
        assert_eq!(recent.len(), KEPT);
        assert_eq!(recent[0].model, (KEPT + 9).to_string());
        assert_eq!(observed.totals().n_cancelled, KEPT as u64 + 10);
    }
}
