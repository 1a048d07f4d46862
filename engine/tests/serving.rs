//! Many generations at once give what each gives alone, whatever the threads, the memory and the company.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;
mod generation;

use common::{Rewrite, argmax, golden, ids, reference, rewritten};
use generation::collect;
use slm_engine::{
    Adapters, Engine, GenerateRequest, KvType, LoadOptions, Model, SamplingParams,
    model::{LogitsFor, Scratch},
};

/// Attention, sliding windows, a mixture of experts, a convolution and a delta net, shared layers; with an adapter that
/// some of the clients use.
const MODELS: [(&str, &str); 6] = [
    ("mistral", "lora-mistral-r8.gguf"),
    ("gemma3", "lora-gemma3-r4.gguf"),
    ("qwen3moe", "lora-qwen3moe-r4.gguf"),
    ("lfm2", "lora-lfm2-r4.gguf"),
    ("qwen35", "lora-qwen35-r4.gguf"),
    ("gemma4", "lora-gemma4-r4.gguf"),
];

fn request(prompt: Vec<u32>, seed: u64, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        prompt,
        sampling: SamplingParams {
            // every other one is greedy
            temperature: if seed.is_multiple_of(2) { 0.0 } else { 1.0 },
            seed: Some(seed),
            ..SamplingParams::default()
        },
        stop: vec![],
        shown: Vec::new(),
        adapters: Adapters::default(),
        salt: None,
        max_tokens: Some(max_tokens),
        context_length: usize::MAX,
    }
}

/// Requests of 32 clients: prompts of many lengths, some the same, some with a common beginning, some with an adapter.
fn requests(engine: &Engine, (model, adapter): (&str, &str)) -> Vec<GenerateRequest> {
    let adapter = engine.load_adapter(&golden(adapter)).unwrap();
    let golden = ids(&reference(model)["prompt_tokens"]);
    (0..32u32)
        .map(|client| {
            let mut prompt = golden.clone();
            prompt.truncate(2 + client as usize * 5 % golden.len());
            if client % 3 > 0 {
                prompt.extend((0..client * 7 % 90).map(|i| 20 + (i * 31 + client) % 200));
            }
            GenerateRequest {
                adapters: match client % 4 {
                    1 => Adapters::new([(adapter.clone(), 0.5)]),
                    2 => Adapters::new([(adapter.clone(), 1.0)]),
                    _ => Adapters::default(),
                },
                ..request(prompt, u64::from(client), 6 + client as usize % 20)
            }
        })
        .collect()
}

#[test]
fn a_sequence_gets_the_same_alone_and_among_others() {
    let in_halves = MODELS.map(|model| (model, KvType::F16));
    let in_codes = [
        (MODELS[0], KvType::Q8_0),
        (MODELS[0], KvType::Q4_0),
        (MODELS[1], KvType::Q4_0),
        (MODELS[3], KvType::Q8_0),
    ];
    for (model, kv_type) in in_halves.into_iter().chain(in_codes) {
        let path = golden(&format!("{}.gguf", model.0));
        let load = |n_parallel, n_threads| {
            let options = LoadOptions {
                kv_type,
                n_parallel,
                n_threads: Some(n_threads),
                ..LoadOptions::default()
            };
            Engine::load(&path, &options).unwrap()
        };
        let alone = load(1, 1);
        let expected: Vec<Vec<u32>> = requests(&alone, model)
            .into_iter()
            .map(|request| collect(alone.generate(request).unwrap()).0)
            .collect();
        for (n_parallel, n_threads) in [(32, 1), (32, 3), (5, 2)] {
            let engine = load(n_parallel, n_threads);
            let running: Vec<_> = requests(&engine, model)
                .into_iter()
                .map(|request| engine.generate(request).unwrap())
                .collect();
            for (client, (results, expected)) in running.into_iter().zip(&expected).enumerate() {
                let (tokens, _) = collect(results);
                assert_eq!(
                    &tokens, expected,
                    "{model:?}, {kv_type}, client {client} of {n_parallel} on {n_threads} threads"
                );
            }
        }
    }
}

