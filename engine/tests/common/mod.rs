//! What tests against references share: where those are, and what to compare.

use serde_json::Value;
use slm_engine::{
    Adapters, Model,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, Writer};
use std::path::PathBuf;

pub(crate) fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/golden")
        .join(file)
}

pub(crate) fn reference(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(&format!("{name}.json"))).unwrap()).unwrap()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

pub(crate) fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap() as u32
}

/// Logits of every position, the prompt fed in steps of `chunk` tokens.
pub(crate) fn all_logits(model: &Model, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    all_logits_with(model, &Adapters::default(), tokens, chunk)
}

/// The same with adapters.
pub(crate) fn all_logits_with(
    model: &Model,
    adapters: &Adapters,
    tokens: &[u32],
    chunk: usize,
) -> Vec<Vec<f32>> {
    let (mut cache, mut scratch, mut logits) =
        (model.decoder().new_cache(), Scratch::default(), vec![]);
    cache.adapt(adapters);
    let n_vocab = model.decoder().spec().vocab_size;
    let mut rows = vec![];
    for part in tokens.chunks(chunk) {
        model
            .decoder()
            .forward(&mut cache, &mut scratch, part, LogitsFor::All, &mut logits);
        rows.extend(logits.chunks_exact(n_vocab).map(<[f32]>::to_vec));
    }
    rows
}

/// Differences from the reference over all listed logits.
pub(crate) struct Difference {
    pub(crate) max: f32,
    pub(crate) rms: f32,
}

pub(crate) fn difference(rows: &[Vec<f32>], expected: &Value) -> Difference {
    let (mut max, mut squares, mut n) = (0f32, 0f64, 0);
    for (position, logits) in expected["logits"].as_object().unwrap() {
        let row = &rows[position.parse::<usize>().unwrap()];
        let logits = logits.as_array().unwrap();
        assert_eq!(row.len(), logits.len(), "position {position}");
        for (value, expected) in row.iter().zip(logits) {
            let diff = (value - expected.as_f64().unwrap() as f32).abs();
            assert!(diff.is_finite());
            max = max.max(diff);
            squares += f64::from(diff).powi(2);
            n += 1;
        }
    }
    assert!(n > 0);
    let rms = (squares / f64::from(n)).sqrt() as f32;
    Difference { max, rms }
}

/// How a tiny model is rewritten.
#[derive(Default)]
pub(crate) struct Rewrite<'a> {
    /// In place of its own architecture, also in its keys.
    pub(crate) architecture: Option<&'a str>,
    /// Keys to leave out.
    pub(crate) without_keys: Vec<&'a str>,
    /// Tensors to leave out, by a part of their names.
    pub(crate) without_tensors: Vec<&'a str>,
    /// Name and source of tensors to add.
    pub(crate) copies: Vec<(String, String)>,
}

/// A tiny model rewritten, with what `put` adds.
pub(crate) fn rewritten(
    model: &str,
    how: &Rewrite<'_>,
    put: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let file = std::fs::read(golden(&format!("{model}.gguf"))).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let own = gguf.metadata().string("general.architecture").unwrap();
    let architecture = how.architecture.unwrap_or(own);
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        if key == "general.architecture" {
            writer.put(key, architecture);
        } else if !how.without_keys.contains(&key) {
            match key.strip_prefix(&format!("{own}.")) {
                Some(name) => writer.put_value(&format!("{architecture}.{name}"), value),
                None => writer.put_value(key, value),
            };
        }
    }
    put(&mut writer);
    for info in gguf.tensors() {
        if !how
            .without_tensors
            .iter()
            .any(|part| info.name.contains(part))
        {
            let data = gguf.tensor_data(info);
            writer.tensor(info.name, info.tensor_type, &info.shape, data);
        }
    }
    for (name, source) in &how.copies {
        let info = gguf.tensor(source).unwrap();
        let data = gguf.tensor_data(info);
        writer.tensor(name, info.tensor_type, &info.shape, data);
    }
    writer.finish().unwrap()
}
