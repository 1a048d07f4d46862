//! Every architecture against reference logits, and the engine thread's promises, on tiny models.
//!
//! The models and their expected values are described in `tests/data/golden/README.md`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "differences, which a failed test shows"
)]

mod common;
mod generation;

use common::{
    Difference, Rewrite, all_logits, argmax, difference, golden, ids, reference, rewritten,
};
use generation::collect;
use slm_engine::{
    Adapters, Engine, GenerateRequest, KvCache, KvType, LoadError, LoadOptions, Model,
    SamplingParams, StepResult, StopReason, TokenLogprobs,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, Writer};
use std::path::PathBuf;

#[track_caller]
fn check(name: &str, kv_type: KvType, tolerance: f32) {
    let options = LoadOptions {
        kv_type,
        ..LoadOptions::default()
    };
    check_loaded(name, &options, tolerance, tolerance);
}

/// Weights in blocks: activations are rounded to 8 bits on their way in. That may cost about what it costs llama.cpp.
#[track_caller]
fn check_quantised(name: &str) {
    let llama_cpp = &reference(name)["llama_cpp"]["on_this_file"]["rms_diff"];
    let rms_tolerance = 1.5 * llama_cpp.as_f64().unwrap() as f32;
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    check_loaded(name, &options, 0.8, rms_tolerance);
}

#[track_caller]
fn check_loaded(name: &str, options: &LoadOptions, tolerance: f32, rms_tolerance: f32) {
    let model = Model::load(&golden(&format!("{name}.gguf")), options).unwrap();
    let expected = reference(name);
    let prompt = ids(&expected["prompt_tokens"]);

    let rows = all_logits(&model, &prompt, prompt.len());
    let Difference { max, rms } = difference(&rows, &expected);
    println!(
        "{name}, {:?}: max {max:.1e}, rms {rms:.1e}",
        options.kv_type
    );
    assert!(
        max < tolerance && rms < rms_tolerance,
        "{name}: off by up to {max}, root mean square {rms}"
    );
    let margins = expected["argmax_margin"].as_array().unwrap();
    for (position, token) in ids(&expected["argmax"]).into_iter().enumerate() {
        if margins[position].as_f64().unwrap() as f32 > (2.0 * tolerance).min(0.8) {
            assert_eq!(
                argmax(&rows[position]),
                token,
                "{name}: position {position}"
            );
        }
    }

    let mut text = prompt;
    for token in ids(&expected["greedy"]) {
        assert_eq!(
            argmax(all_logits(&model, &text, 7).last().unwrap()),
            token,
            "{name}: greedy token {}",
            text.len()
        );
        text.push(token);
    }
}

#[test]
fn llama_matches_the_reference() {
    check("llama", KvType::F32, 1e-3);
    check("llama", KvType::F16, 0.15);
}

#[test]
fn llama3_rope_factors_match_the_reference() {
    check("llama3-rope", KvType::F32, 1e-3);
}

#[test]
fn mistral_with_its_own_head_size_matches_the_reference() {
    check("mistral", KvType::F32, 1e-3);
}

#[test]
fn qwen3_matches_the_reference() {
    check("qwen3", KvType::F32, 1e-3);
    check("qwen3", KvType::F16, 0.15);
}

#[test]
fn quantised_qwen3_is_as_near_to_the_reference_as_8_bit_activations_allow() {
    for name in ["qwen3-q4_0", "qwen3-q8_0", "qwen3-q4_k_m"] {
        check_quantised(name);
    }
}

#[test]
fn qwen2_with_biases_matches_the_reference() {
    check("qwen2", KvType::F32, 1e-3);
    check("qwen2", KvType::F16, 0.15);
}

#[test]
fn gemma3_with_its_windows_and_norms_matches_the_reference() {
    check("gemma3", KvType::F32, 1e-3);
    check("gemma3", KvType::F16, 0.15);
}

