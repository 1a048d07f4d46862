//! Many generations at once give what each gives alone, whatever the threads, the memory and the company.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;
mod generation;

use common::{Rewrite, argmax, golden, ids, reference, rewritten};
use generation::collect;
use slm_engine::{
    Adapters, Business, EmbedRequest, Engine, GenerateRequest, KvType, LoadOptions, Model,
    SamplingParams, StepResult, StopReason,
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
        max_tokens: Some(max_tokens),
        ..GenerateRequest::default()
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
        ..LoadOptions::default()
    };
    let engine = Engine::load(&path, &options).unwrap();
    std::fs::remove_file(&path).unwrap();
    // as little as one sequence takes
    engine.set_kv_limit(engine.memory().kv_bytes);
    let prompt: Vec<u32> = (0..8000).map(|i| 20 + i * 7 % 200).collect();
    let (tokens, _) = collect(engine.generate(request(prompt, 0, 5)).unwrap());
    assert!(!tokens.is_empty());
    let memory = engine.memory();
    assert!(
        memory.kv_bytes_in_use <= memory.kv_bytes_limit,
        "{memory:?}"
    );
}

/// Requests for vectors keep to the budget too: where there is none for all they wait.
#[test]
fn vectors_wait_for_memory() {
    const KEY: &str = "llama.context_length";
    let how = Rewrite {
        without_keys: vec![KEY],
        ..Rewrite::default()
    };
    let file = rewritten("llama", &how, |writer| {
        writer.put(KEY, 4096u32);
    });
    let path = std::env::temp_dir().join(format!("slm-vectors-{}.gguf", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let engine = Engine::load(&path, &LoadOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    // as much as one text takes
    engine.set_kv_limit(engine.memory().kv_bytes);
    let text = |seed: u32| -> Vec<u32> { (0..4000).map(|i| 20 + (i * 7 + seed) % 200).collect() };
    let replies: Vec<_> = (0..4)
        .map(|seed| {
            let request = EmbedRequest {
                texts: vec![text(seed)],
                dimensions: None,
                normalize: true,
                adapters: Adapters::default(),
            };
            engine.embed(request).unwrap()
        })
        .collect();
    let answer = engine.generate(request(text(5), 0, 5)).unwrap();
    let mut most = 0;
    while engine.business() != Business::default() {
        most = most.max(engine.memory().kv_bytes_in_use);
        std::thread::yield_now();
    }
    let limit = engine.memory().kv_bytes_limit;
    assert!(0 < most && most <= limit, "{most} of {limit}");
    assert!(!collect(answer).0.is_empty());
    for reply in replies {
        let embeddings = reply.blocking_recv().unwrap().unwrap();
        assert_eq!(embeddings.vectors.len(), 1);
    }
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

/// A budget that becomes smaller is kept at once, and answers are the same; what does not fit at all is refused.
#[test]
fn a_budget_may_change_while_answers_are_written() {
    let path = golden("llama.gguf");
    let options = LoadOptions {
        n_parallel: 8,
        context_length: Some(400),
        ..LoadOptions::default()
    };
    let long = |client: u32| {
        let prompt = (0..150).map(|i| 20 + (i * 13 + client * 17) % 200);
        request(prompt.collect(), u64::from(client), 150)
    };
    let run = |engine: &Engine, small: Option<u64>| -> Vec<Vec<u32>> {
        let running = (0..8).map(|client| engine.generate(long(client)).unwrap());
        let mut running: Vec<_> = running.collect();
        let first = running[0].blocking_recv().unwrap();
        let StepResult::Token { token: first, .. } = first else {
            panic!("{first:?}");
        };
        if let Some(small) = small {
            engine.set_kv_limit(small);
        }
        let mut answers: Vec<_> = running
            .into_iter()
            .map(|results| collect(results).0)
            .collect();
        answers[0].insert(0, first);
        answers
    };
    let engine = Engine::load(&path, &options).unwrap();
    let expected = run(&engine, None);
    let one = engine.memory().kv_bytes;
    let engine = Engine::load(&path, &options).unwrap();
    assert_eq!(run(&engine, Some(one)), expected);
    assert!(engine.memory().kv_bytes_in_use <= one);
    // an idle engine gives memory back without being asked for an answer
    engine.set_kv_limit(0);
    let began = std::time::Instant::now();
    while engine.memory().kv_bytes_in_use > 0 && began.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(engine.memory().kv_bytes_in_use, 0);
    let mut refused = engine.generate(long(0)).unwrap();
    let StepResult::Failed(why) = refused.blocking_recv().unwrap() else {
        panic!("there is no memory");
    };
    assert!(why.contains("0 MiB are set aside"), "{why}");
    engine.set_kv_limit(one);
    assert_eq!(collect(engine.generate(long(3)).unwrap()).0, expected[3]);
    comes_to_rest(&engine);
}

/// A budget that becomes smaller is kept by generations that wait for their clients, too.
#[test]
fn whoever_waits_for_a_client_makes_room() {
    let options = LoadOptions {
        n_parallel: 4,
        context_length: Some(500),
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let ask = |client: u32| {
        let prompt = (0..150).map(|i| 20 + (i * 13 + client * 17) % 200);
        let request = request(prompt.collect(), u64::from(client), 340);
        engine.generate(request).unwrap()
    };
    let answers = (0..60).map(|client| (client, collect(ask(client)).0));
    let long = answers.filter(|(_, answer)| answer.len() >= 300);
    let long: Vec<_> = long.take(3).collect();
    assert_eq!(long.len(), 3);
    let running: Vec<_> = long.iter().map(|(client, _)| ask(*client)).collect();
    let began = std::time::Instant::now();
    // as far as results are sent ahead
    while running.iter().any(|results| results.len() < 256) {
        assert!(began.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(engine.business().n_running, 3);
    let one = engine.memory().kv_bytes;
    engine.set_kv_limit(one);
    while engine.memory().kv_bytes_in_use > one {
        assert!(began.elapsed().as_secs() < 40, "{:?}", engine.memory());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for (results, (_, expected)) in running.into_iter().zip(long) {
        assert_eq!(collect(results).0, expected);
    }
}

/// No request that has ended keeps its place.
fn comes_to_rest(engine: &Engine) {
    let began = std::time::Instant::now();
    while engine.business() != Business::default() {
        assert!(began.elapsed().as_secs() < 20, "{:?}", engine.business());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whoever has the end of an answer finds its place free at once.
#[test]
fn an_answer_that_is_there_takes_up_no_place() {
    let options = LoadOptions {
        n_parallel: 1,
        max_queue: 1,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let ask = || engine.generate(request(vec![20, 31, 42], 0, 2));
    let mut running = ask().unwrap();
    for _ in 0..300 {
        let next = ask().unwrap();
        collect(std::mem::replace(&mut running, next));
    }
    collect(running);
    comes_to_rest(&engine);
}

/// One client with many requests, one with one: that one need not wait for the many.
#[test]
fn clients_take_turns() {
    let options = LoadOptions {
        n_parallel: 1,
        max_queue: 11,
        context_length: Some(500),
        ..LoadOptions::default()
    };
    let engine = Engine::load(&golden("llama.gguf"), &options).unwrap();
    let of = |client: &str, max_tokens| GenerateRequest {
        client: client.to_owned(),
        ignore_eos: true,
        ..request((20..60).collect(), 0, max_tokens)
    };
    // more than is sent ahead: whoever runs keeps the only place until somebody reads
    let first = engine.generate(of("many", 300)).unwrap();
    while engine.business().n_running == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut many: Vec<_> = (0..9)
        .map(|_| engine.generate(of("many", 300)).unwrap())
        .collect();
    let one = engine.generate(of("one", 100)).unwrap();
    let last = engine.generate(of("many", 300)).unwrap();
    let full = engine.generate(of("one", 100));
    assert!(full.is_err(), "twelve is what there is room for");
    assert_eq!(collect(first).0.len(), 300);
    // the next of theirs was there before the other client
    assert_eq!(collect(many.remove(0)).0.len(), 300);
    let began = std::time::Instant::now();
    while one.len() < 100 {
        assert!(began.elapsed().as_secs() < 60, "another had the place");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(collect(one).0.len(), 100);
    let waiting = engine.business().n_waiting;
    assert!((8..=9).contains(&waiting), "{waiting} still wait");
    for results in many.into_iter().chain([last]) {
        assert_eq!(collect(results).0.len(), 300);
    }
    comes_to_rest(&engine);
}

/// Where the context is full, the model goes on from its first tokens and the later half of the others, as if the text
/// had been that from the beginning.
#[test]
fn a_full_context_makes_room_where_that_is_asked_for() {
    for name in ["llama", "lfm2", "gemma3"] {
        let engine =
            Engine::load(&golden(&format!("{name}.gguf")), &LoadOptions::default()).unwrap();
        let prompt: Vec<u32> = (0..40).map(|i| 20 + i * 11 % 200).collect();
        let within = |prompt: &[u32], max_tokens, shift_after| GenerateRequest {
            context_length: 64,
            shift_after,
            ..request(prompt.to_vec(), 0, max_tokens)
        };
        let (until_full, finish) = collect(engine.generate(within(&prompt, 60, None)).unwrap());
        if finish.reason == StopReason::Stop {
            continue;
        }
        assert_eq!(until_full.len(), 24, "{name}");
        let (shifted, finish) = collect(engine.generate(within(&prompt, 40, Some(10))).unwrap());
        assert_eq!(shifted[..24], until_full[..], "{name}");
        assert_eq!(finish.stats.n_shifted_tokens, 27, "{name}");
        let text = [&prompt[..], &until_full].concat();
        let rest = [&text[..10], &text[37..]].concat();
        let (anew, _) = collect(engine.generate(within(&rest, 16, None)).unwrap());
        assert_eq!(shifted[24..], anew[..], "{name}");
    }
}

#[test]
fn an_answer_may_go_on_past_its_end() {
    let engine = Engine::load(&golden("mistral.gguf"), &LoadOptions::default()).unwrap();
    let lengths = |ignore_eos| -> Vec<usize> {
        let answers = (0..40).map(|seed| {
            let mut request = request(vec![20, 30 + seed as u32], seed, 120);
            request.sampling.temperature = 3.0;
            request.ignore_eos = ignore_eos;
            engine.generate(request).unwrap()
        });
        let answers: Vec<_> = answers.collect();
        answers
            .into_iter()
            .map(|answer| collect(answer).0.len())
            .collect()
    };
    assert!(
        lengths(false).iter().any(|n| *n < 120),
        "no answer ends: the test shows nothing"
    );
    assert!(lengths(true).iter().all(|n| *n == 120));
}
