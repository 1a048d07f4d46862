//! The requests: random words, so many at once.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use slm_api::{Client, ClientError};
use std::time::{Duration, Instant};

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) model: String,
    pub(super) n_requests: usize,
    pub(super) n_words: usize,
    pub(super) n_shared_words: usize,
    /// Of each answer.
    pub(super) n_tokens: u32,
    pub(super) temperature: f32,
}

/// What one request brought.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Tokens of prompt and answer, as the server counts them.
    pub(super) n_prompt_tokens: u64,
    pub(super) n_tokens: u64,
    /// Until the first token.
    pub(super) ttft: Duration,
    /// Between the tokens that followed.
    pub(super) gaps: Vec<Duration>,
    /// In all.
    pub(super) latency: Duration,
}

/// Words that common vocabularies have as one token each.
const WORDS: [&str; 32] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
];

impl Load {
    /// The `i`th prompt: the same for the same seed, and different from its first word that is not shared.
    pub(super) fn prompt(&self, seed: u64, i: usize) -> String {
        let words = |seed: u64, n: usize| {
            let mut state = seed;
            (0..n).map(move |_| {
                // the generator of splitmix64
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                WORDS[(z ^ (z >> 31)) as usize % WORDS.len()]
            })
        };
        let own = seed ^ (i as u64 + 1).wrapping_mul(0xd605_1b6d_8f2c_4a95);
        let all: Vec<&str> = words(u64::MAX, self.n_shared_words)
            .chain(words(own, self.n_words))
            .collect();
        all.join(" ")
    }
}

/// Asks everything, at most `width` requests at once; the answers and how many seconds they took together.
pub(super) async fn run(
    client: &Client,
    load: &Load,
    width: usize,
    seed: u64,
) -> (Vec<Result<Answer, String>>, f64) {
    let began = Instant::now();
    let answers = stream::iter(0..load.n_requests)
        .map(|i| one(client, load, load.prompt(seed, i), load.n_tokens))
        .buffer_unordered(width)
        .map(|answer| answer.map_err(|error| error.to_string()))
        .collect()
        .await;
    (answers, began.elapsed().as_secs_f64())
}

/// Asks once.
///
/// # Errors
/// The server refused, failed, or ended early.
pub(super) async fn one(
    client: &Client,
    load: &Load,
    prompt: String,
    n_tokens: u32,
) -> Result<Answer, ClientError> {
    let body = json!({
        "model": load.model, "prompt": prompt, "max_tokens": n_tokens, "temperature": load.temperature, "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let began = Instant::now();
    let mut events = client.events("/v1/completions", &body).await?;
    let mut answer = Answer::default();
    let mut last: Option<Instant> = None;
    while let Some(data) = events.next().await? {
        let now = Instant::now();
        let Ok(event) = serde_json::from_str::<Value>(&data) else {
            continue; // the mark of the end
        };
        if let Some(message) = event["error"]["message"].as_str() {
            let message = message.to_owned();
            return Err(ClientError::Failed { message });
        }
        if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
            answer.n_prompt_tokens = usage["prompt_tokens"].as_u64().unwrap_or(0);
            answer.n_tokens = usage["completion_tokens"].as_u64().unwrap_or(0);
        }
        let has_text =
            |choice: &Value| choice["text"].as_str().is_some_and(|text| !text.is_empty());
        if !event["choices"]
            .as_array()
            .is_some_and(|all| all.iter().any(has_text))
        {
            continue;
        }
        match last.replace(now) {
            None => answer.ttft = now - began,
            Some(before) => answer.gaps.push(now - before),
        }
    }
    let Some(last) = last else {
        let message = "the server ended an answer without a token".to_owned();
        return Err(ClientError::Failed { message });
    };
    answer.latency = last - began;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_from_their_first_own_word_and_share_what_they_should() {
        let load = Load {
            model: String::new(),
            n_requests: 0,
            n_words: 40,
            n_shared_words: 10,
            n_tokens: 1,
            temperature: 0.0,
        };
        let prompts: Vec<String> = (0..50).map(|i| load.prompt(7, i)).collect();
        assert_eq!(prompts[3], load.prompt(7, 3));
        let own = |prompt: &String| {
            prompt
                .split(' ')
                .skip(10)
                .take(8)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut distinct: Vec<String> = prompts.iter().map(own).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 50);
        for prompt in &prompts {
            assert_eq!(prompt.split(' ').count(), 50);
            let shared = |text: &str| text.split(' ').take(10).collect::<Vec<_>>().join(" ");
            assert_eq!(shared(prompt), shared(&prompts[0]));
        }
        assert_ne!(load.prompt(8, 3), prompts[3]);
    }
}
