//! `GET /openapi.json`: the daemon's routes in OpenAPI 3.1, for programs that make clients or tests of such a document.
//!
//! [`table`] lists what there is, a few lines for each route; bodies are described by the wire types themselves, with
//! their comments. A test holds the list against the route table.

mod document;
mod schemas;
mod table;
#[cfg(test)]
mod tests;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::CONTENT_TYPE};
use std::sync::LazyLock;

/// The document, written when somebody first asks.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(table::document().to_string()));

/// Answers.
pub(super) async fn answer() -> Response {
    let mut response = Body::from(DOCUMENT.clone()).into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
