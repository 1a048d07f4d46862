//! Vectors of texts against the reference's, and what the engine thread promises to those who ask for them.
//!
//! The models and their expected values are described in `tests/data/golden/README.md`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "differences, which a failed test shows"
)]

use serde_json::Value;
use slm_engine::{
    Adapters, EmbedError, EmbedRequest, Embeddings, Engine, GenerateRequest, LoadError,
    LoadOptions, Model, SamplingParams, StepResult,
};
use slm_gguf::{Gguf, TensorType, Writer};
use std::path::{Path, PathBuf};

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/golden")
        .join(file)
}

fn reference(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(&format!("{name}.json"))).unwrap()).unwrap()
}

fn load(path: &Path) -> Engine {
    let options = LoadOptions {
        n_threads: Some(2),
        ..LoadOptions::default()
    };
    Engine::load(path, &options).unwrap()
}

fn load_golden(name: &str) -> Engine {
    load(&golden(&format!("{name}.gguf")))
}

/// A golden model with some of its keys replaced.
fn load_with(name: &str, put: impl FnOnce(&mut Writer<'_>), replaced: &[&str]) -> Engine {
    let path = std::env::temp_dir().join(format!(
        "slm-embeddings-{name}-{}-{}.gguf",
        std::process::id(),
        fastrand::u64(..)
    ));
    let file = std::fs::read(golden(&format!("{name}.gguf"))).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        if !replaced.contains(&key) {
            writer.put_value(key, value);
        }
    }
    put(&mut writer);
    for info in gguf.tensors() {
        let data = gguf.tensor_data(info);
        writer.tensor(info.name, info.tensor_type, &info.shape, data);
    }
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let engine = load(&path);
    std::fs::remove_file(path).unwrap();
    engine
}

fn floats(value: &Value) -> Vec<f32> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_u64().unwrap() as u32).collect()
}

fn request(texts: Vec<Vec<u32>>) -> EmbedRequest {
    EmbedRequest {
        texts,
        dimensions: None,
        normalize: true,
        adapters: Adapters::default(),
    }
}

fn embed(engine: &Engine, request: EmbedRequest) -> Result<Embeddings, EmbedError> {
    engine.embed(request).unwrap().blocking_recv().unwrap()
}

fn vectors(engine: &Engine, texts: Vec<Vec<u32>>) -> Vec<Vec<f32>> {
    embed(engine, request(texts)).unwrap().vectors
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[track_caller]
fn check(name: &str) {
    let engine = load_golden(name);
    let expected = reference(name);
    let cases = expected["cases"].as_array().unwrap();
    let texts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["tokens"])).collect();
    for (case, tokens) in cases.iter().zip(&texts) {
        let text = case["text"].as_str().unwrap();
        assert_eq!(&engine.tokenizer().encode_prompt(text), tokens, "{text:?}");
    }
    let embeddings = embed(&engine, request(texts.clone())).unwrap();
    let n_tokens: usize = texts.iter().map(Vec::len).sum();
    assert_eq!(embeddings.stats.n_tokens, n_tokens);
    assert_eq!(embeddings.vectors.len(), cases.len());
    for (case, vector) in cases.iter().zip(&embeddings.vectors) {
        let expected = floats(&case["embedding"]);
        assert_eq!(vector.len(), expected.len());
        let difference = largest_difference(vector, &expected);
        println!("{name}: {difference:.1e}");
        assert!(difference < 1e-5, "{name}: off by {difference}");
    }
}

#[test]
fn bert_matches_the_reference() {
    check("bert-mean");
}

#[test]
fn nomic_bert_matches_the_reference() {
    check("nomic-bert");
}

#[test]
fn a_decoder_with_its_last_token_matches_the_reference() {
    check("qwen3-embed");
}

