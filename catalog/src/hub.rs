//! Models with GGUF files on Hugging Face: what its search is asked, and what it answers. Who asks is somebody else.

use crate::query::{Query, count_in_name};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long it may take.
pub const TIMEOUT: Duration = Duration::from_secs(6);
/// The longest answer that is read; that of twenty models has a few dozen kilobytes.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How many models are asked for.
const LIMIT: &str = "20";
/// The longest id that Hugging Face gives is 96 characters and a user's name.
const MAX_ID_CHARS: usize = 200;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// What to pull: `hf.co/user/repo`.
    pub pull: String,
    /// How often it was fetched in the last month.
    pub downloads: u64,
    /// Its licence, where it says one.
    pub licence: Option<String>,
    /// The number of parameters that its name says.
    pub parameters: Option<u64>,
}

/// As the search answers; other fields are of no interest.
#[derive(Debug, Deserialize)]
struct Answer {
    id: String,
    #[serde(default)]
    downloads: u64,
    #[serde(default)]
    tags: Vec<String>,
}

/// The address of the search at `endpoint`, and what it is asked for some words.
pub fn request<'a>(endpoint: &str, text: &'a str) -> (String, [(&'static str, &'a str); 5]) {
    let words = [
        ("search", text),
        ("filter", "gguf"),
        ("sort", "downloads"),
        ("direction", "-1"),
        ("limit", LIMIT),
    ];
    (
        format!("{}/api/models", endpoint.trim_end_matches('/')),
        words,
    )
}

/// What an answer has for a query, in its order.
///
/// # Errors
/// When it is no answer of the search.
pub fn parse(body: &[u8], query: &Query) -> Result<Vec<Repository>, serde_json::Error> {
    let answers: Vec<Answer> = serde_json::from_slice(body)?;
    let is_wanted = |repository: &Repository| {
        let n = repository.parameters;
        query
            .parameters
            .is_none_or(|range| n.is_some_and(|n| range.contains(n)))
            && query.is_licence(repository.licence.as_deref().unwrap_or_default())
    };
    let is_sound = |answer: &Answer| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        answer.id.contains('/')
            && answer.id.len() <= MAX_ID_CHARS
            && answer.id.chars().all(is_plain)
    };
    let sound = answers.into_iter().filter(is_sound);
    let found = sound.map(|answer| Repository {
        parameters: count_in_name(&answer.id),
        pull: format!("hf.co/{}", answer.id),
        downloads: answer.downloads,
        licence: answer
            .tags
            .iter()
            .find_map(|tag| tag.strip_prefix("license:"))
            .map(|licence| licence.chars().filter(|c| !c.is_control()).collect()),
    });
    Ok(found.filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_ids_that_are_none_dropped() {
        let body = br#"[
            {"id": "Qwen/Qwen3-0.6B-GGUF", "downloads": 12, "likes": 3, "tags": ["gguf", "license:apache-2.0"]},
            {"id": "a/b\u001b[2J"}, {"id": "nothing"}, {"id": "a/b"}
        ]"#;
        let all = Query::default();
        let found = parse(body, &all).expect("an answer");
        assert_eq!(
            found,
            [
                Repository {
                    pull: "hf.co/Qwen/Qwen3-0.6B-GGUF".to_owned(),
                    downloads: 12,
                    licence: Some("apache-2.0".to_owned()),
                    parameters: Some(600_000_000),
                },
                Repository {
                    pull: "hf.co/a/b".to_owned(),
                    downloads: 0,
                    licence: None,
                    parameters: None,
                },
            ]
        );
        let small = Query {
            parameters: Some("..1b".parse().expect("a range")),
            ..Query::default()
        };
        assert_eq!(parse(body, &small).expect("an answer"), found[..1]);
        assert!(parse(b"<html>", &all).is_err());
        assert!(parse(br#"{"error": "no"}"#, &all).is_err());
    }
}
