//! What a model is said to take before it is loaded is what it takes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;

use common::golden;
use slm_engine::{
    Footprint, KvType, LoadOptions, LoadProgress, Model,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, TensorInfo};

use std::{path::Path, sync::Arc};

const MODELS: [&str; 9] = [
    "llama",
    "qwen3-q4_0",
    "gemma3",
    "gemma4",
    "phi3",
    "qwen3moe",
    "lfm2",
    "qwen35",
    "bitnet",
];

#[test]
fn loading_tells_of_nearly_all_that_is_in_the_file() {
    for name in MODELS {
        let path = golden(&format!("{name}.gguf"));
        let progress = Arc::new(LoadProgress::default());
        let options = LoadOptions {
            progress: Some(Arc::clone(&progress)),
            ..LoadOptions::default()
        };
        assert_eq!((progress.packed_bytes(), progress.total_bytes()), (0, 0));
        Model::load(&path, &options).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let of_file: u64 = gguf.tensors().iter().map(|t| t.size_bytes as u64).sum();
        assert_eq!(progress.total_bytes(), of_file, "{name}");
        let share = progress.packed_bytes() as f64 / of_file as f64;
        assert!((0.8..=1.0).contains(&share), "{name}: {share}");
    }
}

#[test]
fn weights_and_keys_are_known_to_the_byte() {
    for name in MODELS {
        for kv_type in [KvType::F16, KvType::F32] {
            let path = golden(&format!("{name}.gguf"));
            let options = LoadOptions {
                kv_type,
                n_threads: Some(3),
                ..LoadOptions::default()
            };
            let before = Footprint::read(&path, &options).unwrap();
            let model = Model::load(&path, &options).unwrap();
            let decoder = model.decoder();
            let matrices = decoder.weights_bytes() as u64;
            assert_eq!(
                before.weights_bytes,
                matrices + vectors_bytes(&path),
                "{name}"
            );
            assert_eq!(before.context_length, decoder.spec().context_length);
            let (mut cache, mut scratch, mut logits) =
                (decoder.new_cache(), Scratch::default(), vec![]);
            let n = before.context_length.min(300);
            let tokens: Vec<u32> = (0..n as u32).map(|i| 20 + i % 100).collect();
            let mut fed = 0usize;
            for step in [1, 130, 7, usize::MAX] {
                let part = &tokens[fed..fed.saturating_add(step).min(n)];
                if part.is_empty() {
                    break;
                }
                decoder.forward(&mut cache, &mut scratch, part, LogitsFor::Last, &mut logits);
                fed += part.len();
                let pages = decoder.kv_pool().bytes_in_use() as u64;
                let of_state = before.kv_bytes(fed) - before.kv_bytes(0);
                assert_eq!(pages, of_state, "{name}, {fed} positions");
            }
            let used = (scratch.size_bytes() + logits.capacity() * 4) as u64;
            assert!(
                used <= before.scratch_bytes,
                "{name}: {used} of {}",
                before.scratch_bytes
            );
        }
    }
}

/// Norms, biases, factors of convolutions: what is kept as it is in the file.
fn vectors_bytes(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let is_kept = |t: &&TensorInfo<'_>| {
        t.shape.len() == 1 || t.name.ends_with("conv.weight") || t.name.ends_with("conv1d.weight")
    };
    let vectors = gguf.tensors().iter().filter(is_kept);
    vectors.map(|t| t.size_bytes as u64).sum()
}

#[test]
fn the_longest_sequence_that_fits_is_the_longest() {
    let footprint = Footprint::read(&golden("gemma3.gguf"), &LoadOptions::default()).unwrap();
    let bytes = footprint.kv_bytes(200);
    let longest = footprint.longest_in(bytes);
    assert!(longest >= 200 && footprint.kv_bytes(longest) <= bytes);
    assert!(longest == footprint.context_length || footprint.kv_bytes(longest + 1) > bytes);
    assert_eq!(footprint.longest_in(u64::MAX), footprint.context_length);
    assert_eq!(footprint.longest_in(0), 0);
}