#[test]
fn gemma2_with_its_caps_and_alternating_windows_matches_the_reference() {
    check("gemma2", KvType::F32, 1e-3);
    check("gemma2", KvType::F16, 0.15);
}

#[test]
fn smollm3_with_layers_that_know_no_positions_matches_the_reference() {
    check("smollm3", KvType::F32, 1e-3);
    check("smollm3", KvType::F16, 0.15);
}

#[test]
fn granite_with_its_factors_matches_the_reference() {
    check("granite", KvType::F32, 1e-3);
    check("granite", KvType::F16, 0.15);
}

#[test]
fn qwen3moe_with_its_experts_matches_the_reference() {
    check("qwen3moe", KvType::F32, 1e-3);
    check("qwen3moe", KvType::F16, 0.15);
}

/// Whatever context is set aside for them.
#[test]
fn phi3_rotates_short_sequences_with_the_short_factors() {
    for (kv_type, context_length) in [
        (KvType::F32, Some(256)),
        (KvType::F16, Some(256)),
        (KvType::F32, None),
    ] {
        let options = LoadOptions {
            kv_type,
            context_length,
            ..LoadOptions::default()
        };
        let tolerance = if kv_type == KvType::F32 { 1e-3 } else { 0.15 };
        check_loaded("phi3", &options, tolerance, tolerance);
    }
}

#[test]
fn bitnet_with_either_gate_matches_the_reference() {
    for name in ["bitnet", "bitnet-b158"] {
        check(name, KvType::F32, 1e-3);
        check(name, KvType::F16, 0.15);
    }
}

#[test]
fn lfm2_with_its_convolutions_matches_the_reference() {
    check("lfm2", KvType::F32, 1e-3);
    check("lfm2", KvType::F16, 0.15);
}

#[test]
fn qwen35_with_its_delta_nets_matches_the_reference() {
    check("qwen35", KvType::F32, 1e-3);
    check("qwen35", KvType::F16, 0.15);
}

#[test]
fn gemma4_with_its_shared_keys_and_embeddings_matches_the_reference() {
    check("gemma4", KvType::F32, 1e-3);
    check("gemma4", KvType::F16, 0.15);
}

/// What codes cost follows from their steps: those of 8 bits are about 28 times as coarse as half floats, those of 4 bits
/// 16 times as coarse again. The models are random, and magnify both.
#[test]
fn keys_and_values_in_codes_are_near_the_reference() {
    for name in ["llama", "qwen3", "gemma3", "gemma4", "lfm2"] {
        let expected = reference(name);
        let prompt = ids(&expected["prompt_tokens"]);
        let rms = |kv_type| {
            let options = LoadOptions {
                kv_type,
                ..LoadOptions::default()
            };
            let model = Model::load(&golden(&format!("{name}.gguf")), &options).unwrap();
            let rows = all_logits(&model, &prompt, prompt.len());
            difference(&rows, &expected).rms
        };
        let (f16, q8_0, q4_0) = (rms(KvType::F16), rms(KvType::Q8_0), rms(KvType::Q4_0));
        println!("{name}: rms {f16:.1e}, {q8_0:.1e}, {q4_0:.1e}");
        assert!(f16 < q8_0 && q8_0 < 40.0 * f16, "{name}: {f16} {q8_0}");
        assert!(q8_0 < q4_0 && q4_0 < 24.0 * q8_0, "{name}: {q8_0} {q4_0}");
    }
}

