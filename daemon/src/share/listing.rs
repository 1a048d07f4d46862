//! Lists of repositories and tags, in order, page by page: `?n=` results after `last`, and a `Link` to the next page.

use super::refusal::Refusal;
use axum::{
    Json,
    extract::Query,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Uri, header::LINK};
use serde::Deserialize;
use serde_json::json;
use slm_registry::{ModelEntry, repository};
use std::collections::BTreeSet;

/// Results of one page at most; also without `n`.
const MAX_RESULTS: usize = 1000;

#[derive(Debug, Default, Deserialize)]
struct Page {
    n: Option<String>,
    last: Option<String>,
}

/// `/v2/_catalog`.
pub(super) fn catalog(entries: Vec<ModelEntry>, uri: &Uri) -> Result<Response, Refusal> {
    let all = entries
        .iter()
        .map(|entry| repository(&entry.name))
        .collect();
    let (page, link) = page(all, uri)?;
    Ok(respond(json!({"repositories": page}), link))
}

/// `/v2/PATH/tags/list`.
pub(super) fn tags(entries: Vec<ModelEntry>, path: &str, uri: &Uri) -> Result<Response, Refusal> {
    let all = entries
        .iter()
        .map(|entry| entry.name.tag().to_owned())
        .collect();
    let (page, link) = page(all, uri)?;
    Ok(respond(json!({"name": path, "tags": page}), link))
}

/// The results of one page, and the address of the next.
fn page(all: BTreeSet<String>, uri: &Uri) -> Result<(Vec<String>, Option<String>), Refusal> {
    let Query(page) = Query::<Page>::try_from_uri(uri).map_err(|_| Refusal::bad_page())?;
    let n_wanted = match page.n {
        Some(n) => n.parse::<usize>().map_err(|_| Refusal::bad_page())?,
        None => MAX_RESULTS,
    };
    let n_wanted = n_wanted.min(MAX_RESULTS);
    let last = page.last.unwrap_or_default();
    let mut rest = all.into_iter().filter(|result| *result > last);
    let results: Vec<String> = rest.by_ref().take(n_wanted).collect();
    // Names and tags have no letters that an address would need to escape.
    let next = results.last().filter(|_| rest.next().is_some());
    let next = next.map(|last| format!("<{}?n={n_wanted}&last={last}>; rel=\"next\"", uri.path()));
    Ok((results, next))
}

fn respond(body: serde_json::Value, link: Option<String>) -> Response {
    let mut response = Json(body).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}
