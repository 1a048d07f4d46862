//! What a file states besides the usual: variants of the tiny models with other keys, held against llama.cpp and
//! transformers, and what follows from a definition where that does not do it.
//!
//! The variants and their expected values are described in `tests/data/golden/README.md`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "differences, which a failed test shows"
)]

mod common;

use common::{
    Difference, Rewrite, all_logits, argmax, difference, golden, ids, reference, rewritten,
};
use serde_json::Value;
use slm_engine::{
    KvType, LoadError, LoadOptions, Model, TokenId,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, TensorType, Writer};
use std::path::PathBuf;

/// A folder of this test's own, which goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("slm-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _may_be_left = std::fs::remove_dir_all(&self.0);
    }
}

fn load(name: &str, bytes: &[u8]) -> Result<Model, LoadError> {
    let folder = Folder::new(name);
    load_path(&folder.write("model.gguf", bytes))
}

fn load_path(path: &std::path::Path) -> Result<Model, LoadError> {
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    Model::load(path, &options)
}

/// A tiny model with keys that it lacks.
fn with(model: &str, put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    rewritten(model, &Rewrite::default(), put)
}

/// A tiny model with another value of a key that it has.
fn with_other(model: &str, key: &str, value: u32) -> Vec<u8> {
    let how = Rewrite {
        without_keys: vec![key],
        ..Rewrite::default()
    };
    rewritten(model, &how, |w| {
        w.put(key, value);
    })
}

fn prompt(model: &str) -> Vec<TokenId> {
    ids(&reference(model)["prompt_tokens"])
}

fn variants(file: &str) -> Vec<Value> {
    let file = std::fs::read(golden(file)).unwrap();
    serde_json::from_slice(&file).unwrap()
}

fn variant(name: &str) -> Value {
    let mut all = variants("variants.json").into_iter();
    all.find(|variant| variant["name"] == name).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().into_iter().flatten();
    list.map(|s| s.as_str().unwrap()).collect()
}

/// The file of a variant: the base model without some keys and tensors, with others.
fn file_of(variant: &Value) -> Vec<u8> {
    let base = variant["base"].as_str().unwrap();
    let keys = variant["keys"].as_object().unwrap();
    let tensors = variant["copies"].as_object().into_iter().flatten();
    let copies = |(new, old): (&String, &Value)| {
        let name = |il, stem: &str| format!("blk.{il}.{stem}.weight");
        let old = old.as_str().unwrap().to_owned();
        [0, 1].map(|il| (name(il, new), name(il, &old)))
    };
    let mut without_keys = strings(&variant["drop_keys"]);
    let renamed: Vec<String> = keys
        .keys()
        .filter_map(|key| Some(format!("{base}.{}", key.split_once('.')?.1)))
        .collect();
    without_keys.extend(renamed.iter().map(String::as_str));
    let how = Rewrite {
        architecture: variant["architecture"].as_str(),
        without_keys,
        without_tensors: strings(&variant["drop_tensors"]),
        copies: tensors.flat_map(copies).collect(),
    };
    rewritten(base, &how, |w| {
        for (key, value) in keys {
            match value {
                Value::Bool(value) => w.put(key, *value),
                Value::String(value) => w.put(key, value.as_str()),
                Value::Number(n) if n.is_u64() => w.put(key, n.as_u64().unwrap() as u32),
                Value::Array(flags) => {
                    let flags = flags.iter().map(|flag| flag.as_bool().unwrap());
                    w.put_array(key, &flags.collect::<Vec<_>>())
                }
                other => w.put(key, other.as_f64().unwrap() as f32),
            };
        }
    })
}

#[test]
fn stated_keys_do_what_llama_cpp_does() {
    // llama.cpp looks GELU up in a table of half floats.
    check_variants("variants.json", |name| {
        if name.starts_with("gemma") {
            2e-2
        } else {
            1e-3
        }
    });
}

