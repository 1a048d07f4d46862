//! `GET /`, `HEAD /`: whether somebody is there. Some clients compare the words; browsers, who ask for HTML, get the page.

use super::page;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};

/// Answers.
pub(super) async fn answer(headers: HeaderMap) -> Response {
    let mut response = if page::is_wanted(&headers) {
        page::index(&headers)
    } else {
        "Ollama is running".into_response()
    };
    // caches must not give one the other's
    let vary = HeaderValue::from_static("Accept");
    response.headers_mut().append(header::VARY, vary);
    response
}