#[test]
fn tensors_of_a_family_are_missed_by_name() {
    let cases = [
        ("qwen3", "blk.1.attn_q_norm.weight"),
        ("qwen3", "blk.1.attn_k_norm.weight"),
        ("qwen2", "blk.2.attn_k.bias"),
        ("gemma3", "blk.0.post_attention_norm.weight"),
        ("gemma3", "blk.0.post_ffw_norm.weight"),
        ("gemma2", "blk.2.post_attention_norm.weight"),
        ("gemma2", "blk.3.post_ffw_norm.weight"),
        ("smollm3", "blk.3.attn_q.weight"),
        ("granite", "blk.1.ffn_norm.weight"),
        ("qwen3moe", "blk.1.ffn_gate_inp.weight"),
        ("qwen3moe", "blk.0.ffn_up_exps.weight"),
        ("phi3", "blk.0.ffn_up.weight"),
        ("phi3", "rope_factors_long.weight"),
        ("bitnet", "blk.1.attn_sub_norm.weight"),
        ("bitnet-b158", "blk.1.ffn_sub_norm.weight"),
        ("lfm2", "blk.0.shortconv.conv.weight"),
        ("lfm2", "blk.3.shortconv.in_proj.weight"),
        ("lfm2", "blk.2.attn_k_norm.weight"),
        ("lfm2", "token_embd_norm.weight"),
        ("qwen35", "blk.0.ssm_conv1d.weight"),
        ("qwen35", "blk.0.ssm_a"),
        ("qwen35", "blk.1.ssm_dt.bias"),
        ("qwen35", "blk.1.attn_gate.weight"),
        ("qwen35", "blk.3.attn_q.weight"),
        ("qwen35", "blk.3.post_attention_norm.weight"),
        ("gemma4", "per_layer_token_embd.weight"),
        ("gemma4", "blk.4.inp_gate.weight"),
        ("gemma4", "blk.0.attn_k.weight"),
        ("gemma4", "rope_freqs.weight"),
    ];
    for (model, tensor) in cases {
        let mut file = std::fs::read(golden(&format!("{model}.gguf"))).unwrap();
        let at = file
            .windows(tensor.len())
            .position(|w| w == tensor.as_bytes())
            .unwrap();
        file[at..at + 3].copy_from_slice(b"xyz");
        match load_bytes(&format!("without-{tensor}"), &file) {
            Err(LoadError::Tensor { name, problem }) => {
                assert_eq!((name.as_str(), problem.as_str()), (tensor, "is missing"));
            }
            Err(other) => panic!("{model} without {tensor}: {other}"),
            Ok(()) => panic!("{model} was taken without {tensor}"),
        }
    }
}

/// A tiny model with one more key.
fn with_key(model: &str, put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    rewritten(model, &Rewrite::default(), put)
}

