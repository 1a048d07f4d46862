//! From a validated request to a running generation or to vectors, for every dialect alike.
//!
//! [`Job`] is what a route has checked and put together; [`start`] loads the model, prepares the prompt, refuses one
//! that does not fit, and queues it at the engine. Nothing is ever cut from a prompt silently: one that is too long for
//! an automatic window makes the window larger, up to what the model was trained for, and else is an error with both
//! numbers, unless the request asks for a shorter prompt; then the answer says how many tokens went.

mod adapters;
mod calls;
mod close_json;
mod draft;
mod embedding;
pub(crate) mod fill;
mod form;
mod generation;
mod options;
mod prompt;
mod tokens;
mod truncate;

pub(crate) use adapters::choose as choose_adapters;
pub(crate) use calls::no_form;
pub(crate) use embedding::{Text, Texts, Vectors, embed};
pub(crate) use form::{grammar, shown};
pub(crate) use generation::{Event, Generation, Outcome};
pub(crate) use options::RunOptions;
pub(crate) use prompt::{ChatPrompt, PromptSource, conversation, from_wire};
pub(crate) use tokens::{count as count_tokens, decode, encode, render};

use crate::{
    caller::Client,
    catalog::Record,
    error::ApiError,
    models::{Demand, KeepFor, Lease, WantedAdapter, Window},
    state::App,
};
use prompt::Prompt;
use slm_engine::{GenerateRequest, Grammar};
use std::{sync::Arc, time::Instant};

/// Room for an answer when a window is made large enough for a prompt.
const ANSWER_ROOM: usize = 1024;

/// A checked request.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) record: Arc<Record>,
    pub(crate) options: RunOptions,
    pub(crate) adapters: Vec<WantedAdapter>,
    pub(crate) keep: Option<KeepFor>,
    /// Who asks.
    pub(crate) client: Client,
    /// When the client's request came in.
    pub(crate) began: Instant,
}

impl Job {
    /// What the model must be able to do.
    ///
    /// # Errors
    /// The model that is to guess for it is not here.
    async fn demand(&self, app: &Arc<App>, window: Window) -> Result<Demand, ApiError> {
        Ok(Demand {
            record: Arc::clone(&self.record),
            window,
            n_threads: self.options.n_threads,
            kv_type: self.options.kv_type,
            draft: draft::weights(app, &self.options).await?,
            adapters: self.adapters.clone(),
            keep: self.keep,
        })
    }

    fn window(&self, app: &App) -> Window {
        match self.options.num_ctx.or(app.models.default_window()) {
            Some(n) => Window::Exact(n),
            None => Window::Auto { at_least: 0 },
        }
    }
}

/// Loads the model and nothing more.
///
/// # Errors
/// It cannot be loaded.
pub(crate) async fn load(app: &Arc<App>, job: &Job) -> Result<(), ApiError> {
    let demand = job.demand(app, job.window(app)).await?;
    app.models.acquire(demand).await?;
    note_use(app, job);
    Ok(())
}

/// Loads the model, and then lets the others go that are not pinned. Returns those.
///
/// # Errors
/// It cannot be loaded.
pub(crate) async fn swap(
    app: &Arc<App>,
    job: &Job,
    pin: Option<bool>,
) -> Result<Vec<Arc<Record>>, ApiError> {
    let demand = job.demand(app, job.window(app)).await?;
    let released = app.models.swap(demand, pin).await?;
    note_use(app, job);
    Ok(released)
}

/// Starts the generation.
///
/// # Errors
/// The model cannot be loaded, the prompt cannot be made or does not fit, or too many requests wait.
pub(crate) async fn start(
    app: &Arc<App>,
    job: Job,
    source: PromptSource,
) -> Result<Generation, ApiError> {
    let mut watch = app.observed.begin(&job);
    let is_json = matches!(
        job.options.grammar,
        Some(Grammar::Json | Grammar::JsonSchema(_))
    );
    let closes_json = job.options.close_json && is_json;
    let has_one_call = job.options.one_call;
    let is_text = !matches!(source, PromptSource::Tokens(_));
    let began = ready(app, job, source).await;
    let (lease, prompt, request) = began.inspect_err(|_| watch.failed())?;
    // a call that must come takes the place of the form
    let closes_json = closes_json && prompt.0.calls.is_none();
    let mut generation =
        Generation::start(lease, prompt, request, watch, app.shutdown.abort.clone())?;
    if closes_json {
        generation = generation.closing_json();
    }
    if has_one_call {
        generation = generation.with_one_call();
    }
    if is_text {
        generation = generation.of_text();
    }
    Ok(generation)
}

