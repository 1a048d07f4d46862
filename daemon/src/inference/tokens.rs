//! Texts to tokens and back, and how many tokens a prompt has, by the tokenizer of a loaded model.

use super::{
    Job, prepare,
    prompt::{self, ChatPrompt, PromptSource},
};
use crate::{error::ApiError, models::Lease, state::App};
use slm_engine::{Special, TokenId, Tokenizer};
use std::sync::Arc;

/// Tokens of the prompt, without answering it.
///
/// # Errors
/// The model cannot be loaded, or the prompt cannot be made.
pub(crate) async fn count(
    app: &Arc<App>,
    job: &Job,
    source: PromptSource,
) -> Result<usize, ApiError> {
    let (_, prompt, _) = prepare(lease(app, job).await?, source).await?;
    Ok(prompt.tokens.len())
}

/// The text of a conversation as the model reads it.
///
/// # Errors
/// The model cannot be loaded, or its template refuses the messages.
pub(crate) async fn render(
    app: &Arc<App>,
    job: &Job,
    chat: Box<ChatPrompt>,
) -> Result<String, ApiError> {
    let lease = lease(app, job).await?;
    tokio::task::spawn_blocking(move || prompt::render(&chat, lease.engine().tokenizer())).await?
}

/// The tokens of a text, with what frames a prompt where `framed` says so.
///
/// # Errors
/// The model cannot be loaded.
pub(crate) async fn encode(
    app: &Arc<App>,
    job: &Job,
    text: String,
    framed: bool,
) -> Result<Vec<TokenId>, ApiError> {
    let lease = lease(app, job).await?;
    Ok(tokio::task::spawn_blocking(move || {
        let tokenizer = lease.engine().tokenizer();
        if framed {
            tokenizer.encode_prompt(&text)
        } else {
            tokenizer.encode(&text, Special::Recognise)
        }
    })
    .await?)
}

/// The text of tokens.
///
/// # Errors
/// The model cannot be loaded, or does not have these tokens.
pub(crate) async fn decode(
    app: &Arc<App>,
    job: &Job,
    tokens: Vec<TokenId>,
) -> Result<String, ApiError> {
    let lease = lease(app, job).await?;
    tokio::task::spawn_blocking(move || {
        let tokenizer = lease.engine().tokenizer();
        let tokens = known(tokens, tokenizer, "tokens")?;
        Ok(tokenizer.decode(&tokens, Special::Recognise))
    })
    .await?
}

async fn lease(app: &Arc<App>, job: &Job) -> Result<Lease, ApiError> {
    let demand = job.demand(app, job.window(app)).await?;
    app.models.acquire(demand).await
}

/// Tokens from a request, if the model has them all. `field` is where they stand.
pub(super) fn known(
    tokens: Vec<TokenId>,
    tokenizer: &Tokenizer,
    field: &str,
) -> Result<Vec<TokenId>, ApiError> {
    let foreign = tokens
        .iter()
        .find(|token| **token as usize >= tokenizer.vocab_size());
    match foreign {
        None => Ok(tokens),
        Some(foreign) => Err(ApiError::bad_request(format!(
            "`{field}` holds token {foreign}, which this model does not have"
        ))
        .of_field(field)),
    }
}
