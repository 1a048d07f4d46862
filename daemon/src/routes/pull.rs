//! `POST /api/pull`: downloads a model, with progress. Clients share one download per name; it is cancelled when the
//! last one leaves.

use super::{named, reference};
use crate::{
    body::LenientJson,
    error::ApiError,
    ndjson,
    pulls::{Watcher, Wish},
    state::App,
};
use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use slm_api::ollama::{Progress, PullRequest};
use std::sync::Arc;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<PullRequest>,
) -> Result<Response, ApiError> {
    let raw = named(request.model, request.name);
    let reference = reference(&raw)?;
    let insecure = request.insecure.unwrap_or(false);
    if reference.is_http() && !insecure {
        return Err(ApiError::bad_request("insecure protocol http"));
    }
    // The daemon may read files that the client may not, and a pull names no digest that would prove otherwise.
    if reference.file().is_some() {
        return Err(ApiError::bad_request(
            "the daemon takes no file by its path alone; use `slm create` with `FROM` and the path, or `slmd pull` while no daemon runs",
        ));
    }
    let mut watcher = app.pulls.join(Wish {
        reference,
        insecure,
        max_bandwidth: request.max_bandwidth.filter(|rate| *rate > 0),
    });
    if request.stream.unwrap_or(true) {
        return Ok(ndjson::lines(lines(watcher)));
    }
    let mut last = Progress::default();
    while let Some(fresh) = watcher.next().await {
        last = fresh?.pop().unwrap_or(last);
    }
    Ok(ndjson::object(&last))
}

/// The lines of a download, one by one.
pub(super) fn lines(
    watcher: Watcher,
) -> impl futures_util::Stream<Item = Result<Progress, ApiError>> + Send + 'static {
    let batches = stream::unfold(watcher, |mut watcher| async {
        let batch = match watcher.next().await? {
            Ok(lines) => lines.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        Some((stream::iter(batch), watcher))
    });
    batches.flatten()
}
