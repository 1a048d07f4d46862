//! Generations as server-sent events, and whole, for the dialects that stream so. A disconnect cancels them.
//!
//! Several generations run side by side and share one stream; what belongs to which is told by its number. What goes
//! wrong before the first event is an answer with a status of its own, later it is the last event.

use crate::{
    ahead::ahead,
    error::ApiError,
    inference::{self, Event, Generation, Job, Outcome, PromptSource},
    state::App,
};
use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, future, stream};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use slm_api::ollama::Logprob;
use slm_chat::Answer;
use std::{convert::Infallible, sync::Arc};

/// How a dialect writes what happens. Each function appends frames, or nothing.
pub(super) trait Script: Send + 'static {
    /// Something happened to generation `index`.
    fn event(&mut self, index: usize, event: Event, frames: &mut Frames);
    /// All have ended.
    fn end(&mut self, frames: &mut Frames);
    /// It cannot go on; nothing follows.
    fn failed(&mut self, error: &ApiError, frames: &mut Frames);
}

/// Events on their way to the client.
#[derive(Debug, Default)]
pub(super) struct Frames(Vec<u8>);

impl Frames {
    /// An event without a name.
    pub(super) fn data(&mut self, item: &impl Serialize) {
        self.0.extend_from_slice(b"data: ");
        if let Err(error) = serde_json::to_writer(&mut self.0, item) {
            // wire types serialise
            tracing::error!(%error, "cannot write an event");
        }
        self.0.extend_from_slice(b"\n\n");
    }
    /// An event with a name.
    pub(super) fn named(&mut self, name: &str, item: &impl Serialize) {
        self.0.extend_from_slice(b"event: ");
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.data(item);
    }
    /// What has been written.
    #[cfg(test)]
    pub(super) fn written(&self) -> &str {
        std::str::from_utf8(&self.0).expect("frames are text")
    }
    /// An event that is no JSON.
    pub(super) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(b"data: ");
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\n\n");
    }
}

/// Starts `n` generations for each of the prompts, those of one prompt next to each other. With a seed, each of them
/// has its own.
///
/// # Errors
/// As [`inference::start`].
pub(super) async fn start(
    app: &Arc<App>,
    job: &Job,
    sources: Vec<PromptSource>,
    n: usize,
) -> Result<Vec<Generation>, ApiError> {
    let mut generations = Vec::new();
    for source in sources {
        for i in 0..n {
            let mut job = job.clone();
            let seed = &mut job.options.sampling.seed;
            *seed = seed.map(|seed| seed.wrapping_add(i as u64));
            generations.push(inference::start(app, job, source.clone()).await?);
        }
    }
    Ok(generations)
}

/// What happens to all of them, in the order in which it happens.
fn merged(
    generations: Vec<Generation>,
) -> impl Stream<Item = (usize, Result<Event, ApiError>)> + Send + Unpin {
    let numbered = generations.into_iter().enumerate();
    stream::select_all(numbered.map(|(index, generation)| {
        Box::pin(stream::unfold(Some(generation), move |state| async move {
            let mut generation = state?;
            let event = generation.next().await;
            let goes_on = matches!(event, Ok(Event::Delta(..)));
            Some(((index, event), goes_on.then_some(generation)))
        }))
    }))
}

/// Answers with a stream as `script` writes it.
///
/// # Errors
/// What goes wrong before the first event.
pub(super) async fn streamed(
    generations: Vec<Generation>,
    mut script: impl Script,
) -> Result<Response, ApiError> {
    let mut events = merged(generations);
    let mut frames = Frames::default();
    if let Some((index, event)) = events.next().await {
        script.event(index, event?, &mut frames);
    }
    let rest = stream::unfold(Some((events, script)), |state| async move {
        let (mut events, mut script) = state?;
        let mut frames = Frames::default();
        let goes_on = match events.next().await {
            Some((index, Ok(event))) => {
                script.event(index, event, &mut frames);
                true
            }
            Some((_, Err(error))) => {
                error.log();
                script.failed(&error, &mut frames);
                false
            }
            None => {
                script.end(&mut frames);
                false
            }
        };
        Some((frames, goes_on.then_some((events, script))))
    });
    let all = stream::once(future::ready(frames)).chain(rest);
    let filled = all.filter(|frames| future::ready(!frames.0.is_empty()));
    let bytes = ahead(filled.map(|frames| Bytes::from(frames.0))).map(Ok::<Bytes, Infallible>);
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// A generation that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) answer: Answer,
    /// How likely its tokens were, where the request asks for that.
    pub(super) logprobs: Vec<Logprob>,
    pub(super) outcome: Outcome,
}

/// Waits for all of them.
///
/// # Errors
/// One that cannot go on; the others are cancelled.
pub(super) async fn whole(generations: Vec<Generation>) -> Result<Vec<Ended>, ApiError> {
    future::try_join_all(generations.into_iter().map(finish)).await
}

async fn finish(mut generation: Generation) -> Result<Ended, ApiError> {
    let (mut answer, mut logprobs) = (Answer::default(), Vec::new());
    loop {
        match generation.next().await? {
            Event::Delta(delta, more) => {
                answer.extend(delta);
                logprobs.extend(more);
            }
            Event::Finished(outcome) => {
                return Ok(Ended {
                    answer,
                    logprobs,
                    outcome,
                });
            }
        }
    }
}