#[test]
fn stated_keys_do_what_transformers_does() {
    check_variants("variants-transformers.json", |_| 1e-3);
}

#[track_caller]
fn check_variants(file: &str, tolerance: fn(&str) -> f32) {
    for variant in variants(file) {
        let name = variant["name"].as_str().unwrap();
        let tolerance = tolerance(name);
        let model = load(name, &file_of(&variant)).unwrap();
        let mut text = prompt(variant["base"].as_str().unwrap());
        let rows = all_logits(&model, &text, text.len());
        let Difference { max, rms } = difference(&rows, &variant);
        println!(
            "{name}: max {max:.1e}, rms {rms:.1e}, {} from the base",
            variant["moved"]
        );
        assert!(max < tolerance, "{name}: off by up to {max}");
        for token in ids(&variant["greedy"]) {
            let rows = all_logits(&model, &text, 7);
            assert_eq!(
                argmax(rows.last().unwrap()),
                token,
                "{name}: {}",
                text.len()
            );
            text.push(token);
        }
    }
}

/// Long are sequences of more than 40 positions here. The reference for long sequences is the variant in which all are.
#[test]
fn phi3_rotates_a_sequence_anew_when_it_becomes_long() {
    let model = load(
        "becomes-long",
        &with_other("phi3", "phi3.rope.scaling.original_context_length", 40),
    )
    .unwrap();
    let (short, long) = (reference("phi3"), variant("phi3-long"));
    let prompt = prompt("phi3");
    let n_vocab = model.decoder().spec().vocab_size;
    let last = (prompt.len() - 1).to_string();
    let expected = |reference: &Value, position: &str| -> Vec<f32> {
        let logits = reference["logits"][position].as_array().unwrap().iter();
        logits.map(|l| l.as_f64().unwrap() as f32).collect()
    };
    let near = |row: &[f32], expected: &[f32]| {
        assert_eq!(row.len(), expected.len());
        let pairs = row.iter().zip(expected);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-3
    };

    // Fed bit by bit to a cache that knows nothing, it is short until it is not.
    for chunk in [1, 7] {
        let rows = all_logits(&model, &prompt, chunk);
        assert!(near(&rows[0], &expected(&short, "0")));
        assert!(near(&rows[prompt.len() - 1], &expected(&long, &last)));
        assert!(!near(&rows[prompt.len() - 1], &expected(&short, &last)));
    }

    // A cache that is told ahead is long from the first position on, and no more once a short prompt follows.
    let (mut cache, mut scratch, mut logits) =
        (model.decoder().new_cache(), Scratch::default(), vec![]);
    assert_eq!(model.decoder().resume(&mut cache, &prompt), 0);
    for (i, chunk) in prompt.chunks(7).enumerate() {
        model
            .decoder()
            .forward(&mut cache, &mut scratch, chunk, LogitsFor::All, &mut logits);
        if i == 0 {
            assert!(near(&logits[..n_vocab], &expected(&long, "0")));
        }
    }
    assert!(near(
        &logits[logits.len() - n_vocab..],
        &expected(&long, &last)
    ));
    assert_eq!(
        model.decoder().resume(&mut cache, &prompt),
        prompt.len() - 1
    );
    let half = prompt.len() / 2;
    assert_eq!(model.decoder().resume(&mut cache, &prompt[..half + 1]), 0);
    model.decoder().forward(
        &mut cache,
        &mut scratch,
        &prompt[..half + 1],
        LogitsFor::Last,
        &mut logits,
    );
    assert!(near(&logits, &expected(&short, &half.to_string())));
    // Taken back by hand, it finds out by itself.
    all_of(&model, &mut cache, &mut scratch, &prompt[half + 1..]);
    cache.rewind(half);
    model.decoder().forward(
        &mut cache,
        &mut scratch,
        &prompt[half..half + 1],
        LogitsFor::Last,
        &mut logits,
    );
    assert!(near(&logits, &expected(&short, &half.to_string())));
}

