//! Adapters: against llama.cpp, against merged weights, and what they must never do to sequences without them.
//!
//! The adapters and the expected values are described in `tests/data/golden/README.md`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "these tests rewrite adapters, not models")]
mod common;

use common::{Difference, all_logits_with, argmax, difference, golden, ids, reference};
use serde_json::Value;
use slm_engine::{
    Adapter, Adapters, EmbedError, EmbedRequest, Engine, Finish, GenerateRequest, KvType,
    LoadError, LoadOptions, Model, SamplingParams, StepResult, TokenId,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, TensorType, Writer};
use slm_kernels::format::{QuantType, dequantize};
use std::path::PathBuf;

/// A file of this test's own, which goes with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("slm-{name}-{}.gguf", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _may_be_left = std::fs::remove_file(&self.0);
    }
}

fn options(n_threads: usize) -> LoadOptions {
    LoadOptions {
        kv_type: KvType::F32,
        n_threads: Some(n_threads),
        ..LoadOptions::default()
    }
}

fn load(name: &str) -> Model {
    Model::load(&golden(&format!("{name}.gguf")), &options(2)).unwrap()
}

fn adapter(model: &Model, name: &str) -> Adapter {
    model
        .load_adapter(&golden(&format!("lora-{name}.gguf")))
        .unwrap()
}

fn prompt(model: &str) -> Vec<TokenId> {
    ids(&reference(model)["prompt_tokens"])
}

fn cases() -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(golden("lora.json")).unwrap()).unwrap()
}

fn adapters_of(case: &Value, model: &Model) -> Adapters {
    let list = case["adapters"].as_array().unwrap().iter();
    Adapters::new(list.map(|entry| {
        let file = golden(entry["file"].as_str().unwrap());
        let scale = entry["scale"].as_f64().unwrap() as f32;
        (model.load_adapter(&file).unwrap(), scale)
    }))
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn adapters_change_the_logits_as_they_do_in_llama_cpp() {
    for case in cases() {
        let base = case["base"].as_str().unwrap();
        // Where `A` is in blocks, activations are rounded to 8 bits ahead of it. That may cost about what it costs
        // llama.cpp, which looks GELU up in a table of half floats besides.
        let in_blocks = case["llama_cpp_rms"].as_f64();
        let (tolerance, rms_tolerance) = match (in_blocks, base) {
            (Some(rms), _) => (0.8, 1.5 * rms as f32),
            (None, "gemma3" | "gemma4") => (2e-2, 2e-2),
            (None, _) => (1e-3, 1e-3),
        };
        let model = load(base);
        let adapters = adapters_of(&case, &model);
        let mut text = prompt(base);
        let rows = all_logits_with(&model, &adapters, &text, text.len());
        let Difference { max, rms } = difference(&rows, &case);
        println!(
            "{base}, {}: max {max:.1e}, rms {rms:.1e}, {} from the base",
            case["adapters"], case["moved"]
        );
        assert!(
            max < tolerance && rms < rms_tolerance,
            "{}: off by up to {max}, root mean square {rms}",
            case["adapters"]
        );
        if in_blocks.is_some() {
            continue;
        }
        for token in ids(&case["greedy"]) {
            let rows = all_logits_with(&model, &adapters, &text, 7);
            let best = argmax(rows.last().unwrap());
            assert_eq!(best, token, "{}: {}", case["adapters"], text.len());
            text.push(token);
        }
    }
}

/// All values of a tensor.
fn values(gguf: &Gguf<'_>, name: &str) -> Option<Vec<f32>> {
    let info = gguf.tensor(name)?;
    let mut values = vec![0.0; usize::try_from(info.n_elements()).unwrap()];
    let quant_type = QuantType::from_id(info.tensor_type.id()).unwrap();
    dequantize(quant_type, gguf.tensor_data(info), &mut values);
    Some(values)
}

/// The model with `W + s · B A` in place of each `W`, in float32.
fn merged(model: &str, adapter: &str, scale: f64) -> Vec<u8> {
    let file = std::fs::read(golden(&format!("{model}.gguf"))).unwrap();
    let of_adapter = std::fs::read(golden(&format!("lora-{adapter}.gguf"))).unwrap();
    let (gguf, of_adapter) = (
        Gguf::parse(&file).unwrap(),
        Gguf::parse(&of_adapter).unwrap(),
    );
    let alpha = of_adapter.metadata().opt_f32("adapter.lora.alpha").unwrap();
    let mut tensors = Vec::new();
    for info in gguf.tensors() {
        let pair = ["a", "b"].map(|part| format!("{}.lora_{part}", info.name));
        let mut weights = values(&gguf, info.name).unwrap();
        if let [Some(a), Some(b)] = [&pair[0], &pair[1]].map(|name| values(&of_adapter, name)) {
            let [n_cols, n_rows] = [0, 1].map(|i| info.shape[i] as usize);
            let rank = of_adapter.tensor(&pair[1]).unwrap().shape[0] as usize;
            let factor = match alpha {
                Some(alpha) if alpha != 0.0 => scale * f64::from(alpha) / rank as f64,
                _ => scale,
            };
            let is_embedding = info.name == "token_embd.weight";
            for (i, weight) in weights.iter_mut().enumerate() {
                let (matrix, row, col) = (i / (n_cols * n_rows), i / n_cols % n_rows, i % n_cols);
                let term = |k: usize| {
                    let (a, b) = if is_embedding {
                        (a[row * rank + k], b[col * rank + k])
                    } else {
                        (
                            a[(matrix * rank + k) * n_cols + col],
                            b[(matrix * n_rows + row) * rank + k],
                        )
                    };
                    f64::from(a) * f64::from(b)
                };
                let delta: f64 = (0..rank).map(term).sum();
                *weight = (f64::from(*weight) + factor * delta) as f32;
            }
        }
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        tensors.push((info, bytes));
    }
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.put_value(key, value);
    }
    for (info, bytes) in &tensors {
        writer.tensor(info.name, TensorType::F32, &info.shape, bytes);
    }
    writer.finish().unwrap()
}

