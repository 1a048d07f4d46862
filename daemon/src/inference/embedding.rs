//! Texts to vectors: load the model, tokenise, fit the texts to the window, wait for the engine. Dropping the future
//! cancels the work.

use super::{Job, generation::nanos, note_use};
use crate::{
    error::ApiError,
    models::{Lease, Window},
    state::App,
};
use slm_api::ollama::Metrics;
use slm_engine::{EmbedError, EmbedRequest, EmbedStats, Special, TokenId};
use std::sync::Arc;

/// What a vector is made of.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Plain(String),
    /// Tokens of it, without those that the model wants around them.
    Tokens(Vec<TokenId>),
}

/// What is to become of texts.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) texts: Vec<Text>,
    /// Whether to cut those that are too long for the window.
    pub(crate) truncate: bool,
    /// Values of a vector to keep; `None` is all.
    pub(crate) dimensions: Option<usize>,
    /// Whether to make vectors of length 1.
    pub(crate) normalize: bool,
}

/// Vectors, one for each text, and what they took.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) metrics: Metrics,
}

/// Makes the vectors.
///
/// # Errors
/// The model cannot be loaded, a text does not fit, or too many requests wait.
pub(crate) async fn embed(app: &Arc<App>, job: &Job, texts: Texts) -> Result<Vectors, ApiError> {
    let mut watch = app.observed.begin(job);
    let done = vectors(app, job, texts).await;
    let (vectors, stats) = done.inspect_err(|_| watch.failed())?;
    watch.embedded(&stats);
    Ok(vectors)
}

async fn vectors(
    app: &Arc<App>,
    job: &Job,
    texts: Texts,
) -> Result<(Vectors, EmbedStats), ApiError> {
    if app.shutdown.begun.is_cancelled() {
        return Err(ApiError::ending());
    }
    let window = job.window(app);
    let trained = job.record.gguf.context_length;
    let mut lease = app.models.acquire(job.demand(app, window).await?).await?;
    note_use(app, job);
    let Texts {
        texts,
        truncate,
        dimensions,
        normalize,
    } = texts;
    let (back, tokens) = tokenise(lease, texts).await?;
    lease = back;
    let n_frame = lease.engine().tokenizer().n_frame_tokens();
    let longest = tokens.iter().map(Vec::len).max().unwrap_or(0) + n_frame;
    let whole = lease.engine().context_length();
    if longest > lease.context_length
        && lease.context_length < whole
        && matches!(window, Window::Auto { .. })
    {
        let at_least = longest.min(whole);
        // whoever waits for room must not hold what another load may be waiting for
        drop(lease);
        let wider = job.demand(app, Window::Auto { at_least }).await?;
        lease = app.models.acquire(wider).await?;
    }
    let loaded = lease.context_length;
    let limit = match window {
        Window::Exact(0) => trained,
        Window::Exact(n) => n.min(trained),
        Window::Auto { .. } => loaded,
    };
    let tokenizer = lease.engine().tokenizer();
    let fit = |ids: Vec<TokenId>| fit(ids, limit, n_frame, truncate);
    let framed = |ids| tokenizer.frame(ids);
    let texts: Vec<Vec<TokenId>> = tokens
        .into_iter()
        .map(|ids| fit(ids).map(framed))
        .collect::<Result<_, _>>()?;
    if texts.iter().any(Vec::is_empty) {
        return Err(ApiError::bad_request(
            "the model cannot make a vector of an empty text; leave it out",
        ));
    }
    if texts.iter().any(|text| text.len() > loaded) {
        return Err(ApiError::bad_request(
            "input exceeds maximum context length and cannot be truncated further",
        ));
    }
    let reply = lease.engine().embed(EmbedRequest {
        texts,
        dimensions,
        normalize,
        adapters: lease.adapters().clone(),
    })?;
    let abort = app.shutdown.abort.clone();
    let reply = tokio::select! {
        biased;
        () = abort.cancelled() => return Err(ApiError::shutting_down()),
        reply = reply => reply,
    };
    let Ok(reply) = reply else {
        return Err(ApiError::internal(
            "the engine stopped without an answer; try again, the model will be loaded anew",
        ));
    };
    let done = reply.map_err(|error| match error {
        EmbedError::Unusable => ApiError::bad_request(error.to_string()),
        EmbedError::Failed(why) => ApiError::internal(why),
    })?;
    tracing::info!(
        n_texts = done.vectors.len(),
        n_tokens = done.stats.n_tokens,
        queued_ms = done.stats.queued.as_millis() as u64,
        computing_ms = done.stats.computing.as_millis() as u64,
        "embedded"
    );
    let vectors = Vectors {
        vectors: done.vectors,
        metrics: Metrics {
            total_duration: Some(nanos(job.began.elapsed())),
            load_duration: Some(nanos(lease.load_time)),
            prompt_eval_count: Some(done.stats.n_tokens as u64),
            ..Metrics::default()
        },
    };
    Ok((vectors, done.stats))
}

/// The tokens of each text, nothing around them yet.
async fn tokenise(lease: Lease, texts: Vec<Text>) -> Result<(Lease, Vec<Vec<TokenId>>), ApiError> {
    tokio::task::spawn_blocking(move || {
        let tokenizer = lease.engine().tokenizer();
        let tokens = texts.into_iter().map(|text| match text {
            Text::Plain(text) => Ok(tokenizer.encode(&text, Special::Recognise)),
            Text::Tokens(tokens) => super::tokens::known(tokens, tokenizer, "input"),
        });
        let tokens = tokens.collect::<Result<_, _>>()?;
        Ok((lease, tokens))
    })
    .await?
}

/// Cuts a text so that it and `n_frame` tokens around it have at most `limit`, or says that it is too long.
fn fit(
    mut ids: Vec<TokenId>,
    limit: usize,
    n_frame: usize,
    truncate: bool,
) -> Result<Vec<TokenId>, ApiError> {
    if ids.len() + n_frame > limit {
        if !truncate {
            return Err(
                ApiError::bad_request("the input length exceeds the context length")
                    .with_code("context_length_exceeded"),
            );
        }
        if limit <= n_frame {
            return Err(ApiError::bad_request(
                "input after truncation exceeds maximum context length",
            ));
        }
        ids.truncate(limit - n_frame);
    }
    Ok(ids)
}