fn all_of(model: &Model, cache: &mut slm_engine::KvCache, scratch: &mut Scratch, tokens: &[u32]) {
    let mut logits = vec![];
    model
        .decoder()
        .forward(cache, scratch, tokens, LogitsFor::Nothing, &mut logits);
}

/// By the definition: in a window of one position a token sees itself alone, so that every position has the logits of a
/// text of that token; one as wide as the text changes nothing.
#[test]
fn a_window_that_a_file_states_is_kept_to() {
    for (model, window_key, is_there) in [
        ("mistral", "llama.attention.sliding_window", false),
        ("phi3", "phi3.attention.sliding_window", true),
        ("qwen2", "qwen2.attention.sliding_window", false),
        ("qwen3", "qwen3.attention.sliding_window", false),
    ] {
        let how = Rewrite {
            without_keys: if is_there { vec![window_key] } else { vec![] },
            ..Rewrite::default()
        };
        let stated = |window: u32, flags: Option<bool>| {
            let bytes = rewritten(model, &how, |w| {
                w.put(window_key, window);
                if let Some(slides) = flags {
                    let n_layers = load_path(&golden(&format!("{model}.gguf"))).unwrap();
                    let n_layers = n_layers.decoder().spec().n_layers;
                    w.put_array(&format!("{window_key}_pattern"), &vec![slides; n_layers]);
                }
            });
            load(&format!("window-{model}"), &bytes).unwrap()
        };
        let expected = reference(model);
        let prompt = prompt(model);
        for wide in [stated(0, None), stated(512, None), stated(1, Some(false))] {
            let rows = all_logits(&wide, &prompt, prompt.len());
            assert!(difference(&rows, &expected).max < 1e-3, "{model}");
        }
        for narrow in [stated(1, None), stated(1, Some(true))] {
            let rows = all_logits(&narrow, &prompt, 7);
            for (row, token) in rows.iter().zip(&prompt) {
                let alone = &all_logits(&narrow, &[*token], 1)[0];
                let pairs = row.iter().zip(alone);
                let max = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(max < 1e-3, "{model}: {max}");
            }
        }
    }
}

/// A flag for each layer overrules the rule that every fourth layer of SmolLM3 is not rotated.
#[test]
fn layers_that_are_rotated_can_be_stated() {
    let expected = reference("smollm3");
    let prompt = prompt("smollm3");
    let off_by = |flags: &[bool]| {
        let bytes = with("smollm3", |w| {
            w.put_array("smollm3.attention.rope_pattern", flags);
        });
        let rows = all_logits(
            &load("rope-pattern", &bytes).unwrap(),
            &prompt,
            prompt.len(),
        );
        f64::from(difference(&rows, &expected).max)
    };
    assert!(off_by(&[true, true, true, false, true]) < 1e-3);
    let moved = |what: &str| {
        let change = &expected["sensitivity"][what]["max_abs_change"];
        change.as_f64().unwrap()
    };
    let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.4;
    assert!(near(off_by(&[true; 5]), moved("rope in every layer")));
    let earlier = [true, true, false, true, true];
    assert!(near(off_by(&earlier), moved("no-rope layer one earlier")));
}

#[test]
fn a_tensor_without_a_place_in_the_model_is_refused_by_name() {
    static VALUES: [u8; 16] = [0; 16];
    let with_tensor = |name: &str| {
        load(
            "unknown-tensor",
            &with("llama", |w| {
                w.tensor(name, TensorType::F32, &[4], &VALUES[..]);
            }),
        )
    };
    for name in [
        "blk.0.attn_sinks.weight",
        "blk.1.attn_norm.bias",
        "blk.0.ffn_gate_inp.weight",
        "blk.7.attn_norm.weight",
        "cls.weight",
    ] {
        match with_tensor(name).map(drop) {
            Err(LoadError::Tensor { name: refused, .. }) => assert_eq!(refused, name),
            Err(other) => panic!("{name}: {other}"),
            Ok(()) => panic!("{name} was taken"),
        }
    }
    for name in [
        "v.patch_embd.weight",
        "mm.0.weight",
        "blk.3.nextn.eh_proj.weight",
    ] {
        with_tensor(name).unwrap();
    }
}