/// The model, loaded, the prompt with the number of tokens that were left out of it, and what the engine is asked.
async fn ready(
    app: &Arc<App>,
    job: Job,
    source: PromptSource,
) -> Result<(Lease, (Prompt, usize), GenerateRequest), ApiError> {
    if app.shutdown.begun.is_cancelled() {
        return Err(ApiError::ending());
    }
    let window = job.window(app);
    let demand = job.demand(app, window).await?;
    let mut lease = app.models.acquire(demand.clone()).await?;
    note_use(app, &job);
    let (back, mut prompt, source) = prepare(lease, source).await?;
    lease = back;
    let trained = lease.engine().context_length();
    let n_prompt = prompt.tokens.len();
    if n_prompt >= lease.context_length
        && n_prompt < trained
        && matches!(window, Window::Auto { .. })
    {
        let at_least = (n_prompt + ANSWER_ROOM).min(trained);
        // whoever waits for room must not hold what another load may be waiting for
        drop(lease);
        let wider = Demand {
            window: Window::Auto { at_least },
            ..demand.clone()
        };
        lease = match app.models.acquire(wider).await {
            Err(_) if job.options.truncate => app.models.acquire(demand).await?,
            wider => wider?,
        };
    }
    let context_length = lease.context_length;
    let mut n_truncated = 0;
    if n_prompt >= context_length {
        if job.options.truncate {
            let room = context_length - (context_length / 8).clamp(1, ANSWER_ROOM);
            (lease, prompt, n_truncated) =
                shorten(lease, source, (room, job.options.num_keep)).await?;
        }
        if prompt.tokens.len() >= context_length {
            return Err(too_long(n_prompt, context_length, trained));
        }
    }
    // a call that must come has a form of its own
    let grammar = match prompt.calls.clone() {
        None => job.options.grammar,
        calls => calls,
    };
    let constraint = form::constrain(&lease, &prompt, grammar).await?;
    let request = GenerateRequest {
        prompt: prompt.tokens.clone(),
        sampling: job.options.sampling,
        stop: job.options.stop,
        constraint,
        logprobs: job.options.logprobs,
        prompt_logprobs: job.options.prompt_logprobs,
        shown: prompt.shown.clone(),
        max_tokens: job.options.max_tokens,
        ignore_eos: job.options.ignore_eos,
        context_length,
        shift_after: job.options.shift.then_some(job.options.num_keep),
        client: job.client.name,
        adapters: lease.adapters().clone(),
        salt: job.client.salt,
    };
    Ok((lease, (prompt, n_truncated), request))
}

async fn prepare(
    lease: Lease,
    source: PromptSource,
) -> Result<(Lease, Prompt, PromptSource), ApiError> {
    tokio::task::spawn_blocking(move || {
        let prompt = prompt::prepare(&source, lease.engine())?;
        Ok((lease, prompt, source))
    })
    .await?
}

async fn shorten(
    lease: Lease,
    source: PromptSource,
    bounds: (usize, usize),
) -> Result<(Lease, Prompt, usize), ApiError> {
    tokio::task::spawn_blocking(move || {
        let (prompt, n_gone) = truncate::shorten(source, lease.engine(), bounds)?;
        Ok((lease, prompt, n_gone))
    })
    .await?
}

fn too_long(n_prompt: usize, context_length: usize, trained: usize) -> ApiError {
    let advice = if context_length < trained {
        format!("shorten it, raise num_ctx (the model allows up to {trained}), or set `truncate`")
    } else {
        "shorten it, set `truncate`, or use a model with a longer context".to_owned()
    };
    ApiError::bad_request(format!(
        "the prompt is too long: it has {n_prompt} tokens, which exceeds the available context size of {context_length} tokens (one of them is for the answer); {advice}"
    ))
    .with_code("context_length_exceeded")
}

/// Tells the store that the model is in use. Nobody waits for that.
fn note_use(app: &Arc<App>, job: &Job) {
    let (store, name) = (app.store.clone(), job.record.name.clone());
    drop(tokio::task::spawn_blocking(move || store.touch(&name)));
}
