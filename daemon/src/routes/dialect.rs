//! What the dialects beside Ollama's have in common: identifiers, words for errors, defaults.

use crate::catalog::Record;
use http::StatusCode;
use serde_json::{Map, Value};

/// Words for statuses that all of them use.
const KINDS: &[(u16, &str)] = &[
    (401, "authentication_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (429, "rate_limit_error"),
];

/// The word for an error of this status; those of the dialect's `own` come first.
pub(super) fn error_kind(status: StatusCode, own: &[(u16, &'static str)]) -> &'static str {
    let known = own.iter().chain(KINDS);
    let found = known
        .into_iter()
        .find(|(known, _)| *known == status.as_u16());
    match found {
        Some((_, kind)) => kind,
        // 499 is a client that went away
        None if status.is_client_error() && status.as_u16() != 499 => "invalid_request_error",
        None => "api_error",
    }
}

/// A prefix and 24 random letters and digits.
pub(super) fn id(prefix: &str) -> String {
    let random = (0..24).map(|_| fastrand::alphanumeric());
    prefix.chars().chain(random).collect()
}

/// The options of a request to `record`, under our names: those that both services choose otherwise than Ollama, unless
/// the model says so itself, then the request's `options`, then what it names.
pub(super) fn options(
    record: &Record,
    options: Option<Map<String, Value>>,
    named: impl IntoIterator<Item = (&'static str, Option<Value>)>,
) -> Map<String, Value> {
    let mut all = Map::new();
    for key in ["temperature", "top_p"] {
        if !record.params.contains_key(key) {
            all.insert(key.to_owned(), Value::from(1.0));
        }
    }
    all.extend(options.unwrap_or_default());
    let named = named.into_iter();
    all.extend(named.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_word() {
        let kind = |status| error_kind(StatusCode::from_u16(status).unwrap(), &[(503, "busy")]);
        for (status, expected) in [
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (413, "invalid_request_error"),
            (429, "rate_limit_error"),
            (499, "api_error"),
            (500, "api_error"),
            (503, "busy"),
        ] {
            assert_eq!(kind(status), expected);
        }
    }

    #[test]
    fn no_two_identifiers_are_alike() {
        let (a, b) = (id("x-"), id("x-"));
        assert!(a != b && a.len() == 26 && a.starts_with("x-"), "{a}");
    }
}
