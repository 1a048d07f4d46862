//! One request as it is worked on.

use super::{Ended, Ending, Figures, Shared};
use prometheus_client::metrics::histogram::Histogram;
use slm_engine::{EmbedStats, Finish, StopReason};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

/// Goes with a request. One that is dropped before its end was told was cancelled.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    model: String,
    endpoint: Arc<str>,
    began: Instant,
    first_token: Option<Duration>,
    last_token: Option<Instant>,
    gaps: Histogram,
    figures: Figures,
    has_ended: bool,
}

impl Watch {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: String,
        endpoint: Arc<str>,
        began: Instant,
    ) -> Self {
        shared.n_running.fetch_add(1, Ordering::Relaxed);
        Self {
            gaps: shared.metrics.gaps(&model),
            last_token: None,
            shared,
            model,
            endpoint,
            began,
            first_token: None,
            figures: Figures::default(),
            has_ended: false,
        }
    }

    /// Since the client's request came in.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Since the first token, if one has come.
    pub(crate) fn since_first_token(&self) -> Option<Duration> {
        Some(self.elapsed().saturating_sub(self.first_token?))
    }

    /// The prompt has so many tokens.
    pub(crate) fn prompt(&mut self, n_tokens: usize) {
        self.figures.n_prompt = n_tokens;
    }

    /// Another token of the answer is there.
    pub(crate) fn token(&mut self) {
        let now = Instant::now();
        self.first_token.get_or_insert(now - self.began);
        if let Some(before) = self.last_token.replace(now) {
            self.gaps.observe((now - before).as_secs_f64());
        }
        self.figures.n_generated += 1;
        self.shared.n_generated.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer is complete.
    pub(crate) fn generated(&mut self, finish: &Finish) {
        let stats = &finish.stats;
        // one that ends an answer is not told on its own
        let untold = stats
            .n_generated_tokens
            .saturating_sub(self.figures.n_generated);
        self.shared
            .n_generated
            .fetch_add(untold as u64, Ordering::Relaxed);
        self.figures = Figures {
            n_prompt: stats.n_prompt_tokens,
            n_cached: stats.n_cached_tokens,
            n_generated: stats.n_generated_tokens,
            queued: stats.queued,
            prefill: stats.prefill,
            decode: stats.decode,
        };
        self.end(match finish.reason {
            StopReason::Stop => Ending::Stop,
            StopReason::Length => Ending::Length,
        });
    }

    /// What has come of the answer is enough.
    pub(crate) fn enough(&mut self) {
        self.end(Ending::Stop);
    }

    /// The vectors are complete.
    pub(crate) fn embedded(&mut self, stats: &EmbedStats) {
        self.figures = Figures {
            n_prompt: stats.n_tokens,
            queued: stats.queued,
            prefill: stats.computing,
            ..Figures::default()
        };
        self.end(Ending::Embedded);
    }

    /// It cannot go on.
    pub(crate) fn failed(&mut self) {
        self.end(Ending::Failed);
    }

    fn end(&mut self, ending: Ending) {
        if self.has_ended {
            return;
        }
        self.has_ended = true;
        self.shared.n_running.fetch_sub(1, Ordering::Relaxed);
        self.shared.note(Ended {
            at: SystemTime::now(),
            model: std::mem::take(&mut self.model),
            endpoint: Arc::clone(&self.endpoint),
            ending,
            figures: self.figures,
            first_token: self.first_token,
            total: self.began.elapsed(),
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(Ending::Cancelled);
    }
}
