//! Progress of work on a blocking thread, as lines for a client that may be slow or gone: neither holds up the work.

use crate::{error::ApiError, ndjson::LINES_AHEAD, state::App};
use slm_api::ollama::Progress;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How often the bytes of one file are told.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where progress goes.
pub(crate) struct Reports {
    lines: mpsc::Sender<Result<Progress, ApiError>>,
    last: Option<Instant>,
}

impl Reports {
    /// Tells a step.
    pub(crate) fn line(&self, line: Progress) {
        let _slow_or_gone = self.lines.try_send(Ok(line));
    }

    /// Tells how far a file is: now and then, and at its end.
    pub(crate) fn bytes(&mut self, status: String, digest: String, completed: u64, total: u64) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_due || completed == total {
            self.last = Some(Instant::now());
            let line = Progress {
                status,
                digest: Some(digest),
                total: Some(total),
                completed: Some(completed),
            };
            let _slow_or_gone = self.lines.try_send(Ok(line));
        }
    }
}

/// Runs `work` on a blocking thread; the last line is `success` or an error.
pub(crate) fn run(
    app: &Arc<App>,
    work: impl FnOnce(&App, &mut Reports) -> Result<(), ApiError> + Send + 'static,
) -> mpsc::Receiver<Result<Progress, ApiError>> {
    let (lines, receiver) = mpsc::channel(LINES_AHEAD);
    let last = lines.clone();
    let app = Arc::clone(app);
    let work = tokio::task::spawn_blocking(move || {
        let mut reports = Reports { lines, last: None };
        work(&app, &mut reports).map(|()| Progress {
            status: "success".to_owned(),
            ..Progress::default()
        })
    });
    // only the last line waits for the client, and no thread with it
    tokio::spawn(async move {
        let done = work.await.unwrap_or_else(|error| Err(error.into()));
        let _client_may_be_gone = last.send(done).await;
    });
    receiver
}
