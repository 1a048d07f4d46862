//! Uploads, each for the one client that asked for it: it runs while its lines are read, and ends with its client. What
//! has arrived at the registry stays there for the next.

use crate::{
    error::ApiError,
    ndjson::{self, LINES_AHEAD},
};
use futures_util::{Stream, StreamExt, stream};
use slm_api::ollama::Progress;
use slm_registry::{
    ModelName, Reference, Store,
    remote::{self, PushEvent, PushOptions},
};
use std::future::ready;
use tokio::sync::mpsc;

/// What a client wants pushed.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) model: ModelName,
    pub(crate) destination: Reference,
    pub(crate) options: PushOptions,
}

/// Pushes while the lines of progress are read; the last is `success` or why it failed.
pub(crate) fn run(
    store: Store,
    wish: Wish,
) -> impl Stream<Item = Result<Progress, ApiError>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let work = async move {
        let report = |event| {
            // a client that falls behind misses progress, and nothing else
            let _is_told = sender.try_send(Ok(line(event)));
        };
        let Wish {
            model,
            destination,
            options,
        } = &wish;
        let ended = remote::push(&store, model, destination, options, report).await;
        let last = ended.map(|()| status("success")).map_err(ApiError::from);
        let _is_told = sender.send(last).await;
    };
    let work = stream::once(work).filter_map(|()| ready(None));
    stream::select(ndjson::receiver(receiver), work)
}

fn line(event: PushEvent) -> Progress {
    match event {
        PushEvent::Manifest => status("retrieving manifest"),
        PushEvent::Note(note) => status(&note),
        PushEvent::PushingManifest => status("pushing manifest"),
        PushEvent::Blob {
            digest,
            total,
            completed,
        } => Progress {
            status: format!("pushing {}", &digest.hex()[..12]),
            digest: Some(digest.to_string()),
            total: Some(total),
            completed: Some(completed).filter(|n| *n > 0),
        },
    }
}

fn status(text: &str) -> Progress {
    Progress {
        status: text.to_owned(),
        ..Progress::default()
    }
}
