//! Parameters of other dialects that the daemon does not know, or cannot honour: named in a header of the answer, or
//! refused where the configuration is strict.

use crate::{error::ApiError, state::App};
use axum::response::Response;
use http::HeaderValue;
use serde_json::{Map, Value};

/// The header that names them.
const HEADER: &str = "x-slm-warning";
/// Names in a header or an error, and bytes of each.
const MAX_NAMES: usize = 16;
const MAX_NAME_BYTES: usize = 64;

/// Names of parameters that were left out of account.
#[derive(Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    /// Of the parameters `rest`, those that are not among `harmless` and ask for something.
    pub(super) fn of(rest: &Map<String, Value>, harmless: &[&str]) -> Self {
        let asking = rest
            .iter()
            .filter(|(key, value)| !harmless.contains(&key.as_str()) && asks_for_something(value));
        Self(asking.map(|(key, _)| key.clone()).collect())
    }

    /// One more.
    pub(super) fn add(&mut self, name: &str) {
        if !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }

    /// Refuses the request where the daemon is strict.
    ///
    /// # Errors
    /// It is, and there are some.
    pub(super) fn check(&self, app: &App) -> Result<(), ApiError> {
        match self.0.first() {
            Some(first) if app.config.strict => Err(ApiError::bad_request(format!(
                "not supported: {}; leave it out, or start the daemon without SLM_STRICT to have it ignored",
                self.names()
            ))
            .of_field(first)
            .with_code("unsupported_parameter")),
            _ => Ok(()),
        }
    }

    /// Names them in the answer's header.
    pub(super) fn tell(&self, mut response: Response) -> Response {
        if !self.0.is_empty()
            && let Ok(value) = HeaderValue::from_str(&format!("ignored: {}", self.names()))
        {
            response.headers_mut().insert(HEADER, value);
        }
        response
    }

    /// Their names, as they are shown.
    pub(super) fn names(&self) -> String {
        let plain = |name: &String| -> String {
            let letters = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
            letters.take(MAX_NAME_BYTES).collect()
        };
        let names: Vec<String> = self.0.iter().take(MAX_NAMES).map(plain).collect();
        names.join(", ")
    }
}

/// Whether it is more than a way of saying "nothing".
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_asks_for_nothing_and_what_is_harmless_is_not_named() {
        let rest = json!({"logprobs": false, "top_logprobs": 0, "logit_bias": {}, "user": "u", "audio": {"voice": "x"},
            "a\nb": "x"});
        let ignored = Ignored::of(rest.as_object().unwrap(), &["user"]);
        assert_eq!(ignored.names(), "audio, ab");
        let response = ignored.tell(Response::default());
        assert_eq!(response.headers()[HEADER], "ignored: audio, ab");
        let none = Ignored::default().tell(Response::default());
        assert!(none.headers().is_empty());
    }
}
