//! [`ApiError`]: a status and one sentence, and how every domain error becomes one.
//!
//! The sentence is the whole chain of causes, each once, and then what to do about it.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use slm_api::ollama::{ENDING, ErrorBody};
use std::error::Error;

/// When to try again where nothing better is known.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The status of a request whose client went away.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What a client is told when its request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// After how many seconds another try may succeed.
    retry_after: Option<u64>,
    /// The field of the request that is wrong, and a word for what went wrong, for dialects that say such.
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    /// An error with this status and sentence.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            param: None,
            code: None,
        }
    }
    /// The same, about this field of the request.
    pub(crate) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.param = Some(field.into());
        self
    }
    /// The same, with a word that programs know.
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
    /// The same, with when to try again: whole seconds, at least one.
    pub(crate) fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after = Some(wait.as_secs_f64().ceil().max(1.0) as u64);
        self
    }
    /// The request is wrong.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
    /// There is no such model.
    pub(crate) fn no_model(name: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("model '{name}' not found"))
            .with_code("model_not_found")
    }
    /// A fault of the daemon.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
    /// Too much waits already.
    pub(crate) fn busy() -> Self {
        Self::from(slm_engine::QueueFull { wait: BUSY_WAIT })
    }
    /// What is done one at a time is being done.
    pub(crate) fn busy_with(what: &str) -> Self {
        let text = format!("the daemon is {what} already; try again when it is done");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(BUSY_WAIT)
    }
    /// The daemon ends, and cuts off what still runs.
    pub(crate) fn shutting_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ENDING)
    }
    /// The daemon is about to end, and takes nothing new.
    pub(crate) fn ending() -> Self {
        let text = format!(
            "{ENDING} and takes no more requests; send it again once it has been started again"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(BUSY_WAIT)
    }
    /// The request ended before its answer.
    pub(crate) fn canceled() -> Self {
        let status = StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, "request canceled")
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
    /// The field of the request that is wrong.
    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }
    /// A word for what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        self.code
    }
    /// The body of an error answer, and the last line of a stream that failed.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: self.message.clone(),
        }
    }
    /// Logs it: faults of ours as errors, those of the client for who wants to know.
    pub(crate) fn log(&self) {
        let (status, error) = (self.status.as_u16(), &self.message);
        if self.status.is_server_error() {
            tracing::error!(status, error, "request failed");
        } else {
            tracing::debug!(status, error, "request refused");
        }
    }
}

impl ApiError {
    /// Logs it, and answers with a body of some dialect.
    pub(crate) fn respond(&self, body: impl Serialize) -> Response {
        self.log();
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(self.body())
    }
}

/// An error's text and those of its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

fn with_hint(text: String, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

impl From<slm_registry::Error> for ApiError {
    fn from(error: slm_registry::Error) -> Self {
        use slm_registry::Error as E;
        let status = match &error {
            // clients compare this one word by word, and pull by themselves
            E::NotFound { name } => return Self::no_model(name),
            // so do those that upload blobs
            E::DigestMismatch { .. } => return Self::bad_request(error.to_string()),
            E::RemoteNotFound { .. } | E::NoFile { .. } => StatusCode::NOT_FOUND,
            E::Bundle { .. } | E::BundleIncomplete { .. } | E::NoArchive => StatusCode::BAD_REQUEST,
            E::SharedModel { .. } => StatusCode::FORBIDDEN,
            E::Insecure { .. } | E::NoEarlierVersion { .. } => StatusCode::BAD_REQUEST,
            E::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, with_hint(chain(&error), error.hint()))
    }
}

impl From<slm_engine::LoadError> for ApiError {
    fn from(error: slm_engine::LoadError) -> Self {
        use slm_engine::LoadError as E;
        match &error {
            E::OutOfMemory {
                needed_bytes,
                available_bytes,
            } => Self::too_large(
                *needed_bytes,
                *available_bytes,
                "stop other models, use a smaller one, or lower num_ctx",
            ),
            E::Cpu(_) => Self::internal(chain(&error)),
            E::Draft(_) => Self::bad_request(chain(&error)),
            _ => Self::internal(format!("cannot load the model: {}", chain(&error))),
        }
    }
}

impl ApiError {
    /// An adapter that cannot be applied to the model that a request asks for.
    pub(crate) fn adapter(digest: &slm_registry::Digest, error: &slm_engine::LoadError) -> Self {
        Self::bad_request(format!(
            "the adapter {digest} cannot be used with this model: {}",
            chain(error)
        ))
    }

    /// A model that does not fit, with both numbers and what would.
    pub(crate) fn too_large(needed_bytes: u64, available_bytes: u64, advice: &str) -> Self {
        let size = |bytes: u64| match bytes {
            0..0x4000_0000 => format!("{} MiB", bytes >> 20),
            _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        };
        Self::internal(format!(
            "model requires more system memory ({}) than is available ({}); {advice}",
            size(needed_bytes),
            size(available_bytes)
        ))
    }
}

impl From<slm_engine::QueueFull> for ApiError {
    fn from(error: slm_engine::QueueFull) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(error.wait)
    }
}

impl From<slm_chat::TemplateError> for ApiError {
    fn from(error: slm_chat::TemplateError) -> Self {
        Self::bad_request(chain(&error))
    }
}

impl From<slm_registry::ReferenceError> for ApiError {
    fn from(error: slm_registry::ReferenceError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<slm_registry::NameError> for ApiError {
    fn from(error: slm_registry::NameError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<slm_registry::DigestError> for ApiError {
    fn from(error: slm_registry::DigestError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        if error.is_cancelled() {
            return Self::canceled();
        }
        Self::internal("an internal error ended this request; the log of slmd has more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_told_once_and_ends_with_what_to_do() {
        let error = slm_engine::LoadError::Open {
            path: "/m/x".into(),
            source: std::io::Error::other("no luck"),
        };
        assert_eq!(
            ApiError::from(error).message(),
            "cannot load the model: cannot open model file `/m/x`: no luck"
        );
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_both_numbers() {
        let error = ApiError::from(slm_engine::LoadError::OutOfMemory {
            needed_bytes: 3 << 30,
            available_bytes: 3 << 29,
        });
        assert!(error.message().starts_with(
            "model requires more system memory (3.0 GiB) than is available (1.5 GiB); "
        ));
    }
}
