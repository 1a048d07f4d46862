//! A model that guesses for another changes nothing but the time.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;
mod generation;

use common::golden;
use generation::collect;
use slm_engine::{Engine, GenerateRequest, LoadError, LoadOptions, SamplingParams, Stats};
use std::path::PathBuf;

fn request(client: u32, n_prompt: u32) -> GenerateRequest {
    GenerateRequest {
        // every word once, as far as there are words
        prompt: (0..n_prompt)
            .map(|i| 20 + (i * 89 + client * 31) % 220)
            .collect(),
        sampling: SamplingParams {
            temperature: if client.is_multiple_of(2) { 0.0 } else { 1.0 },
            seed: Some(u64::from(client)),
            ..SamplingParams::default()
        },
        max_tokens: Some(60),
        ..GenerateRequest::default()
    }
}

fn load(model: &str, draft: Option<PathBuf>, n_parallel: usize) -> Result<Engine, LoadError> {
    let options = LoadOptions {
        draft,
        n_parallel,
        ..LoadOptions::default()
    };
    Engine::load(&golden(&format!("{model}.gguf")), &options)
}

/// All answers, and the sum of what was guessed, and rightly.
fn ask(engine: &Engine) -> (Vec<Vec<u32>>, usize, usize) {
    let running: Vec<_> = (0..6)
        .map(|client| engine.generate(request(client, 5 + 40 * client)).unwrap())
        .collect();
    let ended = running.into_iter().map(collect);
    let (answers, stats): (Vec<_>, Vec<Stats>) = ended.map(|(t, end)| (t, end.stats)).unzip();
    (
        answers,
        stats.iter().map(|stats| stats.n_drafted).sum(),
        stats.iter().map(|stats| stats.n_drafted_right).sum(),
    )
}

#[test]
fn a_model_that_guesses_changes_no_answer() {
    // another family's with the same vocabulary is wrong nearly always, the model itself is right
    for (target, draft) in [
        ("qwen3", "qwen2"),
        ("qwen3", "qwen3"),
        ("qwen2", "qwen3"),
        ("gemma3", "gemma3"),
        // it cannot be taken back, and gets no guesses
        ("qwen35", "qwen2"),
    ] {
        let (expected, ..) = ask(&load(target, None, 1).unwrap());
        for n_parallel in [1, 2, 6] {
            let draft_model = Some(golden(&format!("{draft}.gguf")));
            let engine = load(target, draft_model, n_parallel)
                .unwrap_or_else(|error| panic!("{target}, {draft}: {error}"));
            let (answers, n_drafted, _) = ask(&engine);
            assert_eq!(answers, expected, "{target}, {draft}, {n_parallel}");
            if target == "qwen35" {
                assert_eq!(n_drafted, 0);
            } else {
                // how often, is found out by measuring
                assert!(n_drafted > 0, "{target}, {draft}, {n_parallel}");
            }
        }
    }
}

#[test]
fn a_model_guesses_its_own_words() {
    let path = golden("llama.gguf");
    let engine = load("llama", Some(path), 1).unwrap();
    let greedy = |client| GenerateRequest {
        max_tokens: Some(100),
        ..request(client, 9)
    };
    let mut n_drafted = 0;
    for client in [0, 2, 4, 6, 8] {
        // nothing is there to be found in the text
        let (_, finish) = collect(engine.generate(greedy(client)).unwrap());
        let Stats {
            n_drafted: n,
            n_drafted_right: n_right,
            ..
        } = finish.stats;
        n_drafted += n;
        assert!(10 * n_right >= 9 * n.saturating_sub(3), "{n_right} of {n}");
    }
    assert!(n_drafted > 10, "{n_drafted}");
}

#[test]
fn memory_of_both_models_is_counted() {
    let alone = load("llama", None, 2).unwrap().memory();
    let both = load("llama", Some(golden("llama.gguf")), 2)
        .unwrap()
        .memory();
    assert_eq!(both.weights_bytes, 2 * alone.weights_bytes);
    assert_eq!(both.kv_bytes, 2 * alone.kv_bytes);
    assert_eq!(both.kv_bytes_limit, 2 * alone.kv_bytes_limit);
}

#[test]
fn a_model_that_cannot_guess_is_refused_by_name() {
    let why = |model, draft: &str| {
        let draft = golden(&format!("{draft}.gguf"));
        let error = load(model, Some(draft), 1).unwrap_err().to_string();
        let prefix = "the draft model cannot guess for this model: ";
        error.strip_prefix(prefix).unwrap().to_owned()
    };
    let other = why("qwen3", "smollm3");
    assert!(other.contains("of its vocabulary is another"), "{other}");
    let other = why("llama", "gemma3");
    assert_eq!(other, "its vocabulary has 448 tokens instead of 384");
    assert_eq!(
        why("lfm2", "lfm2"),
        "its state cannot be taken back to where a guess went wrong"
    );
    let encoder = load("llama", Some(golden("bert-mean.gguf")), 1);
    assert!(matches!(encoder, Err(LoadError::NoText)));
}