#[test]
fn merged_weights_give_the_same_logits() {
    for (base, name, scale) in [
        ("llama", "llama-r8", 0.7f32),
        ("llama", "llama-r4", -1.3),
        ("qwen3", "qwen3-r4", 0.6),
        ("gemma3", "gemma3-r4", 0.5),
        ("qwen3moe", "qwen3moe-r4", 0.8),
        ("mistral", "mistral-r8", 0.9),
        ("phi3", "phi3-r4", 0.75),
        ("qwen35", "qwen35-r4", 0.75),
        ("lfm2", "lfm2-r4", 0.75),
        ("gemma4", "gemma4-r4", 0.75),
    ] {
        let file = TempFile::new(&format!("merged-{name}"), &merged(base, name, scale.into()));
        let with_merged = Model::load(&file.0, &options(2)).unwrap();
        let model = load(base);
        let adapters = Adapters::new([(adapter(&model, name), scale)]);
        let text = prompt(base);
        let [merged, applied] = [(&with_merged, &Adapters::default()), (&model, &adapters)]
            .map(|(model, adapters)| all_logits_with(model, adapters, &text, text.len()));
        let max = largest_difference(&merged, &applied);
        let plain = all_logits_with(&model, &Adapters::default(), &text, text.len());
        let moved = largest_difference(&plain, &applied);
        println!("{name}: {max:.1e}, {moved} from the base");
        assert!(max < 5e-4 && moved > 0.5, "{name}: {max}, moved {moved}");
    }
}

#[test]
fn neither_the_cut_into_steps_nor_the_number_of_threads_changes_a_bit() {
    for case in cases() {
        let base = case["base"].as_str().unwrap();
        let text = &prompt(base)[..40];
        let mut rows = [1, 2, 3].map(|n_threads| {
            let path = golden(&format!("{base}.gguf"));
            let model = Model::load(&path, &options(n_threads)).unwrap();
            let adapters = adapters_of(&case, &model);
            let chunk = [40, 1, 7][n_threads - 1];
            all_logits_with(&model, &adapters, text, chunk)
        });
        rows.rotate_left(1);
        assert!(rows[0] == rows[2] && rows[1] == rows[2], "{base}");
    }
}

