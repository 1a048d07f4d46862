//! OpenAI's dialect under `/v1`: what its clients know, over the same inference as Ollama's.
//!
//! Errors have OpenAI's shape. Where a request names no temperature, it is the model's own, else OpenAI's default.

mod chat;
mod completions;
mod embeddings;
mod logprobs;
mod messages;
mod models;
mod rerank;
mod responses;
#[cfg(test)]
mod sampling_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_choice_tests;

pub(super) use models::{model, models};

use super::{as_asked, dialect, dialect::id, model_name, table::Table};
use crate::{catalog::Record, error::ApiError, inference::Outcome, state::App};
use axum::{
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Map, Value};
use slm_api::openai::{
    CompletionTokensDetails, ErrorBody, ErrorDetail, PromptTokensDetails, Sampling, StreamOptions,
    Timings, Usage,
};
use std::sync::Arc;

/// Most answers to one prompt, and most generations of one request.
const MAX_CHOICES: usize = 128;

/// OpenAI names the build of its servers here.
const FINGERPRINT: &str = concat!("fp_slm_", env!("CARGO_PKG_VERSION"));

/// The routes.
pub(super) fn router() -> Table {
    Table::new()
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/v1/score", post(rerank::score))
        .merge(responses::router())
}

/// An error in OpenAI's shape.
#[derive(Debug)]
pub(super) struct Error(ApiError);

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.0.respond(error_body(&self.0))
    }
}

fn error_body(error: &ApiError) -> ErrorBody {
    let kind = dialect::error_kind(error.status(), &[]);
    ErrorBody {
        error: ErrorDetail {
            message: error.message().to_owned(),
            kind: kind.to_owned(),
            param: error.param().map(str::to_owned),
            code: error.code().map(str::to_owned),
        },
    }
}

/// The model that a request names.
async fn find(app: &Arc<App>, model: &str) -> Result<Arc<Record>, ApiError> {
    if model.is_empty() {
        return Err(ApiError::bad_request("model is required").of_field("model"));
    }
    let name = model_name(model).map_err(|error| error.of_field("model"))?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    record.map_err(|error| as_asked(error, model).of_field("model"))
}

/// How often to answer each prompt.
fn n_choices(n: Option<u64>, n_prompts: usize) -> Result<usize, ApiError> {
    let n = n.map_or(1, |n| usize::try_from(n).unwrap_or(usize::MAX));
    if n == 0 || n.saturating_mul(n_prompts) > MAX_CHOICES {
        let text = format!(
            "`n` must be at least 1, and a request may ask for {MAX_CHOICES} answers in all"
        );
        return Err(ApiError::bad_request(text).of_field("n"));
    }
    Ok(n)
}

/// The options of a request to `record`, under our names.
fn options(sampling: Sampling, record: &Record) -> Map<String, Value> {
    let Sampling {
        temperature,
        top_p,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
        max_tokens,
        max_completion_tokens,
        top_k,
        min_p,
        num_ctx,
        ignore_eos,
        logit_bias,
        grammar,
        json_schema: _,
        options,
        keep_alive: _,
    } = sampling;
    let named = [
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("seed", seed.map(Value::from)),
        ("stop", stop),
        ("presence_penalty", presence_penalty.map(Value::from)),
        ("frequency_penalty", frequency_penalty.map(Value::from)),
        (
            "num_predict",
            max_completion_tokens.or(max_tokens).map(Value::from),
        ),
        ("top_k", top_k.map(Value::from)),
        ("min_p", min_p.map(Value::from)),
        ("num_ctx", num_ctx.map(Value::from)),
        ("ignore_eos", ignore_eos.map(Value::from)),
        ("logit_bias", logit_bias),
        ("grammar", grammar.map(Value::from)),
    ];
    dialect::options(record, options, named)
}

/// A list of tokens, as the value of `field`.
fn tokens(value: Value, field: &'static str) -> Result<Vec<u32>, ApiError> {
    serde_json::from_value(value).map_err(|_| {
        let text =
            format!("invalid `{field}`: expected a text, a list of texts, or lists of tokens");
        ApiError::bad_request(text).of_field(field)
    })
}

fn wants_usage(options: Option<&StreamOptions>) -> bool {
    options.and_then(|o| o.include_usage).unwrap_or(false)
}

/// Adds up what answers took. A prompt counts once, however many answers it gets.
#[derive(Debug)]
struct Account {
    n_per_prompt: usize,
    usage: Usage,
    cached_tokens: u64,
    reasoning_tokens: u64,
    /// Of the prompts and of the answers, in nanoseconds.
    prompt_nanos: u64,
    answer_nanos: u64,
}

impl Account {
    fn new(n_per_prompt: usize) -> Self {
        Self {
            n_per_prompt,
            usage: Usage::default(),
            cached_tokens: 0,
            reasoning_tokens: 0,
            prompt_nanos: 0,
            answer_nanos: 0,
        }
    }

    fn add(&mut self, index: usize, outcome: &Outcome) {
        let metrics = &outcome.metrics;
        if index.is_multiple_of(self.n_per_prompt) {
            self.usage.prompt_tokens += metrics.prompt_eval_count.unwrap_or(0);
            self.cached_tokens += metrics.prompt_cached_count.unwrap_or(0);
            self.prompt_nanos += metrics.prompt_eval_duration.unwrap_or(0);
        }
        self.reasoning_tokens += outcome.n_thinking_tokens;
        self.answer_nanos += metrics.eval_duration.unwrap_or(0);
        self.usage.completion_tokens += metrics.eval_count.unwrap_or(0);
    }

    fn timings(&self) -> Timings {
        let prompt_n = self.usage.prompt_tokens.saturating_sub(self.cached_tokens);
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let per_second = |n: u64, nanos: u64| match nanos {
            // one token alone takes no time after the prompt
            0 | 1 => 0.0,
            nanos => n as f64 * 1e9 / nanos as f64,
        };
        Timings {
            cache_n: self.cached_tokens,
            prompt_n,
            prompt_ms: millis(self.prompt_nanos),
            prompt_per_second: per_second(prompt_n, self.prompt_nanos),
            predicted_n: self.usage.completion_tokens,
            predicted_ms: millis(self.answer_nanos),
            predicted_per_second: per_second(self.usage.completion_tokens, self.answer_nanos),
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            total_tokens: self.usage.prompt_tokens + self.usage.completion_tokens,
            prompt_tokens_details: Some(PromptTokensDetails {
                cached_tokens: self.cached_tokens,
            }),
            completion_tokens_details: Some(CompletionTokensDetails {
                reasoning_tokens: self.reasoning_tokens,
            }),
            ..self.usage
        }
    }
}

/// Now, in seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
