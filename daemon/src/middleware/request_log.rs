//! One id and one log line per request.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue, header::SERVER};
use std::time::Instant;
use tracing::Instrument;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Who answers, for whoever finds the port taken.
const SERVER_NAME: &str = concat!("slmd/", env!("CARGO_PKG_VERSION"));
/// What [`SERVER_NAME`] begins with.
pub(crate) const SERVER_PREFIX: &str = "slmd/";
/// Ids of others are taken over up to this length.
const MAX_ID_BYTES: usize = 64;

/// Gives the request an id (the client's own, where it sends one) and logs how it was answered. For a stream that is
/// when it begins.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)
        .map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", id);
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| {
        tracing::info!(
            %method,
            path,
            status = response.status().as_u16(),
            ms = started.elapsed().as_millis() as u64,
            "answered"
        );
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), id);
    }
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}