#[test]
fn other_poolings_match_the_reference() {
    for (name, key, poolings) in [
        (
            "bert-mean",
            "bert.pooling_type",
            [("cls", 2u32), ("last", 3)],
        ),
        (
            "nomic-bert",
            "nomic-bert.pooling_type",
            [("cls", 2), ("last", 3)],
        ),
        (
            "qwen3-embed",
            "qwen3.pooling_type",
            [("mean", 1), ("cls", 2)],
        ),
    ] {
        let expected = reference(name);
        let case = &expected["cases"][0];
        for (pooling, id) in poolings {
            let engine = load_with(name, |w| _ = w.put(key, id), &[key]);
            let vector = &vectors(&engine, vec![ids(&case["tokens"])])[0];
            let first = floats(&case["other_poolings"][pooling]);
            assert!(
                largest_difference(vector, &first) < 1e-5,
                "{name}, {pooling}"
            );
        }
    }
}

/// The tiny Gemma 3 as EmbeddingGemma, the way llama.cpp's converter and the way Ollama writes it.
#[test]
fn gemma_that_looks_both_ways_matches_the_reference() {
    const WIDTH: u64 = 64;
    const INNER: u64 = 96;
    let cases = reference("gemma3-bidirectional")["cases"].clone();
    let prompt = ids(&reference("gemma3")["prompt_tokens"]);
    let file = std::fs::read(golden("gemma3.gguf")).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    // the formulas stand in the golden files' description
    let matrix = |n_rows: u64, n_cols: u64, value: fn(f64, f64) -> f64| -> Vec<u8> {
        let row = |a| (0..n_cols).map(move |b| value(a as f64, b as f64) as f32);
        (0..n_rows)
            .flat_map(row)
            .flat_map(f32::to_le_bytes)
            .collect()
    };
    let first = matrix(INNER, WIDTH, |a, b| (1.0 + a * 0.37 + b * 1.13).sin() * 0.2);
    let second = matrix(WIDTH, INNER, |a, b| (2.0 + a * 0.71 + b * 0.53).cos() * 0.2);
    for (architecture, dense) in [
        ("gemma-embedding", None),
        (
            "gemma-embedding",
            Some(["dense_2.weight", "dense_3.weight"]),
        ),
        ("gemma3", Some(["dense.0.weight", "dense.1.weight"])),
    ] {
        let mut writer = Writer::new();
        for (key, value) in gguf.metadata().iter() {
            match key.strip_prefix("gemma3.") {
                Some(rest) => _ = writer.put_value(&format!("{architecture}.{rest}"), value),
                None if key == "general.architecture" => _ = writer.put(key, architecture),
                None => _ = writer.put_value(key, value),
            }
        }
        writer.put(&format!("{architecture}.pooling_type"), 1u32);
        for info in gguf.tensors() {
            let data = gguf.tensor_data(info);
            writer.tensor(info.name, info.tensor_type, &info.shape, data);
        }
        if let Some([a, b]) = dense {
            writer.tensor(a, TensorType::F32, &[WIDTH, INNER], &first);
            writer.tensor(b, TensorType::F32, &[INNER, WIDTH], &second);
        }
        let folder = std::env::temp_dir();
        let path = folder.join(format!("slm-{architecture}-{}.gguf", std::process::id()));
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        let engine = load(&path);
        assert!(matches!(
            Model::load(&path, &LoadOptions::default()),
            Err(LoadError::NoText)
        ));
        std::fs::remove_file(&path).unwrap();
        for case in cases.as_array().unwrap() {
            let n_tokens = case["n_tokens"].as_u64().unwrap() as usize;
            let which = if dense.is_some() {
                "with_dense"
            } else {
                "embedding"
            };
            let vector = &vectors(&engine, vec![prompt[..n_tokens].to_vec()])[0];
            let difference = largest_difference(vector, &floats(&case[which]));
            println!("{architecture}, {n_tokens} tokens, {which}: {difference:.1e}");
            assert!(difference < 1e-5, "{architecture}: off by {difference}");
        }
    }
}

/// Texts are computed in company and, when they are long, in parts; neither may show.
#[test]
fn a_vector_does_not_depend_on_other_texts() {
    for name in ["bert-mean", "nomic-bert", "qwen3-embed"] {
        let engine = load_golden(name);
        let n_context = engine.context_length();
        let mut random = fastrand::Rng::with_seed(1);
        let texts: Vec<Vec<u32>> = [1, 2, 17, n_context.min(600), 100, 3, 128, 90]
            .map(|n| (0..n).map(|_| random.u32(5..300)).collect())
            .into();
        let together = vectors(&engine, texts.clone());
        for (text, vector) in texts.into_iter().zip(together) {
            let n_tokens = text.len();
            assert_eq!(
                vectors(&engine, vec![text])[0],
                vector,
                "{name}: {n_tokens}"
            );
        }
    }
}