/// With other adapters, with a factor of nothing, and with none, before and after.
#[test]
fn a_sequence_without_adapters_is_computed_as_if_there_were_none() {
    for (base, name) in [("llama", "llama-r8"), ("qwen3moe", "qwen3moe-r4")] {
        let model = load(base);
        let text = prompt(base);
        let plain = Adapters::default();
        let before = all_logits_with(&model, &plain, &text, 16);
        let adapter = adapter(&model, name);
        let some = Adapters::new([(adapter.clone(), 1.0)]);
        assert!(all_logits_with(&model, &some, &text, 16) != before);
        let nothing = Adapters::new([(adapter, 0.0)]);
        assert!(nothing.is_empty());
        for adapters in [&nothing, &plain] {
            assert!(
                all_logits_with(&model, adapters, &text, 16) == before,
                "{base}"
            );
        }
    }
}

#[test]
fn a_cache_forgets_what_was_computed_with_other_adapters() {
    let model = load("llama");
    let decoder = model.decoder();
    let adapter = adapter(&model, "llama-r8");
    let text = prompt("llama");
    let sets = [
        Adapters::new([(adapter.clone(), 0.7)]),
        Adapters::default(),
        Adapters::new([(adapter.clone(), 0.3)]),
        Adapters::new([(adapter.clone(), 0.3), (adapter, 0.7)]),
    ];
    let (mut cache, mut scratch, mut logits) =
        (decoder.new_cache(), Scratch::default(), Vec::new());
    for set in &sets {
        cache.adapt(set);
        assert!(cache.is_empty());
        decoder.resume(&mut cache, &text);
        decoder.forward(
            &mut cache,
            &mut scratch,
            &text,
            LogitsFor::Last,
            &mut logits,
        );
        assert_eq!(
            Some(&logits),
            all_logits_with(&model, set, &text, text.len()).last()
        );
        cache.adapt(&set.clone());
        assert_eq!(decoder.resume(&mut cache, &text), text.len() - 1);
    }
}

fn greedy(prompt: &[TokenId], adapters: &Adapters) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        stop: vec![],
        shown: vec![],
        shift_after: None,
        client: String::new(),
        max_tokens: Some(12),
        context_length: usize::MAX,
        adapters: adapters.clone(),
        salt: None,
        ..GenerateRequest::default()
    }
}

fn collect(
    mut results: tokio::sync::mpsc::Receiver<StepResult>,
) -> Result<(Vec<TokenId>, Finish), String> {
    let mut tokens = vec![];
    loop {
        match results.blocking_recv().unwrap() {
            StepResult::Prompt(_) => {}
            StepResult::Token { token, .. } => tokens.push(token),
            StepResult::Finished(finish) => return Ok((tokens, finish)),
            StepResult::Failed(why) => return Err(why),
        }
    }
}

/// Several at once, each with its own; the weights are there once.
#[test]
fn requests_choose_their_adapters_and_share_the_model() {
    let options = options(2);
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let weights_bytes = engine.memory().weights_bytes;
    let [r8, r4] = ["llama-r8", "llama-r4"].map(|name| {
        let path = golden(&format!("lora-{name}.gguf"));
        engine.load_adapter(&path).unwrap()
    });
    let own = (r8.size_bytes() + r4.size_bytes()) as u64;
    assert!(own > 100_000 && own < weights_bytes / 2);
    assert_eq!(engine.memory().weights_bytes, weights_bytes + own);

    let text = prompt("llama");
    let both = [(r8.clone(), 0.7), (r4.clone(), -1.3)];
    let sets = [
        Adapters::default(),
        Adapters::new([(r8, 0.7)]),
        Adapters::new(both),
    ];
    let cases = cases();
    let expected: Vec<Vec<TokenId>> = std::iter::once(&reference("llama"))
        .chain(&cases[..2])
        .map(|case| ids(&case["greedy"])[..12].to_vec())
        .collect();
    let running: Vec<_> = sets
        .iter()
        .map(|set| engine.generate(greedy(&text, set)).unwrap())
        .collect();
    for (results, expected) in running.into_iter().zip(&expected) {
        assert_eq!(&collect(results).unwrap().0, expected);
    }
    // each finds its own cache again
    for (set, expected) in sets.iter().zip(&expected).rev() {
        let results = engine.generate(greedy(&text, set)).unwrap();
        let (tokens, finish) = collect(results).unwrap();
        assert_eq!(&tokens, expected);
        assert_eq!(finish.stats.n_cached_tokens, text.len() - 1);
    }
    let other_scale = Adapters::new([(r4.clone(), 1.0)]);
    let results = engine.generate(greedy(&text, &other_scale)).unwrap();
    assert_eq!(collect(results).unwrap().1.stats.n_cached_tokens, 0);
}

