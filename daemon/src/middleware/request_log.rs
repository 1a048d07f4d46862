//! One id and one log line per request.
//!
//! The id is the client's own where it sends a fit one, else a new one. It stands in the answer's `x-request-id` and in
//! every line of the log that the request gives rise to.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue, header::SERVER};
use std::time::Instant;
use tracing::Instrument;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name under which Anthropic's clients look for it.
static ANTHROPICS_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Who answers, for whoever finds the port taken.
const SERVER_NAME: &str = concat!("slmd/", env!("CARGO_PKG_VERSION"));
/// What [`SERVER_NAME`] begins with.
pub(crate) const SERVER_PREFIX: &str = "slmd/";
/// Ids of others are taken over up to this length.
const MAX_ID_BYTES: usize = 128;

tokio::task_local! {
    static ID: String;
}

/// The id of the request that is being answered; `None` once its stream has begun.
pub(crate) fn current_id() -> Option<String> {
    ID.try_with(String::clone).ok()
}

/// Whether others' id may stand in headers and logs as it is.
fn is_fit(id: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b);
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(is_safe)
}

/// Gives the request an id (the client's own, where it sends one) and logs how it was answered. For a stream that is
/// when it begins.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_fit(id))
        .map_or_else(|| format!("req_{:016x}", fastrand::u64(..)), str::to_owned);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", id);
    let answer = next.run(request).instrument(span.clone());
    let mut response = ID.scope(id.clone(), answer).await;
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
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID.clone(), id.clone());
        headers.insert(ANTHROPICS_REQUEST_ID.clone(), id);
    }
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use axum::body::Body;
    use http::Request;

    #[tokio::test]
    async fn a_fit_id_comes_back_and_another_is_made_in_place_of_one_that_is_not() {
        let daemon = TestDaemon::new();
        let ask = async |path: &str, id: Option<&str>| {
            let mut request = Request::post(path);
            if let Some(id) = id {
                request = request.header("x-request-id", id);
            }
            daemon.send(request.body(Body::empty()).unwrap()).await
        };
        let answer = ask("/v1/messages", Some("my-id:7")).await;
        assert_eq!(answer.headers["x-request-id"], "my-id:7");
        assert_eq!(answer.headers["request-id"], "my-id:7");
        assert_eq!(answer.json()["request_id"], "my-id:7");
        let long = "x".repeat(129);
        for unfit in [None, Some("a b"), Some("a\tb"), Some(long.as_str())] {
            let answer = ask("/api/chat", unfit).await;
            let id = answer.headers["x-request-id"].to_str().unwrap();
            assert!(id.starts_with("req_") && id.len() == 20, "{id}");
        }
    }
}