/// Gemma 4's files may have keys and values also for layers that read those of an earlier one.
#[test]
fn keys_of_a_layer_that_reads_those_of_another_do_no_harm() {
    let copies = ["attn_k", "attn_k_norm", "attn_v"].map(|tensor| {
        (
            format!("blk.3.{tensor}.weight"),
            format!("blk.0.{tensor}.weight"),
        )
    });
    let rewrite = Rewrite {
        copies: copies.into(),
        ..Rewrite::default()
    };
    let model = load("spare-keys", &rewritten("gemma4", &rewrite, |_| {})).unwrap();
    let prompt = prompt("gemma4");
    let rows = all_logits(&model, &prompt, prompt.len());
    assert!(difference(&rows, &reference("gemma4")).max < 1e-3);
}

/// Queries, keys and values in one tensor, their biases in one or in three, are as they are apart.
#[test]
fn fused_projections_take_their_biases_from_one_tensor_or_three() {
    let file = std::fs::read(golden("qwen2.gguf")).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let apart = |name: &str| {
        ["attn_q.", "attn_k.", "attn_v."]
            .iter()
            .any(|p| name.contains(p))
    };
    let (expected, prompt) = (reference("qwen2"), prompt("qwen2"));
    for fused in [&["weight"][..], &["weight", "bias"]] {
        let mut writer = Writer::new();
        for (key, value) in gguf.metadata().iter() {
            writer.put_value(key, value);
        }
        for info in gguf.tensors() {
            let data = gguf.tensor_data(info);
            if !fused
                .iter()
                .any(|kind| apart(info.name) && info.name.ends_with(kind))
            {
                writer.tensor(info.name, info.tensor_type, &info.shape, data);
            }
        }
        for il in 0.. {
            if gguf.tensor(&format!("blk.{il}.attn_q.weight")).is_none() {
                break;
            }
            for kind in fused {
                let part = |p| gguf.tensor(&format!("blk.{il}.attn_{p}.{kind}")).unwrap();
                let parts = ["q", "k", "v"].map(part);
                let rows = parts.map(|info| *info.shape.last().unwrap()).iter().sum();
                let mut shape = parts[0].shape.clone();
                *shape.last_mut().unwrap() = rows;
                let data = parts.map(|info| gguf.tensor_data(info)).concat();
                let name = format!("blk.{il}.attn_qkv.{kind}");
                writer.tensor(&name, parts[0].tensor_type, &shape, data);
            }
        }
        let model = load("fused", &writer.finish().unwrap()).unwrap();
        let rows = all_logits(&model, &prompt, prompt.len());
        assert!(difference(&rows, &expected).max < 1e-3);
    }
}

#[test]
fn missing_keys_are_missed_by_name() {
    for (model, key) in [
        ("granite", "granite.logit_scale"),
        ("granite", "granite.attention.layer_norm_rms_epsilon"),
        ("qwen3moe", "qwen3moe.expert_used_count"),
        ("qwen3moe", "qwen3moe.attention.head_count"),
        ("gemma2", "gemma2.feed_forward_length"),
        ("smollm3", "smollm3.block_count"),
    ] {
        let how = Rewrite {
            without_keys: vec![key],
            ..Rewrite::default()
        };
        match load("missing-key", &rewritten(model, &how, |_| ())).map(drop) {
            Err(LoadError::Gguf(slm_gguf::Error::MissingKey { key: missed })) => {
                assert_eq!(missed, key);
            }
            other => panic!("{model} without {key}: {other:?}"),
        }
    }
}

