//! How likely tokens were, in OpenAI's words.

use crate::error::ApiError;
use serde_json::{Map, Value, json};
use slm_api::ollama::Logprob;

/// Most alternatives to a token.
const MAX_TOP: i64 = 20;

/// The number of alternatives that a request asks for.
///
/// # Errors
/// Too many, or some where likelihoods are not asked for.
pub(super) fn n_top(wanted: bool, field: &'static str, n: Option<i64>) -> Result<i64, ApiError> {
    let wrong = |text: String| Err(ApiError::bad_request(text).of_field(field));
    let n = n.unwrap_or(0);
    if !(0..=MAX_TOP).contains(&n) {
        return wrong(format!("`{field}` must be between 0 and {MAX_TOP}"));
    }
    if n > 0 && !wanted {
        return wrong(format!("`{field}` needs `logprobs` to be true"));
    }
    Ok(n)
}

/// Of the tokens of a chat's answer.
pub(super) fn of_chat(logprobs: &[Logprob]) -> Value {
    json!({"content": logprobs.iter().map(with_top).collect::<Vec<_>>(), "refusal": null})
}

/// One token, with its alternatives.
pub(super) fn with_top(item: &Logprob) -> Value {
    let mut all = token(item);
    let top = item.top_logprobs.iter().map(token);
    all["top_logprobs"] = top.collect();
    all
}

fn token(item: &Logprob) -> Value {
    json!({"token": item.token, "logprob": number(item.logprob), "bytes": item.bytes})
}

/// With no more digits than it has.
fn number(logprob: f32) -> Value {
    let shortest: Option<f64> = logprob.to_string().parse().ok();
    shortest.map_or(Value::Null, Value::from)
}

/// Of the tokens of a completion, as they come.
#[derive(Debug)]
pub(super) struct OfCompletion {
    /// Characters ahead of the next token.
    offset: usize,
}

impl OfCompletion {
    /// Of a text that begins with so many characters.
    pub(super) fn new(offset: usize) -> Self {
        Self { offset }
    }

    /// The next tokens.
    pub(super) fn next(&mut self, logprobs: &[Logprob]) -> Value {
        let offsets = logprobs.iter().map(|item| {
            let offset = self.offset;
            self.offset += item.token.chars().count();
            offset
        });
        let offsets: Vec<usize> = offsets.collect();
        let top = logprobs.iter().map(|item| {
            let top = item.top_logprobs.iter();
            let top = top.map(|item| (item.token.clone(), number(item.logprob)));
            match item.top_logprobs.is_empty() {
                true => Value::Null,
                false => Value::Object(Map::from_iter(top)),
            }
        });
        json!({
            "tokens": logprobs.iter().map(|item| &item.token).collect::<Vec<_>>(),
            "token_logprobs": logprobs.iter().map(|item| number(item.logprob)).collect::<Vec<_>>(),
            "top_logprobs": top.collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(token: &str, logprob: f32) -> Logprob {
        Logprob {
            token: token.to_owned(),
            logprob,
            bytes: token.as_bytes().to_vec(),
            top_logprobs: Vec::new(),
        }
    }

    #[test]
    fn offsets_count_characters_over_all_chunks() {
        let first = Logprob {
            top_logprobs: vec![item("\u{e9}", -0.5), item("x", -1.0)],
            ..item("\u{e9}", -0.5)
        };
        let mut all = OfCompletion::new(3);
        assert_eq!(
            all.next(&[first, item("ab", -2.0)]),
            json!({"tokens": ["\u{e9}", "ab"], "token_logprobs": [-0.5, -2.0], "text_offset": [3, 4],
                "top_logprobs": [{"\u{e9}": -0.5, "x": -1.0}, null]})
        );
        assert_eq!(all.next(&[item("c", -1.0)])["text_offset"], json!([6]));
    }

    #[test]
    fn alternatives_need_likelihoods_and_have_a_bound() {
        assert_eq!(n_top(true, "top_logprobs", Some(20)).unwrap(), 20);
        assert_eq!(n_top(false, "top_logprobs", None).unwrap(), 0);
        for (wanted, n) in [(true, 21), (true, -1), (false, 1)] {
            let error = n_top(wanted, "top_logprobs", Some(n)).unwrap_err();
            assert_eq!(error.param(), Some("top_logprobs"));
        }
    }
}
