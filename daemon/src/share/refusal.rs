//! Errors in the words of the distribution protocol: `{"errors":[{"code":…,"message":…}]}`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
    /// No such path.
    pub(super) fn no_route() -> Self {
        let message = "only the distribution API under /v2/ is served here";
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message)
    }
    /// Writing.
    pub(super) fn unsupported() -> Self {
        let message =
            "this registry is read-only; push to another, or pull on the machine that shares";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }
    /// A browser.
    pub(super) fn denied() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "DENIED",
            "pages in browsers are not answered",
        )
    }
    /// No such repository.
    pub(super) fn name_unknown(path: &str) -> Self {
        let message = format!("no model is shared as `{path:.200}`");
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }
    /// No such tag or digest.
    pub(super) fn manifest_unknown() -> Self {
        let message = "that model has no such tag or digest";
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }
    /// No such blob.
    pub(super) fn blob_unknown() -> Self {
        let message = "no shared model has that blob";
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message)
    }
    /// No digest.
    pub(super) fn bad_digest() -> Self {
        let message = "a digest is `sha256:` and 64 hex digits";
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }
    /// No number of results.
    pub(super) fn bad_page() -> Self {
        let message = "`n` must be a whole number";
        Self::new(
            StatusCode::BAD_REQUEST,
            "PAGINATION_NUMBER_INVALID",
            message,
        )
    }
    /// A fault of ours; what happened is for the log, not for strangers.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "cannot answer a neighbour");
        let message = "an internal error; the log of slmd has more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}
