//! Models with GGUF files on Hugging Face, by its search.

use slm_api::web;
use slm_catalog::hub::{self, Repository};
use slm_catalog::query::Query;

use crate::settings::Hub;

/// What Hugging Face has for a query, the most fetched first.
///
/// # Errors
/// When it cannot be asked or does not answer as it does.
pub(crate) async fn search(hub: &Hub, query: &Query) -> anyhow::Result<Vec<Repository>> {
    let (url, words) = hub::request(&hub.endpoint, &query.text);
    let body = web::get(&url, &words, hub::MAX_ANSWER_BYTES, hub::TIMEOUT).await?;
    Ok(hub::parse(&body, query)?)
}