#[test]
fn an_adapter_serves_the_model_it_was_loaded_for_alone() {
    let path = golden("llama.gguf");
    let [one, other] = [(); 2].map(|()| Engine::load(&path, &options(1)).unwrap());
    let adapter = one.load_adapter(&golden("lora-llama-r4.gguf")).unwrap();
    let adapters = Adapters::new([(adapter, 1.0)]);
    assert!(collect(one.generate(greedy(&[5, 6], &adapters)).unwrap()).is_ok());
    let why = collect(other.generate(greedy(&[5, 6], &adapters)).unwrap()).unwrap_err();
    assert!(why.contains("another model"), "{why}");
    let request = EmbedRequest {
        texts: vec![vec![5, 6]],
        dimensions: None,
        normalize: true,
        adapters,
    };
    let vectors = one.embed(request.clone()).unwrap().blocking_recv().unwrap();
    let plain = EmbedRequest {
        adapters: Adapters::default(),
        ..request.clone()
    };
    let plain = one.embed(plain).unwrap().blocking_recv().unwrap();
    assert_ne!(vectors.unwrap().vectors, plain.unwrap().vectors);
    let failed = other.embed(request).unwrap().blocking_recv().unwrap();
    assert!(matches!(failed, Err(EmbedError::Failed(why)) if why.contains("another model")));
}

/// The adapter for llama, rewritten: keys put in their place (`None` leaves one out) and tensors renamed or reshaped.
fn rewritten(
    keys: &[(&str, Option<&str>)],
    tensor: impl Fn(&str, &[u64]) -> Option<(String, Vec<u64>)>,
    put: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let file = std::fs::read(golden("lora-llama-r8.gguf")).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        match keys.iter().find(|(name, _)| *name == key) {
            None => writer.put_value(key, value),
            Some((_, Some(text))) => writer.put(key, *text),
            Some((_, None)) => &mut writer,
        };
    }
    put(&mut writer);
    for info in gguf.tensors() {
        if let Some((name, shape)) = tensor(info.name, &info.shape) {
            writer.tensor(&name, info.tensor_type, &shape, gguf.tensor_data(info));
        }
    }
    writer.finish().unwrap()
}