#[test]
fn vectors_are_cut_before_they_are_made_unit_and_may_stay_as_they_are() {
    let engine = load_golden("nomic-bert");
    let text = vec![2, 50, 60, 70, 3];
    let with = |dimensions, normalize| {
        let request = EmbedRequest {
            texts: vec![text.clone()],
            dimensions,
            normalize,
            adapters: Adapters::default(),
        };
        embed(&engine, request).unwrap().vectors.remove(0)
    };
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let raw = with(None, false);
    assert!((length(&raw) - 1.0).abs() > 0.1);
    for n in [10, 64] {
        let cut = with(Some(n), true);
        assert_eq!(cut.len(), n);
        assert!((length(&cut) - 1.0).abs() < 1e-5);
        let scale = length(&raw[..n]);
        let expected: Vec<f32> = raw[..n].iter().map(|x| x / scale).collect();
        assert!(largest_difference(&cut, &expected) < 1e-6);
    }
    assert_eq!(with(Some(1000), true), with(None, true));
}

#[test]
fn texts_that_cannot_be_computed_are_refused() {
    let engine = load_golden("bert-mean");
    for (text, problem) in [
        (vec![], "no tokens"),
        (
            vec![1; 129],
            "129 tokens exceeds the available context size of 128",
        ),
        (vec![420], "outside the model's vocabulary"),
    ] {
        let error = embed(&engine, request(vec![vec![2, 3], text])).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(vectors(&engine, vec![]), Vec::<Vec<f32>>::new());
    assert_eq!(vectors(&engine, vec![vec![1; 128]]).len(), 1);
}

#[test]
fn an_encoder_writes_no_text() {
    let path = golden("bert-mean.gguf");
    let loaded = Model::load(&path, &LoadOptions::default());
    assert!(matches!(loaded, Err(LoadError::NoText)));
    let engine = load(&path);
    assert!(!engine.writes_text() && load_golden("qwen3-embed").writes_text());
    let mut results = engine
        .generate(GenerateRequest {
            prompt: vec![2, 3],
            sampling: SamplingParams::default(),
            stop: vec![],
            max_tokens: Some(1),
            shown: vec![],
            shift_after: None,
            client: String::new(),
            context_length: 100,
            adapters: Adapters::default(),
            salt: None,
            ..GenerateRequest::default()
        })
        .unwrap();
    match results.blocking_recv() {
        Some(StepResult::Failed(why)) => assert!(why.contains("cannot write text"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_that_nobody_waits_for_is_not_done() {
    let engine = load_golden("bert-mean");
    let many = vec![vec![1; 128]; 100_000];
    drop(engine.embed(request(many)).unwrap());
    // would wait for minutes behind it otherwise
    assert_eq!(vectors(&engine, vec![vec![2, 3]]).len(), 1);
}

/// Generations and vectors take turns on one thread.
#[test]
fn a_decoder_writes_and_makes_vectors_at_once() {
    let engine = load_golden("qwen3-embed");
    let text: Vec<u32> = (5..105).collect();
    let alone = vectors(&engine, vec![text.clone()]);
    let mut results = engine
        .generate(GenerateRequest {
            prompt: vec![7, 8, 9],
            sampling: SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
            stop: vec![],
            max_tokens: Some(50),
            shown: vec![],
            shift_after: None,
            client: String::new(),
            context_length: 100,
            adapters: Adapters::default(),
            salt: None,
            ..GenerateRequest::default()
        })
        .unwrap();
    assert_eq!(vectors(&engine, vec![text; 3])[2], alone[0]);
    let mut has_ended = false;
    while let Some(result) = results.blocking_recv() {
        has_ended = matches!(result, StepResult::Finished(_));
        assert!(!matches!(result, StepResult::Failed(_)), "{result:?}");
    }
    assert!(has_ended);
}