#[test]
fn keys_that_mean_another_computation_are_refused_by_name() {
    type Put = fn(&mut Writer<'_>);
    let cases: [(&str, &str, Put); 27] = [
        ("llama", "llama.attention.clamp_kqv", |w| {
            w.put("llama.attention.clamp_kqv", 8.0f32);
        }),
        ("llama", "llama.attention.max_alibi_bias", |w| {
            w.put("llama.attention.max_alibi_bias", 8.0f32);
        }),
        ("llama", "llama.attention.output_scale", |w| {
            w.put("llama.attention.output_scale", 0.5f32);
        }),
        ("llama", "llama.attention.rope_pattern", |w| {
            w.put_array("llama.attention.rope_pattern", &[true, false]);
        }),
        ("llama", "llama.attention.temperature_scale", |w| {
            w.put("llama.attention.temperature_scale", 0.1f32);
        }),
        ("llama", "llama.attn_logit_softcapping", |w| {
            w.put("llama.attn_logit_softcapping", 20.0f32);
        }),
        ("qwen3", "qwen3.final_logit_softcapping", |w| {
            w.put("qwen3.final_logit_softcapping", 8.0f32);
        }),
        ("llama", "llama.embedding_scale", |w| {
            w.put("llama.embedding_scale", 12.0f32);
        }),
        ("llama", "llama.residual_scale", |w| {
            w.put("llama.residual_scale", 0.5f32);
        }),
        ("qwen2", "qwen2.logit_scale", |w| {
            w.put("qwen2.logit_scale", f32::NAN);
        }),
        ("llama", "llama.hidden_activation", |w| {
            w.put("llama.hidden_activation", "gelu");
        }),
        ("gemma3", "gemma3.hidden_activation", |w| {
            w.put("gemma3.hidden_activation", "silu");
        }),
        ("bert-mean", "bert.hidden_activation", |w| {
            w.put("bert.hidden_activation", "relu");
        }),
        ("nomic-bert", "nomic-bert.attention.scale", |w| {
            w.put("nomic-bert.attention.scale", 0.7f32);
        }),
        ("qwen3moe", "qwen3moe.swiglu_clamp_exp", |w| {
            w.put_array("qwen3moe.swiglu_clamp_exp", &[0.0f32, 7.0]);
        }),
        ("llama", "llama.rope.scaling.alpha", |w| {
            w.put("llama.rope.scaling.alpha", 1000.0f32);
        }),
        ("llama", "llama.rope.scaling.yarn_ext_factor", |w| {
            w.put("llama.rope.scaling.yarn_ext_factor", 1.0f32);
        }),
        ("bitnet", "bitnet.attention.sliding_window", |w| {
            w.put("bitnet.attention.sliding_window", 16u32);
        }),
        ("qwen3", "qwen3.attention.shared_kv_layers", |w| {
            w.put("qwen3.attention.shared_kv_layers", 1u32);
        }),
        ("llama", "llama.use_parallel_residual", |w| {
            w.put("llama.use_parallel_residual", true);
        }),
        ("qwen3moe", "qwen3moe.expert_gating_func", |w| {
            w.put("qwen3moe.expert_gating_func", 2u32);
        }),
        ("qwen3moe", "qwen3moe.expert_group_count", |w| {
            w.put("qwen3moe.expert_group_count", 4u32);
        }),
        ("qwen3moe", "qwen3moe.expert_weights_scale", |w| {
            w.put("qwen3moe.expert_weights_scale", -1.0f32);
        }),
        ("llama", "llama.rope.scaling.type", |w| {
            w.put("llama.rope.scaling.type", "dynamic");
        }),
        ("llama", "llama.rope.scaling.factor", |w| {
            w.put("llama.rope.scaling.factor", -2.0f32);
        }),
        ("llama", "llama.rope.scaling.yarn_ext_factor", |w| {
            w.put("llama.rope.scaling.type", "yarn");
            w.put("llama.rope.scaling.yarn_ext_factor", f32::NAN);
        }),
        ("smollm3", "smollm3.attention.rope_pattern", |w| {
            w.put_array("smollm3.attention.rope_pattern", &[true; 3]);
        }),
    ];
    for (model, key, put) in cases {
        match load("refused-key", &with(model, put)).map(drop) {
            Err(LoadError::Hparam { key: refused, .. }) => assert_eq!(refused, key),
            other => panic!("{key}: {other:?}"),
        }
    }
    let how = Rewrite {
        without_keys: vec!["bert.attention.causal"],
        ..Rewrite::default()
    };
    let causal = rewritten("bert-mean", &how, |w| {
        w.put("bert.attention.causal", true);
    });
    let error = load("causal", &causal).map(drop).unwrap_err().to_string();
    assert!(error.contains("bert.attention.causal` is true"), "{error}");
    for (key, bad) in [
        ("qwen3moe.expert_count", [0, 7, u32::MAX]),
        ("qwen3moe.expert_used_count", [0, 9, u32::MAX]),
        ("qwen3moe.expert_feed_forward_length", [0, 31, u32::MAX]),
    ] {
        for value in bad {
            match load("bad-experts", &with_other("qwen3moe", key, value)).map(drop) {
                Err(LoadError::Hparam { .. } | LoadError::Tensor { .. }) => {}
                other => panic!("{key} = {value}: {other:?}"),
            }
        }
    }
}

/// llama.cpp saves all that it knows of any family, with what it takes where a file says nothing.
#[test]
fn keys_of_other_families_that_change_nothing_are_taken() {
    let bytes = with("llama", |w| {
        w.put("llama.attention.clamp_kqv", 0.0f32)
            .put("llama.attention.rope_pattern", 1u32)
            .put("llama.attention.scale", 0.0f32)
            .put("llama.attention.sliding_window", 0u32)
            .put("llama.attn_logit_softcapping", 50.0f32)
            .put("llama.final_logit_softcapping", 30.0f32)
            .put("llama.router_logit_softcapping", 30.0f32)
            .put("llama.hidden_activation", "silu")
            .put("llama.logit_scale", 0.0f32)
            .put("llama.residual_scale", 1.0f32)
            .put("llama.nextn_predict_layers", 0u32)
            .put("llama.pooling_type", 0u32)
            .put("llama.rope.freq_base_swa", 10_000.0f32)
            .put("llama.rope.scaling.alpha", 0.0f32)
            .put("llama.rope.scaling.yarn_ext_factor", -1.0f32)
            .put("llama.swin_norm", false)
            .put("llama.use_parallel_residual", false)
            .put("llama.something_new", "whatever")
            .put_array("llama.swiglu_clamp_exp", &[0.0f32, 0.0]);
    });
    let model = load("neutral", &bytes).unwrap();
    let prompt = prompt("llama");
    let rows = all_logits(&model, &prompt, prompt.len());
    assert!(difference(&rows, &reference("llama")).max < 1e-3);
}

/// What Ollama's converter leaves out or calls otherwise is as the model's configuration has it: the base model's own
/// values by other names, and by the variant of transformers' with stretched positions.
#[test]
fn gemma3_as_ollama_writes_it_is_the_same_model() {
    const KEYS: [&str; 4] = [
        "gemma3.attention.layer_norm_rms_epsilon",
        "gemma3.rope.freq_base",
        "gemma3.rope.freq_base_swa",
        "gemma3.context_length",
    ];
    let ollama = |context_length: u32, bases: [f32; 2], with_spare_tokens: bool| {
        let lists = ["tokens", "scores", "token_type"].map(|l| format!("tokenizer.ggml.{l}"));
        let mut without_keys = KEYS.to_vec();
        if with_spare_tokens {
            without_keys.extend(lists.iter().map(String::as_str));
        }
        let how = Rewrite {
            without_keys,
            ..Rewrite::default()
        };
        let file = std::fs::read(golden("gemma3.gguf")).unwrap();
        let gguf = Gguf::parse(&file).unwrap();
        let list = |name: &str| match gguf.metadata().get(name) {
            Some(slm_gguf::Value::Array(values)) => values.iter().collect::<Vec<_>>(),
            other => panic!("{name}: {other:?}"),
        };
        rewritten("gemma3", &how, |w| {
            w.put("gemma3.context_length", context_length)
                .put("gemma3.mm.tokens_per_image", 256u32)
                .put("gemma3.rope.global.freq_base", bases[0])
                .put("gemma3.rope.local.freq_base", bases[1]);
            if !with_spare_tokens {
                return;
            }
            let tokens = list(&lists[0]);
            let mut texts: Vec<&str> = tokens
                .iter()
                .map(|value| match value {
                    slm_gguf::Value::String(text) => std::str::from_utf8(text).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            texts.push("<image_soft_token>");
            let mut scores: Vec<f32> = list(&lists[1])
                .iter()
                .map(|value| match value {
                    slm_gguf::Value::F32(score) => *score,
                    other => panic!("{other:?}"),
                })
                .collect();
            scores.push(0.0);
            let mut types: Vec<i32> = list(&lists[2])
                .iter()
                .map(|value| value.as_integer().unwrap() as i32)
                .collect();
            types.push(3);
            w.put_array(&lists[0], &texts)
                .put_array(&lists[1], &scores)
                .put_array(&lists[2], &types);
        })
    };
    let expected = reference("gemma3");
    let prompt = prompt("gemma3");
    let off_by = |bytes: &[u8], expected: &Value| {
        let model = load("of-ollama", bytes).unwrap();
        let rows = all_logits(&model, &prompt, prompt.len());
        difference(&rows, expected).max
    };
    let released = [1_000_000.0, 10_000.0];
    for with_spare_tokens in [false, true] {
        let bytes = ollama(32_768, released, with_spare_tokens);
        assert!(off_by(&bytes, &expected) < 1e-3);
    }
    let model = load("spare", &ollama(32_768, released, true)).unwrap();
    assert_eq!(
        model.tokenizer().vocab_size(),
        model.decoder().spec().vocab_size
    );

    let stretched = variants("variants-transformers.json")
        .into_iter()
        .find(|variant| variant["name"] == "gemma3-stretched")
        .unwrap();
    let bytes = ollama(131_072, [50_000.0, 700.0], false);
    assert!(off_by(&bytes, &stretched) < 1e-3);
    assert!(off_by(&bytes, &expected) > 0.1);
}

#[test]
fn a_rotation_by_two_sets_of_divisors_needs_both() {
    let bytes = with("llama", |w| {
        w.put("llama.rope.scaling.type", "longrope");
    });
    match load("no-divisors", &bytes).map(drop) {
        Err(LoadError::Tensor { name, .. }) => assert_eq!(name, "rope_factors_short.weight"),
        other => panic!("{other:?}"),
    }
}

/// A block behind the decoder's, with tensors like theirs, predicts further tokens and takes no part in this one.
#[test]
fn blocks_that_draft_are_no_layers_of_the_decoder() {
    let golden = std::fs::read(golden("qwen3.gguf")).unwrap();
    let gguf = Gguf::parse(&golden).unwrap();
    let n_layers = gguf.metadata().u32("qwen3.block_count").unwrap();
    let of_first = gguf.tensors().iter().map(|info| info.name);
    let of_first = of_first.filter_map(|name| name.strip_prefix("blk.0."));
    let copies = of_first.map(|tensor| {
        let name = format!("blk.{n_layers}.{tensor}");
        (name, format!("blk.0.{tensor}"))
    });
    let of_drafts = [(
        format!("blk.{n_layers}.nextn.eh_proj.weight"),
        "token_embd.weight".to_owned(),
    )];
    let how = Rewrite {
        without_keys: vec!["qwen3.block_count"],
        copies: copies.chain(of_drafts).collect(),
        ..Rewrite::default()
    };
    let file = |n_drafting: u32| {
        rewritten("qwen3", &how, |w| {
            w.put("qwen3.block_count", n_layers + 1)
                .put("qwen3.nextn_predict_layers", n_drafting);
        })
    };
    let model = load("drafting", &file(1)).unwrap();
    assert_eq!(model.decoder().spec().n_layers, n_layers as usize);
    let prompt = prompt("qwen3");
    let rows = all_logits(&model, &prompt, prompt.len());
    assert!(difference(&rows, &reference("qwen3")).max < 1e-3);
    match load("not-drafting", &file(0)).map(drop) {
        Err(LoadError::Tensor { name, .. }) => assert!(name.contains(".nextn."), "{name}"),
        other => panic!("{other:?}"),
    }
}

/// The parts of a tiny model, each with the tensors whose number gives this remainder.
fn parts(model: &str, n: usize) -> Vec<Vec<u8>> {
    let file = std::fs::read(golden(&format!("{model}.gguf"))).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let part = |index: usize| {
        let mut writer = Writer::new();
        let metadata = gguf.metadata().iter().filter(|_| index == 0);
        for (key, value) in metadata {
            writer.put_value(key, value);
        }
        writer.put("split.no", index as u16);
        writer.put("split.count", n as u16);
        writer.put("split.tensors.count", gguf.tensors().len() as i32);
        for info in gguf.tensors().iter().skip(index).step_by(n) {
            let data = gguf.tensor_data(info);
            writer.tensor(info.name, info.tensor_type, &info.shape, data);
        }
        writer.finish().unwrap()
    };
    (0..n).map(part).collect()
}

#[test]
fn a_model_in_several_files_is_loaded_by_the_first() {
    let folder = Folder::new("shards");
    let name = |i: usize| format!("tiny-0000{i}-of-00003.gguf");
    let parts = parts("llama", 3);
    for (i, part) in parts.iter().enumerate() {
        folder.write(&name(i + 1), part);
    }
    let expected = reference("llama");
    let prompt = prompt("llama");
    let model = load_path(&folder.0.join(name(1))).unwrap();
    let rows = all_logits(&model, &prompt, prompt.len());
    assert!(difference(&rows, &expected).max < 1e-3);

    let error = |path: PathBuf| load_path(&path).map(drop).unwrap_err().to_string();
    let by_another = error(folder.0.join(name(2)));
    assert!(by_another.contains("split.no"), "{by_another}");
    assert!(by_another.contains("-00001-of-00003.gguf"), "{by_another}");
    let renamed = error(folder.write("tiny.gguf", &parts[0]));
    assert!(renamed.contains("NAME-00001-of-00003.gguf"), "{renamed}");
    folder.write(&name(3), &parts[1]);
    let swapped = error(folder.0.join(name(1)));
    assert!(swapped.contains("1 of 3"), "{swapped}");
    folder.write(&name(3), &self::parts("llama", 2)[1]);
    let of_another = error(folder.0.join(name(1)));
    assert!(of_another.contains("1 of 2"), "{of_another}");
    std::fs::remove_file(folder.0.join(name(3))).unwrap();
    let missing = error(folder.0.join(name(1)));
    assert!(missing.contains(&name(3)), "{missing}");
}

#[test]
fn files_of_one_model_have_all_its_tensors_once() {
    let folder = Folder::new("shards-count");
    let mut parts = parts("llama", 2);
    let mut writer = Writer::new();
    writer.put("split.no", 1u16).put("split.count", 2u16);
    parts[1] = writer.finish().unwrap();
    let path = folder.write("m-00001-of-00002.gguf", &parts[0]);
    folder.write("m-00002-of-00002.gguf", &parts[1]);
    let error = load_path(&path).map(drop).unwrap_err().to_string();
    assert!(error.contains("split.tensors.count"), "{error}");
}