#[test]
fn what_cannot_be_applied_is_refused_by_name() {
    let model = load("llama");
    let refused = |name: &str, bytes: &[u8], expected: &[&str]| {
        let file = TempFile::new(&format!("lora-{name}"), bytes);
        let error = model.load_adapter(&file.0).unwrap_err();
        let text = match &error {
            LoadError::Gguf(source) => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        for part in expected {
            assert!(text.contains(part), "{name}: {text}");
        }
    };
    let as_it_is = |name: &str, shape: &[u64]| Some((name.to_owned(), shape.to_vec()));
    let key = |key: &str, value: Option<&str>| rewritten(&[(key, value)], as_it_is, |_| {});
    refused("text", b"once upon a time", &["not a GGUF file"]);
    refused(
        "type",
        &key("general.type", Some("model")),
        &["`general.type` is model", "`adapter`"],
    );
    refused(
        "no-type",
        &key("general.type", None),
        &["`general.type` is missing"],
    );
    refused(
        "kind",
        &key("adapter.type", Some("ia3")),
        &["`adapter.type` is ia3"],
    );
    refused(
        "arch",
        &key("general.architecture", Some("qwen2")),
        &[
            "`general.architecture` is qwen2",
            "`llama`",
            "another model",
        ],
    );
    let alpha = [("adapter.lora.alpha", None)];
    let infinite = rewritten(&alpha, as_it_is, |w| {
        w.put("adapter.lora.alpha", f32::INFINITY);
    });
    refused("alpha", &infinite, &["adapter.lora.alpha", "finite"]);
    let with_tokens = rewritten(&[], as_it_is, |w| {
        w.put_array("adapter.alora.invocation_tokens", &[7u32, 8]);
    });
    refused(
        "alora",
        &with_tokens,
        &["adapter.alora.invocation_tokens", "aLoRA"],
    );

    // one tensor's name or shape at a time
    let change = |of: &'static str, to: Option<&'static str>, shape: Option<[u64; 2]>| {
        rewritten(
            &[],
            move |name, own| {
                if name != of {
                    return as_it_is(name, own);
                }
                let shape = shape.map_or_else(|| own.to_vec(), Vec::from);
                to.map(|to| (to.to_owned(), shape))
            },
            |_| {},
        )
    };
    const A: &str = "blk.1.attn_q.weight.lora_a";
    const B: &str = "blk.1.attn_q.weight.lora_b";
    refused("no-a", &change(A, None, None), &[A, "is missing"]);
    refused("no-b", &change(B, None, None), &[B, "is missing"]);
    refused(
        "a",
        &change(A, Some(A), Some([32, 16])),
        &[A, "[32, 16] instead of [64, 16]"],
    );
    refused(
        "b",
        &change(B, Some(B), Some([16, 32])),
        &[B, "[16, 32] instead of [8, 64]"],
    );
    let norm = "blk.1.attn_norm.weight";
    refused("norm", &change(A, Some(norm), None), &[norm, "`.lora_a`"]);
    let whole = rewritten(
        &[],
        |name, shape| Some((name.replace("blk.1.attn_q", "blk.7.attn_q"), shape.to_vec())),
        |_| {},
    );
    refused("block", &whole, &["`blk.7.attn_q.weight`", "another model"]);
    refused(
        "empty",
        &rewritten(&[], |_, _| None, |_| {}),
        &["changes nothing"],
    );

    let for_experts = load("qwen3moe").load_adapter(&golden("lora-qwen3-r4.gguf"));
    assert!(for_experts.unwrap_err().to_string().contains("`qwen3moe`"));
    let encoder = Engine::load(&golden("bert-mean.gguf"), &options(1)).unwrap();
    let error = encoder.load_adapter(&golden("lora-llama-r4.gguf"));
    assert!(error.unwrap_err().to_string().contains("take no adapters"));
}

/// An adapter of tied embeddings changes what is looked up, and not the output: so adapters are trained.
#[test]
fn tied_embeddings_are_changed_where_tokens_come_in() {
    let bytes =
        |values: Vec<f32>| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let model = load("llama");
    let (n_vocab, d) = (model.decoder().spec().vocab_size, 64);
    // token 5 alone gets something: 1 in the third value of its embedding
    let a: Vec<f32> = (0..n_vocab).map(|t| f32::from(u8::from(t == 5))).collect();
    let b: Vec<f32> = (0..d).map(|i| f32::from(u8::from(i == 2))).collect();
    let (a, b) = (bytes(a), bytes(b));
    let mut writer = Writer::new();
    writer.put("general.architecture", "llama");
    writer.put("general.type", "adapter");
    writer.put("adapter.type", "lora");
    let shapes = [[1, n_vocab as u64], [1, d]];
    for (suffix, shape, data) in [("a", shapes[0], &a), ("b", shapes[1], &b)] {
        let name = format!("token_embd.weight.lora_{suffix}");
        writer.tensor(&name, TensorType::F32, &shape, data);
    }
    let file = TempFile::new("lora-tied", &writer.finish().unwrap());
    let adapters = Adapters::new([(model.load_adapter(&file.0).unwrap(), 0.5)]);
    let plain = Adapters::default();
    // without the token nothing changes, its logit included
    let text = [9, 8, 7];
    assert!(
        all_logits_with(&model, &adapters, &text, 3) == all_logits_with(&model, &plain, &text, 3)
    );
    let text = [9, 5, 7];
    let [with, without] = [&adapters, &plain].map(|set| all_logits_with(&model, set, &text, 3));
    assert!(with[0] == without[0] && with[1] != without[1] && with[2] != without[2]);
}