/// Sixteen long answers in the memory of two: some wait, some lose their state and compute it again.
#[test]
fn memory_that_is_short_changes_no_answer() {
    for model in ["llama", "lfm2"] {
        let path = golden(&format!("{model}.gguf"));
        let long = |client: u32| {
            let prompt = (0..150)
                .map(|i| 20 + (i * 13 + client * 17) % 200)
                .collect();
            request(prompt, u64::from(client), 150)
        };
        let load = |kv_bytes, context_length| {
            let options = LoadOptions {
                n_parallel: 16,
                kv_bytes,
                context_length,
                ..LoadOptions::default()
            };
            Engine::load(&path, &options).unwrap()
        };
        let plenty = load(None, Some(400));
        // what one takes: the floor of every budget
        let one = plenty.memory().kv_bytes;
        let scarce = load(Some(2 * one), Some(400));
        let run = |engine: &Engine| -> Vec<Vec<u32>> {
            let running: Vec<_> = (0..16)
                .map(|client| engine.generate(long(client)).unwrap())
                .collect();
            let answers = running.into_iter().map(|results| collect(results).0);
            let answers = answers.collect();
            assert!(engine.memory().kv_bytes_in_use <= engine.memory().kv_bytes_limit);
            answers
        };
        assert!(scarce.memory().kv_bytes_limit < plenty.memory().kv_bytes_limit);
        assert_eq!(run(&scarce), run(&plenty), "{model}");
    }
}

/// Layers that see a window let go of what it has passed: a long prompt takes no more than its length in the others.
#[test]
fn windows_need_no_memory_for_what_they_passed() {
    const KEY: &str = "gemma3.context_length";
    let how = Rewrite {
        without_keys: vec![KEY],
        ..Rewrite::default()
    };
    let file = rewritten("gemma3", &how, |writer| {
        writer.put(KEY, 8192u32);
    });
    let path = std::env::temp_dir().join(format!("slm-windows-{}.gguf", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let options = LoadOptions {
        n_parallel: 1,
        // as little as one sequence takes
        kv_bytes: Some(0),
        ..LoadOptions::default()
    };
    let engine = Engine::load(&path, &options).unwrap();
    std::fs::remove_file(&path).unwrap();
    let prompt: Vec<u32> = (0..8000).map(|i| 20 + i * 7 % 200).collect();
    let (tokens, _) = collect(engine.generate(request(prompt, 0, 5)).unwrap());
    assert!(!tokens.is_empty());
    let memory = engine.memory();
    assert!(
        memory.kv_bytes_in_use <= memory.kv_bytes_limit,
        "{memory:?}"
    );
}

/// What is the same in two prompts is computed once, also while the first answer is still being written.
#[test]
fn a_common_beginning_is_computed_once() {
    let options = LoadOptions {
        n_parallel: 8,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let system: Vec<u32> = (0..300).map(|i| 20 + i * 7 % 200).collect();
    let with = |question: &[u32]| [&system[..], question].concat();
    let running: Vec<_> = (0..4u32)
        .map(|client| {
            let prompt = with(&[100 + client, 5, 6, 7]);
            engine.generate(request(prompt, 0, 40)).unwrap()
        })
        .collect();
    let cached: Vec<usize> = running
        .into_iter()
        .map(|results| collect(results).1.stats.n_cached_tokens)
        .collect();
    assert_eq!(cached, [0, 300, 300, 300]);
    // another conversation did not cost the first one its state
    let (answer, finish) = collect(engine.generate(request(with(&[9; 4]), 0, 10)).unwrap());
    assert_eq!(finish.stats.n_cached_tokens, 300);
    let on = [&with(&[9; 4]), &answer[..], &[3, 4]].concat();
    let (_, finish) = collect(engine.generate(request(on, 0, 10)).unwrap());
    assert!(finish.stats.n_cached_tokens >= 304 + answer.len() - 1);
}

/// Guesses change nothing: a model that repeats itself is checked against its own logits, token by token.
#[test]
fn guessed_tokens_are_those_that_come_without_guessing() {
    for name in ["llama", "gemma3", "qwen3"] {
        let path = golden(&format!("{name}.gguf"));
        let model = Model::load(&path, &LoadOptions::default()).unwrap();
        // words that come again and again, so that there is much to guess
        let prompt: Vec<u32> = (0..60).map(|i| 30 + i % 5).collect();
        let (mut cache, mut scratch, mut logits) =
            (model.decoder().new_cache(), Scratch::default(), vec![]);
        let (mut expected, mut next) = (Vec::<u32>::new(), prompt.clone());
        while expected.len() < 80 {
            let decoder = model.decoder();
            decoder.forward(
                &mut cache,
                &mut scratch,
                &next,
                LogitsFor::Last,
                &mut logits,
            );
            for &token in model.tokenizer().suppressed() {
                logits[token as usize] = f32::NEG_INFINITY;
            }
            next = vec![argmax(&logits)];
            if model.tokenizer().is_end_of_generation(next[0]) {
                break;
            }
            expected.extend(&next);
        }
        let engine = Engine::load(&path, &LoadOptions::default()).unwrap();
        let (tokens, finish) = collect(engine.generate(request(prompt, 0, 80)).unwrap());
        assert_eq!(tokens, expected, "{name}");
        println!(
            "{name}: {} of {} guesses right",
            finish.stats.n_drafted_right, finish.stats.n_drafted
        );
    }
}