#[test]
fn the_pattern_of_sliding_layers_is_the_files_or_is_refused() {
    const KEY: &str = "gemma3.attention.sliding_window_pattern";
    let flags = |full: &[usize]| (0..7).map(|il| !full.contains(&il)).collect::<Vec<bool>>();
    let expected = reference("gemma3");
    let prompt = ids(&expected["prompt_tokens"]);
    let all_sliding = expected["sensitivity"]["all layers sliding"]["max_abs_change"]
        .as_f64()
        .unwrap();
    let off_by = |name: &str, bytes: &[u8]| {
        let path = std::env::temp_dir().join(format!("slm-{name}-{}.gguf", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let options = LoadOptions {
            kv_type: KvType::F32,
            ..LoadOptions::default()
        };
        let model = Model::load(&path, &options);
        std::fs::remove_file(&path).unwrap();
        let rows = all_logits(&model.unwrap(), &prompt, prompt.len());
        f64::from(difference(&rows, &expected).max)
    };
    let same = off_by(
        "flags",
        &with_key("gemma3", |w| {
            w.put_array(KEY, &flags(&[5]));
        }),
    );
    assert!(same < 1e-3, "{same}");
    let same = off_by(
        "number",
        &with_key("gemma3", |w| {
            w.put(KEY, 6u32);
        }),
    );
    assert!(same < 1e-3, "{same}");
    let other = off_by(
        "sliding",
        &with_key("gemma3", |w| {
            w.put_array(KEY, &flags(&[]));
        }),
    );
    assert!(other > 0.3 * all_sliding, "{other}");

    let refused = [
        with_key("gemma3", |w| {
            w.put(KEY, 0u32);
        }),
        with_key("gemma3", |w| {
            w.put(KEY, u32::MAX);
        }),
        with_key("gemma3", |w| {
            w.put_array(KEY, &[true; 6]);
        }),
        with_key("gemma3", |w| {
            w.put_array(KEY, &["true"; 7]);
        }),
    ];
    for bytes in refused {
        match load_bytes("pattern", &bytes) {
            Err(LoadError::Hparam { key, .. }) => assert_eq!(key, KEY),
            Err(other) => panic!("{other}"),
            Ok(()) => panic!("was taken"),
        }
    }
}

#[test]
fn an_activation_of_bitnet_overrules_its_name_or_is_refused() {
    let expected = reference("bitnet");
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    let with = |activation: &str| {
        with_key("bitnet", |w| {
            w.put("bitnet.hidden_activation", activation);
        })
    };
    let path = std::env::temp_dir().join(format!("slm-relu2-{}.gguf", std::process::id()));
    std::fs::write(&path, with("relu2")).unwrap();
    let model = Model::load(&path, &options);
    std::fs::remove_file(&path).unwrap();
    let prompt = ids(&expected["prompt_tokens"]);
    let rows = all_logits(&model.unwrap(), &prompt, prompt.len());
    let moved = expected["sensitivity"]["relu2"]["max_abs_change"]
        .as_f64()
        .unwrap();
    assert!(f64::from(difference(&rows, &expected).max) > 0.3 * moved);
    let error = load_bytes("gelu", &with("gelu")).unwrap_err().to_string();
    assert!(
        error.contains("bitnet.hidden_activation") && error.contains("gelu"),
        "{error}"
    );
}

/// `NAME.scale` multiplies: a quarter of a matrix, with 4 there, is as the matrix.
#[test]
fn a_scale_of_a_matrix_multiplies_what_it_gives() {
    let file = std::fs::read(golden("bitnet.gguf")).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.put_value(key, value);
    }
    let quartered: Vec<(String, Vec<u8>)> = gguf
        .tensors()
        .iter()
        .map(|info| {
            let mut data = gguf.tensor_data(info).to_vec();
            if info.name == "blk.1.ffn_up.weight" {
                for value in data.as_chunks_mut::<4>().0 {
                    *value = (f32::from_le_bytes(*value) / 4.0).to_le_bytes();
                }
            }
            (info.name.to_owned(), data)
        })
        .collect();
    for (info, (name, data)) in gguf.tensors().iter().zip(&quartered) {
        writer.tensor(name, info.tensor_type, &info.shape, data);
    }
    let f32s = gguf.tensor("blk.1.ffn_norm.weight").unwrap().tensor_type;
    let four = 4f32.to_le_bytes();
    writer.tensor("blk.1.ffn_up.scale", f32s, &[1], &four);
    let path = std::env::temp_dir().join(format!("slm-scale-{}.gguf", std::process::id()));
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    let model = Model::load(&path, &options);
    std::fs::remove_file(&path).unwrap();
    let expected = reference("bitnet");
    let prompt = ids(&expected["prompt_tokens"]);
    let rows = all_logits(&model.unwrap(), &prompt, prompt.len());
    let max = difference(&rows, &expected).max;
    assert!(max < 1e-3, "{max}");
}

/// Loads a model that is these bytes.
fn load_bytes(name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let path = std::env::temp_dir().join(format!("slm-{name}-{}.gguf", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let result = Model::load(&path, &LoadOptions::default()).map(drop);
    std::fs::remove_file(&path).unwrap();
    result
}

/// Architectures whose layers keep a state that cannot be taken back.
const RECURRENT: [&str; 2] = ["lfm2", "qwen35"];

#[test]
fn steps_of_any_size_and_any_number_of_threads_give_the_same_bits() {
    let names = ["llama", "qwen3moe", "gemma4"];
    for name in names.iter().chain(&RECURRENT) {
        let prompt = ids(&reference(name)["prompt_tokens"]);
        let load = |n_threads| {
            let options = LoadOptions {
                n_threads: Some(n_threads),
                ..LoadOptions::default()
            };
            Model::load(&golden(&format!("{name}.gguf")), &options).unwrap()
        };
        let whole = all_logits(&load(1), &prompt, prompt.len());
        for n_threads in [1, 2, 3] {
            let model = load(n_threads);
            for chunk in [1, 3, 17] {
                assert!(
                    all_logits(&model, &prompt, chunk) == whole,
                    "{name}: {n_threads} threads, steps of {chunk}"
                );
            }
        }
    }
}

#[test]
fn a_rewound_cache_continues_as_if_nothing_had_been_there() {
    for (name, kept) in [("llama", 12), ("gemma4", 12), ("lfm2", 0), ("qwen35", 0)] {
        let path = golden(&format!("{name}.gguf"));
        let model = Model::load(&path, &LoadOptions::default()).unwrap();
        let (mut cache, mut scratch, mut logits) =
            (model.decoder().new_cache(), Scratch::default(), vec![]);
        let tokens: Vec<u32> = (10..60).collect();
        let mut forward = |cache: &mut KvCache, tokens: &[u32]| {
            let last = LogitsFor::Last;
            model
                .decoder()
                .forward(cache, &mut scratch, tokens, last, &mut logits);
            logits.clone()
        };
        let expected = forward(&mut cache, &tokens);
        assert_eq!(cache.rewind(tokens.len()), tokens.len(), "{name}");
        assert_eq!(cache.rewind(usize::MAX), tokens.len(), "{name}");
        let mut other = tokens[..12].to_vec();
        other.extend([300, 301, 302]);
        assert_eq!(cache.reusable(&other), kept, "{name}");
        assert_eq!(cache.rewind(12), kept, "{name}");
        assert_eq!(cache.len(), kept, "{name}");
        forward(&mut cache, &other[kept..]);
        assert_eq!(cache.rewind(12), kept, "{name}");
        assert!(forward(&mut cache, &tokens[kept..]) == expected, "{name}");
        assert_eq!(cache.common_prefix(&tokens), tokens.len());
    }
}

/// Layers with a window let go of what nothing looks at any more; a batch that comes at once lets go of nothing.
#[test]
fn positions_that_a_window_has_passed_are_let_go_unseen() {
    for name in ["gemma3", "gemma4"] {
        let path = golden(&format!("{name}.gguf"));
        let model = Model::load(&path, &LoadOptions::default()).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let tokens: Vec<u32> = (0..2600).map(|_| random.u32(10..300)).collect();
        let (mut scratch, mut logits) = (Scratch::default(), vec![]);
        let mut run = |cache: &mut KvCache, tokens: &[u32], chunk: usize| {
            for part in tokens.chunks(chunk) {
                let last = LogitsFor::Last;
                model
                    .decoder()
                    .forward(cache, &mut scratch, part, last, &mut logits);
            }
            logits.clone()
        };
        let expected = run(&mut model.decoder().new_cache(), &tokens, tokens.len());
        let mut cache = model.decoder().new_cache();
        assert!(run(&mut cache, &tokens, 100) == expected, "{name}");
        // still there
        assert_eq!(cache.rewind(1000), 1000, "{name}");
        assert!(run(&mut cache, &tokens[1000..], 300) == expected, "{name}");
        // gone
        assert_eq!(cache.reusable(&tokens[..200]), 0, "{name}");
        assert_eq!(cache.rewind(200), 0, "{name}");
        assert!(run(&mut cache, &tokens, 1000) == expected, "{name}");
        let bytes = |n| cache.bytes_at(n);
        assert!(bytes(20_000) - bytes(10_000) < bytes(10_000), "{name}");
    }
}

/// A conversation as it goes on, changes, and starts anew: what was kept of it must not show.
#[test]
fn a_state_that_cannot_be_taken_back_is_computed_again() {
    for name in RECURRENT {
        let path = golden(&format!("{name}.gguf"));
        let options = LoadOptions {
            n_parallel: 1,
            ..LoadOptions::default()
        };
        let prompt = ids(&reference(name)["prompt_tokens"]);
        let alone = |prompt: &[u32]| {
            let engine = Engine::load(&path, &options).unwrap();
            collect(engine.generate(greedy(prompt.to_vec(), 8)).unwrap()).0
        };
        let engine = Engine::load(&path, &options).unwrap();
        let run = |prompt: &[u32]| {
            let generated = engine.generate(greedy(prompt.to_vec(), 8)).unwrap();
            let (tokens, finish) = collect(generated);
            assert_eq!(tokens, alone(prompt), "{name}");
            (tokens, finish.stats)
        };
        let (answer, stats) = run(&prompt);
        assert_eq!(stats.n_cached_tokens, 0, "{name}");
        // the answer and more behind it: all that was fed in is there, which the last token was not
        let fed_in = prompt.len() + stats.n_generated_tokens - 1;
        let run = |prompt: &[u32]| run(prompt).1.n_cached_tokens;
        let continued = [&prompt[..], &answer, &[40, 41, 42]].concat();
        assert_eq!(run(&continued), fed_in, "{name}");
        // another question in place of the last one
        let edited = [&prompt[..], &answer, &[50, 51]].concat();
        assert_eq!(run(&edited), fed_in, "{name}");
        // the first prompt again: from its last checkpoint, a few tokens before its end
        assert_eq!(run(&prompt), prompt.len() - 8, "{name}");
        // a change in front of every checkpoint
        let mut changed = prompt.clone();
        changed[5] += 1;
        assert_eq!(run(&changed), 0, "{name}");
        // which did not cost the first prompt its state
        assert_eq!(run(&prompt), prompt.len() - 8, "{name}");
    }
}

#[test]
fn an_unknown_architecture_is_refused_by_name() {
    let mut file = std::fs::read(golden("llama.gguf")).unwrap();
    let at = file.windows(5).position(|w| w == b"llama").unwrap();
    file[at..at + 5].copy_from_slice(b"lemma");
    let temp = std::env::temp_dir().join(format!("slm-unknown-arch-{}.gguf", std::process::id()));
    std::fs::write(&temp, file).unwrap();
    let result = Model::load(&temp, &LoadOptions::default());
    std::fs::remove_file(&temp).unwrap();
    match result {
        Err(LoadError::UnknownArchitecture { found, supported }) => {
            assert_eq!(found, "lemma");
            assert!(supported.contains("llama"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("loaded"),
    }
}

fn greedy(prompt: Vec<u32>, max_tokens: usize) -> GenerateRequest {
    let sampling = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    GenerateRequest {
        prompt,
        sampling,
        stop: vec![],
        constraint: None,
        logprobs: None,
        prompt_logprobs: false,
        shown: Vec::new(),
        shift_after: None,
        client: String::new(),
        max_tokens: Some(max_tokens),
        ignore_eos: false,
        context_length: usize::MAX,
        adapters: Adapters::default(),
        salt: None,
    }
}

#[test]
fn generations_in_turn_give_what_each_gives_alone_and_reuse_the_prompt() {
    let engine = Engine::load(&golden("llama.gguf"), &LoadOptions::default()).unwrap();
    let expected = reference("llama");
    let prompt = ids(&expected["prompt_tokens"]);
    let continuation = ids(&expected["greedy"]);
    let stop = continuation
        .iter()
        .position(|&t| engine.tokenizer().is_end_of_generation(t))
        .unwrap_or(continuation.len());

    let other: Vec<u32> = (20..50).collect();
    let (alone, _) = collect(engine.generate(greedy(other.clone(), 12)).unwrap());
    let first = engine
        .generate(greedy(prompt.clone(), continuation.len()))
        .unwrap();
    let second = engine.generate(greedy(other, 12)).unwrap();
    let (tokens, finish) = collect(first);
    assert_eq!(tokens, continuation[..stop]);
    assert_eq!(finish.stats.n_prompt_tokens, prompt.len());
    assert_eq!(collect(second).0, alone);

    let (again, finish) = collect(
        engine
            .generate(greedy(prompt.clone(), continuation.len()))
            .unwrap(),
    );
    assert_eq!(again, tokens);
    assert_eq!(finish.stats.n_cached_tokens, prompt.len() - 1);
}

/// What a prompt's tokens from the second on are said to be like, with two alternatives each, and how the rest ended.
fn told(engine: &Engine, prompt: Vec<u32>, max_tokens: usize) -> (Vec<TokenLogprobs>, Vec<u32>) {
    let request = GenerateRequest {
        logprobs: Some(2),
        prompt_logprobs: true,
        ..greedy(prompt, max_tokens)
    };
    let mut results = engine.generate(request).unwrap();
    let Some(StepResult::Prompt(told)) = results.blocking_recv() else {
        panic!("the prompt comes first");
    };
    let (tokens, finish) = collect(results);
    assert_eq!(finish.stats.n_cached_tokens, 0);
    (told, tokens)
}

#[test]
fn tokens_of_a_prompt_are_as_likely_as_the_reference_finds_them() {
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let expected = reference("llama");
    let prompt = ids(&expected["prompt_tokens"]);
    // what is known of the prompt is no help, and does no harm
    let (plain, _) = collect(engine.generate(greedy(prompt.clone(), 8)).unwrap());
    let (told, tokens) = self::told(&engine, prompt.clone(), 8);
    assert_eq!(told.len(), prompt.len() - 1);
    assert_eq!(tokens, plain);
    for position in [0, 32] {
        let logits: Vec<f64> = expected["logits"][position.to_string()]
            .as_array()
            .unwrap()
            .iter()
            .map(|logit| logit.as_f64().unwrap())
            .collect();
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let likely = |token: u32| logits[token as usize] - total.ln();
        let found = &told[position];
        let off = f64::from(found.logprob) - likely(prompt[position + 1]);
        assert!(off.abs() < 1e-3, "{position}: {off}");
        let best = (0..logits.len() as u32).max_by(|a, b| likely(*a).total_cmp(&likely(*b)));
        assert_eq!(found.top.len(), 2);
        assert_eq!(Some(found.top[0].0), best, "{position}");
    }
    let (short, none) = self::told(&engine, prompt[..2].to_vec(), 0);
    assert_eq!((short.len(), none.len()), (1, 0));
    assert_eq!(short[0].logprob, told[0].logprob);
}

#[test]
fn several_prompts_are_told_of_side_by_side_as_alone() {
    let options = LoadOptions {
        n_parallel: 3,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let prompts: Vec<Vec<u32>> = (0..5).map(|i| (20 + i..70 + 3 * i).collect()).collect();
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| told(&engine, prompt.clone(), 3))
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let started = prompts
            .iter()
            .map(|prompt| scope.spawn(|| told(&engine, prompt.clone(), 3)));
        let started: Vec<_> = started.collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn limits_end_a_generation_and_a_prompt_that_does_not_fit_is_refused_with_the_counts() {
    let engine = Engine::load(
        &golden("llama.gguf"),
        &LoadOptions {
            context_length: Some(16),
            ..LoadOptions::default()
        },
    )
    .unwrap();
    let (tokens, finish) = collect(engine.generate(greedy(vec![5; 10], 2)).unwrap());
    assert_eq!((tokens.len(), finish.reason), (2, StopReason::Length));
    assert!(
        collect(engine.generate(greedy(vec![5; 10], 0)).unwrap())
            .0
            .is_empty()
    );
    let (tokens, finish) = collect(engine.generate(greedy(vec![5; 10], 100)).unwrap());
    assert!(tokens.len() <= 6);
    assert_eq!(finish.stats.n_prompt_tokens, 10);

    let mut results = engine.generate(greedy(vec![5; 16], 1)).unwrap();
    match results.blocking_recv().unwrap() {
        StepResult::Failed(why) => assert!(
            why.contains("16 tokens exceeds the available context size of 16"),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dropped_receiver_frees_the_engine_and_a_slow_one_loses_nothing() {
    let options = LoadOptions {
        n_parallel: 1,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let endless = |seed| GenerateRequest {
        prompt: vec![7, 8, 9],
        sampling: SamplingParams {
            seed: Some(seed),
            ..SamplingParams::default()
        },
        stop: vec![],
        constraint: None,
        logprobs: None,
        prompt_logprobs: false,
        shown: Vec::new(),
        shift_after: None,
        client: String::new(),
        max_tokens: None,
        ignore_eos: false,
        context_length: usize::MAX,
        adapters: Adapters::default(),
        salt: None,
    };
    drop(engine.generate(endless(1)).unwrap());
    let (tokens, _) = collect(engine.generate(greedy(vec![5; 10], 2)).unwrap());
    assert_eq!(tokens.len(), 2);

    let slow = engine.generate(endless(2)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (tokens, finish) = collect(slow);
    let ended_by_token = usize::from(finish.reason == StopReason::Stop);
    assert_eq!(
        tokens.len() + ended_by_token,
        finish.stats.n_generated_tokens
    );
}

/// The tiny model of the key's architecture with one u32 of its metadata changed, written to a file of its own.
fn patched(key: &str, value: u32) -> PathBuf {
    let model = key.split('.').next().unwrap();
    let mut file = std::fs::read(golden(&format!("{model}.gguf"))).unwrap();
    let at = file
        .windows(key.len())
        .position(|w| w == key.as_bytes())
        .unwrap()
        + key.len()
        + 4;
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let temp = std::env::temp_dir().join(format!("slm-{key}-{value}-{}.gguf", std::process::id()));
    std::fs::write(&temp, file).unwrap();
    temp
}

#[test]
fn hyper_parameters_that_contradict_are_refused_by_key_or_tensor() {
    let bad_for_all = [0, 4096, 1 << 20, u32::MAX];
    let cases = [
        ("llama.attention.head_count", &[3, 5][..]),
        ("llama.attention.head_count_kv", &[1, 3]),
        ("llama.attention.key_length", &[1, 8]),
        ("llama.attention.value_length", &[1, 8]),
        ("llama.embedding_length", &[1, 65]),
        ("llama.feed_forward_length", &[1, 3]),
        ("llama.block_count", &[4]),
        ("llama.rope.dimension_count", &[1, 3, 18]),
        ("qwen3.attention.head_count_kv", &[1, 3]),
        ("qwen3.attention.key_length", &[1, 16]),
        ("qwen2.attention.head_count", &[1, 8]),
        ("gemma3.attention.value_length", &[1, 16]),
        ("gemma3.block_count", &[8]),
        ("phi3.feed_forward_length", &[1, 64, 256]),
        ("phi3.rope.dimension_count", &[1, 10, 13, 16]),
        ("bitnet.feed_forward_length", &[1, 80]),
    ];
    for (key, bad) in cases {
        for &value in bad_for_all.iter().chain(bad) {
            let path = patched(key, value);
            let result = Model::load(&path, &LoadOptions::default()).map(drop);
            std::fs::remove_file(&path).unwrap();
            match result {
                Err(LoadError::Hparam { .. } | LoadError::Tensor { .. }) => {}
                Err(other) => panic!("{key} = {value}: {other}"),
                Ok(()) => panic!("{key} = {value} was taken"),
            }
        }
    }
}
