//! Whatever the weights say: a constrained answer that has ended is what its grammar describes, and guesses, company,
//! threads and memory change nothing.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;
mod schemas;

use common::golden;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use slm_engine::{
    Constraint, Engine, GenerateRequest, Grammar, LoadOptions, SamplingParams, Stats, StepResult,
    StopReason, Thoughts,
};
use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::Receiver;

/// A generation's text, how it ended, and its tokens.
struct Answer {
    text: String,
    reason: StopReason,
    tokens: Vec<u32>,
    stats: Stats,
}

fn answer(mut results: Receiver<StepResult>) -> Answer {
    let (mut text, mut tokens) = (String::new(), vec![]);
    loop {
        match results.blocking_recv().unwrap() {
            StepResult::Prompt(_) => {}
            StepResult::Token {
                token, text: more, ..
            } => {
                tokens.push(token);
                text += &more;
            }
            StepResult::Finished(finish) => {
                return Answer {
                    text: text + &finish.text,
                    reason: finish.reason,
                    tokens,
                    stats: finish.stats,
                };
            }
            StepResult::Failed(why) => panic!("{why} after {text:?}"),
        }
    }
}

fn load(model: &str, change: impl FnOnce(&mut LoadOptions)) -> Engine {
    let mut options = LoadOptions {
        n_threads: Some(1),
        max_queue: 2000,
        ..LoadOptions::default()
    };
    change(&mut options);
    Engine::load(&golden(&format!("{model}.gguf")), &options).unwrap()
}

/// Nearly every token is as likely as every other.
fn hot(constraint: Constraint, seed: u64, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: (0..6)
            .map(|i| 20 + ((seed as u32 + i) * 31) % 200)
            .collect(),
        sampling: SamplingParams {
            temperature: 3.0,
            top_k: 0,
            top_p: 1.0,
            seed: Some(seed),
            ..SamplingParams::default()
        },
        constraint: Some(constraint),
        max_tokens: Some(max_tokens),
        ..GenerateRequest::default()
    }
}

const TIME: &str =
    r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)";

fn matches(regex: &str, text: &str) -> bool {
    fancy_regex::Regex::new(regex)
        .unwrap()
        .is_match(text)
        .unwrap()
}

#[track_caller]
fn validates(schema: &Value, text: &str) {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        panic!("{error}: {text:?} of {schema}");
    }
    // what is JSON may hold numbers that no double holds: those are not for this validator
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return assert!(error.to_string().contains("number out of range"), "{error}"),
    };
    let validator = jsonschema::options()
        .should_validate_formats(true)
        // how long the parts of an address may be, and when seconds leap, is not the form's to say
        .with_format("email", |text| matches(r"^[^@\s]+@[^@\s]+$", text))
        .with_format("time", |text| matches(&format!("^{TIME}$"), text))
        .with_format("date-time", |text| {
            matches(&format!(r"^\d{{4}}-\d\d-\d\d[Tt]{TIME}$"), text)
        })
        .build(schema)
        .unwrap();
    if let Err(error) = validator.validate(&value) {
        panic!("{error}: {text} of {schema}");
    }
}

#[test]
fn a_thousand_schemas_are_kept_by_random_weights() {
    let mut n_ended = 0;
    for (model, seeds) in [
        ("llama", 0..400),
        ("mistral", 400..700),
        ("gemma3", 700..1000),
    ] {
        let engine = load(model, |_| {});
        let running: Vec<_> = seeds
            .map(|seed| {
                let schema = schemas::schema(seed);
                let grammar = Grammar::JsonSchema(schema.clone());
                let constraint = engine.constrain(&grammar, None);
                let constraint = constraint.unwrap_or_else(|error| panic!("{error}: {schema}"));
                let request = hot(constraint, seed, 400);
                (schema, engine.generate(request).unwrap())
            })
            .collect();
        for (schema, results) in running {
            let answer = answer(results);
            if answer.reason == StopReason::Stop {
                n_ended += 1;
                validates(&schema, &answer.text);
            }
        }
    }
    println!("{n_ended} of 1000 answers ended");
    assert!(n_ended > 800, "{n_ended} ended");
}

#[test]
fn json_mode_gives_objects_whatever_the_vocabulary() {
    for model in [
        "llama", "mistral", "qwen2", "gemma3", "gemma4", "phi3", "lfm2",
    ] {
        let engine = load(model, |_| {});
        let constraint = engine.constrain(&Grammar::Json, None).unwrap();
        let running: Vec<_> = (0..40)
            .map(|seed| engine.generate(hot(constraint.clone(), seed, 200)).unwrap())
            .collect();
        let mut n_ended = 0;
        for results in running {
            let answer = answer(results);
            assert!(answer.text.starts_with('{'), "{model}: {:?}", answer.text);
            if answer.reason == StopReason::Stop {
                n_ended += 1;
                validates(&json!({"type": "object"}), &answer.text);
            }
        }
        println!("{model}: {n_ended} of 40 ended");
        assert!(n_ended > 4, "{model}: {n_ended}");
    }
}

#[test]
fn an_answer_in_json_is_not_filled_with_line_breaks() {
    let engine = load("llama", |_| {});
    let schema = json!({"type": "array", "minItems": 3, "maxItems": 3, "items": {"enum": [4, 5]}});
    for grammar in [Grammar::Json, Grammar::JsonSchema(schema)] {
        let constraint = engine.constrain(&grammar, None).unwrap();
        let mut request = hot(constraint, 1, 200);
        let tokenizer = engine.tokenizer();
        // whatever is allowed, a token with a line break is what the model would rather have
        let breaks = (0..tokenizer.vocab_size() as u32).filter(|&id| {
            let bytes = tokenizer.token_bytes(id);
            !bytes.is_empty() && bytes.iter().all(|&b| matches!(b, b'\n' | b'\r'))
        });
        request.sampling.logit_bias = breaks.map(|id| (id, 100.0)).collect();
        assert!(!request.sampling.logit_bias.is_empty());
        let text = answer(engine.generate(request).unwrap()).text;
        let n_breaks = text.split(|c| c != '\n').map(str::len).max().unwrap();
        assert_eq!(n_breaks, 2, "{text:?}");
    }
}

#[test]
fn other_grammars_are_kept_too() {
    let engine = load("mistral", |_| {});
    let ask = |grammar: Grammar, seed| {
        let constraint = engine.constrain(&grammar, None).unwrap();
        answer(engine.generate(hot(constraint, seed, 100)).unwrap())
    };
    let regex = fancy_regex::Regex::new("^ ?[ab]{2,5}(, [0-9]+)?!$").unwrap();
    for seed in 0..20 {
        // the space in front is the grammar's, although this vocabulary puts one before every text
        let matched = ask(
            Grammar::Regex(" [ab]{2,5}(, [0-9]{1,3})?!".to_owned()),
            seed,
        );
        assert_eq!(matched.reason, StopReason::Stop, "{:?}", matched.text);
        assert!(matched.text.starts_with(' '), "{:?}", matched.text);
        assert!(regex.is_match(&matched.text).unwrap(), "{:?}", matched.text);
        let lark = "start: \"(\" word (\",\" word)* \")\"\nword: /[a-c]{1,2}/";
        let nested = ask(Grammar::Lark(lark.to_owned()), seed);
        if nested.reason == StopReason::Stop {
            let inside = nested.text.strip_prefix('(').unwrap();
            let words = inside.strip_suffix(')').unwrap().split(',');
            for word in words {
                assert!((1..3).contains(&word.len()), "{:?}", nested.text);
                assert!(
                    word.bytes().all(|b| (b'a'..=b'c').contains(&b)),
                    "{:?}",
                    nested.text
                );
            }
        }
    }
    // a stop text is not looked for: it would cut the form
    let constraint = engine
        .constrain(&Grammar::Regex("a{3}".to_owned()), None)
        .unwrap();
    let request = GenerateRequest {
        stop: vec!["aa".to_owned()],
        ..hot(constraint, 1, 50)
    };
    assert_eq!(answer(engine.generate(request).unwrap()).text, "aaa");
}

#[test]
fn guesses_company_threads_and_memory_change_no_constrained_answer() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["list"],
        "properties": {"list": {"type": "array", "maxItems": 30, "items": {"enum": ["alpha", "beta", 12345]}}}
    });
    let grammar = Grammar::JsonSchema(schema.clone());
    let ask = |engine: &Engine| -> (Vec<Vec<u32>>, usize) {
        let constraint = engine.constrain(&grammar, None).unwrap();
        let running: Vec<_> = (0..8)
            .map(|seed| {
                let mut request = hot(constraint.clone(), seed, 150);
                if seed % 2 == 0 {
                    request.sampling.temperature = 0.0;
                }
                engine.generate(request).unwrap()
            })
            .collect();
        let answers: Vec<Answer> = running.into_iter().map(answer).collect();
        for answer in &answers {
            if answer.reason == StopReason::Stop {
                validates(&schema, &answer.text);
            }
        }
        let n_right = answers.iter().map(|answer| answer.stats.n_drafted_right);
        let n_right = n_right.sum();
        (
            answers.into_iter().map(|answer| answer.tokens).collect(),
            n_right,
        )
    };
    for model in ["qwen3", "lfm2"] {
        let (expected, n_right) = ask(&load(model, |options| options.n_parallel = 1));
        assert!(
            n_right > 0 || model == "lfm2",
            "no guess was right: the test shows nothing"
        );
        let of_one = load(model, |_| {}).footprint().kv_bytes(160);
        for (n_parallel, n_threads, is_short) in [(8, 1, false), (3, 2, false), (8, 1, true)] {
            let engine = load(model, |options| {
                options.n_parallel = n_parallel;
                options.n_threads = Some(n_threads);
                options.kv_bytes = is_short.then_some(2 * of_one);
            });
            assert_eq!(
                ask(&engine).0,
                expected,
                "{model}: {n_parallel}, {n_threads}, {is_short}"
            );
        }
        if model == "qwen3" {
            let engine = load(model, |options| options.draft = Some(golden("qwen2.gguf")));
            assert_eq!(ask(&engine).0, expected, "with a model that guesses");
        }
    }
}

#[test]
fn the_form_begins_where_thoughts_end() {
    let mut n_opened = 0;
    for model in ["llama", "mistral"] {
        let engine = load(model, |_| {});
        let grammar = Grammar::Regex("[0-9]{3}".to_owned());
        let ask = |thoughts: Thoughts, seed| {
            let constraint = engine.constrain(&grammar, Some(thoughts)).unwrap();
            answer(engine.generate(hot(constraint, seed, 350)).unwrap())
        };
        let digits = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        let (mut n_ended, mut n_at_once, mut n_thought) = (0, 0, 0);
        for seed in 0..200 {
            // in the prompt already: free up to an `e`, then up to a `t`
            let thoughts = Thoughts {
                opens: None,
                closes: vec!["e".to_owned(), "t".to_owned()],
                may_end: false,
                from_start: None,
            };
            let Answer { text, reason, .. } = ask(thoughts, seed);
            if reason == StopReason::Stop {
                n_ended += 1;
                let (_, rest) = text.split_once('e').unwrap();
                let (_, form) = rest.split_once('t').unwrap();
                assert!(digits(form.trim_start()), "{model}: {text:?}");
            }
            // by the model, which may begin with the form as well: until its second character nothing tells them apart
            let opens = ["x", "1x"][seed as usize % 2];
            let thoughts = Thoughts {
                opens: Some(opens.to_owned()),
                closes: vec!["e".to_owned()],
                may_end: false,
                from_start: None,
            };
            let Answer { text, reason, .. } = ask(thoughts, seed);
            if reason == StopReason::Stop {
                match text.strip_prefix(opens) {
                    Some(rest) => {
                        n_thought += 1;
                        let (_, form) = rest.split_once('e').unwrap();
                        assert!(digits(form.trim_start()), "{model}: {text:?}");
                    }
                    None => {
                        n_at_once += 1;
                        assert!(digits(&text), "{model}: {text:?}");
                    }
                }
            }
        }
        println!("{model}: {n_ended} ended, {n_thought} thought, {n_at_once} did not");
        assert!(n_ended > 10 && n_at_once > 5, "{model}");
        n_opened += n_thought;
    }
    assert!(n_opened > 0, "no model opened thoughts");
}

/// A grammar as llama.cpp takes it: recursion, lists, classes, counts, and characters beyond ASCII.
const GBNF: &str = r#"
root  ::= (name "=" gap value ";\n"){1,3} # no more than three
value ::= term ([-+*/] gap term){0,3}
term  ::= name gap | number gap | "(" gap value ")" gap | "« " [^»;]{0,5} " »"
name  ::= [a-zäöü_] [a-z0-9_äöü]{0,6}
number ::= "0" | [1-9] [0-9]{0,3} ("." [0-9]{1,2})?
gap   ::= " "?
"#;

fn after<'t>(regex: &str, text: &'t str) -> Option<&'t str> {
    let regex = fancy_regex::Regex::new(&format!("\\A(?:{regex})")).unwrap();
    Some(&text[regex.find(text).unwrap()?.end()..])
}

/// Reads what the grammar's rule `value` describes; gives what is left.
fn value(text: &str) -> Option<&str> {
    const TERM: &str =
        "(?:[a-zäöü_][a-z0-9_äöü]{0,6}|0|[1-9][0-9]{0,3}(?:\\.[0-9]{1,2})?) ?|« [^»;]{0,5} »";
    let mut rest = text;
    for _ in 0..4 {
        rest = match after("\\( ?", rest) {
            Some(inner) => after("\\) ?", value(inner)?)?,
            None => after(TERM, rest)?,
        };
        let Some(operand) = after("[-+*/] ?", rest) else {
            return Some(rest);
        };
        rest = operand;
    }
    None
}

#[test]
fn grammars_of_llama_cpp_are_kept() {
    let is_line =
        |line: &str| after("[a-zäöü_][a-z0-9_äöü]{0,6}= ?", line).and_then(value) == Some("");
    assert!(is_line("x_1= (ü + 1.5)*« a\n »") && !is_line("x=(a") && !is_line("1=a"));
    let mut n_ended = 0;
    for model in ["llama", "mistral", "gemma3", "qwen2"] {
        let engine = load(model, |_| {});
        for seed in 0..8 {
            let constraint = engine.constrain(&Grammar::of_text(GBNF.to_owned()), None);
            let answer = answer(
                engine
                    .generate(hot(constraint.unwrap(), seed, 200))
                    .unwrap(),
            );
            if answer.reason != StopReason::Stop {
                continue;
            }
            n_ended += 1;
            let lines = answer.text.strip_suffix(";\n").unwrap().split(";\n");
            assert!(
                (1..=3).contains(&lines.clone().count()),
                "{:?}",
                answer.text
            );
            for line in lines {
                assert!(is_line(line), "{model} {seed}: {:?}", answer.text);
            }
        }
    }
    assert!(n_ended > 8, "{n_ended} of 32 answers have ended");
    let engine = load("llama", |_| {});
    let why = engine.constrain(&Grammar::Gbnf("root ::= x".to_owned()), None);
    let why = why.unwrap_err().to_string();
    assert_eq!(why, "line 1, column 10: there is no rule `x`");
}

#[test]
fn what_cannot_be_enforced_is_refused_with_a_reason() {
    let engine = load("llama", |_| {});
    let why = |grammar| engine.constrain(&grammar, None).unwrap_err().to_string();
    let of_schema = |schema| why(Grammar::JsonSchema(schema));
    assert!(of_schema(json!({"type": "nonsense"})).contains("nonsense"));
    assert!(of_schema(json!({"type": "object", "not": {}})).contains("not"));
    assert!(of_schema(json!({"$ref": "#/$defs/none"})).contains("none"));
    assert!(of_schema(json!({"$ref": "http://example.com/s.json"})).contains("example.com"));
    assert_eq!(
        of_schema(json!([1])),
        "a JSON schema is an object, `true` or `false`"
    );
    assert!(!of_schema(json!(false)).is_empty());
    assert!(!why(Grammar::Regex("[a-".to_owned())).is_empty());
    assert!(!why(Grammar::Lark("start: nowhere".to_owned())).is_empty());
}

/// Each is refused, or small after all; none takes long or much memory.
#[test]
fn hostile_grammars_end() {
    let engine = load("llama", |_| {});
    let nested = |levels: usize| {
        let mut schema = json!({"type": "null"});
        for _ in 0..levels {
            schema = json!({"type": "array", "items": schema});
        }
        schema
    };
    let options = |n: usize| -> Vec<Value> {
        let option =
            |i| json!({"type": "object", "properties": {format!("p{i}"): {"type": "string"}}});
        (0..n).map(option).collect()
    };
    let mut doubling = json!({"d0": {"type": "string"}});
    for i in 1..40 {
        let before = format!("#/$defs/d{}", i - 1);
        doubling[format!("d{i}")] =
            json!({"allOf": [{"$ref": before}, {"anyOf": [{"$ref": before}, {"type": "null"}]}]});
    }
    let mut large = json!({});
    for i in 0..5000 {
        large[format!("key{i}")] = json!({"type": "integer", "minimum": i, "maximum": 10 * i + 7});
    }
    let schemas = [
        nested(60),
        nested(100),
        json!({"allOf": vec![json!({"anyOf": options(30)}); 12]}),
        json!({"$defs": doubling, "$ref": "#/$defs/d39"}),
        json!({"type": "object", "properties": large, "additionalProperties": false}),
        json!({"enum": (0..19_000).map(|i| format!("choice {i} {}", i * 7919)).collect::<Vec<_>>()}),
        json!({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}),
        json!({"type": "string", "pattern": "^(.*a){40}.{200}$"}),
        json!({"type": "string", "minLength": 100_000, "maxLength": 10_000_000}),
        json!({"type": "array", "minItems": 1_000_000, "maxItems": 100_000_000}),
        json!({"type": "integer", "multipleOf": 99_999_989, "minimum": 3, "maximum": 999_999_999_999_i64}),
        json!({"type": "number", "multipleOf": 1e-300}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"x-guidance": {"whitespace_pattern": "((a*)*)*"}, "type": "object"}),
    ];
    let schemas = schemas.into_iter().map(Grammar::JsonSchema);
    let texts = [
        Grammar::Regex("(x+x+)+y".repeat(200)),
        Grammar::Regex("a".repeat(100_000)),
        Grammar::Lark("start: start start | \"a\" | \"\"".to_owned()),
        Grammar::Lark(format!(
            "start: {}\"a\"{}",
            "(".repeat(5000),
            ")".repeat(5000)
        )),
    ];
    for (i, grammar) in schemas.chain(texts).enumerate() {
        let started = Instant::now();
        let mut what = match engine.constrain(&grammar, None) {
            Err(error) => error.to_string(),
            Ok(constraint) => {
                let mut results = engine.generate(hot(constraint, 1, 40)).unwrap();
                let mut what = "taken".to_owned();
                while let Some(result) = results.blocking_recv() {
                    if let StepResult::Failed(why) = result {
                        let _ = write!(what, ", failed: {why}");
                    }
                }
                what
            }
        };
        what.truncate(120);
        println!("{i}: {:?} {what}", started.elapsed());
    }
    assert!(engine.is_running());
}

/// `SLM_MODEL=FILE cargo test --release -p slm-engine --test constraint speed -- --ignored --nocapture`: what masks cost.
#[test]
#[ignore = "measures"]
fn speed() {
    let file = PathBuf::from(std::env::var_os("SLM_MODEL").unwrap());
    let options = LoadOptions {
        context_length: Some(1024),
        n_parallel: 1,
        ..LoadOptions::default()
    };
    let engine = Engine::load(&file, &options).unwrap();
    let started = Instant::now();
    engine.constrain(&Grammar::Json, None).unwrap();
    println!("first constraint: {:?}", started.elapsed());
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "tags", "people"],
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 40}},
            "people": {"type": "array", "items": {"type": "object", "required": ["mail", "age"],
                "properties": {"mail": {"type": "string", "format": "email"}, "age": {"type": "integer"}}}}
        }
    });
    for (name, grammar) in [
        ("json", Grammar::Json),
        ("schema", Grammar::JsonSchema(schema)),
    ] {
        let started = Instant::now();
        let constraint = engine.constrain(&grammar, None).unwrap();
        let compiled = started.elapsed();
        let (mut n, mut masks) = (0, Duration::ZERO);
        for seed in 0..3 {
            let mut request = hot(constraint.clone(), seed, 150);
            request.sampling.temperature = 1.0;
            let answer = answer(engine.generate(request).unwrap());
            n += answer.stats.n_generated_tokens;
            masks += answer.stats.constraining;
        }
        println!(
            "{name}: compiled in {compiled:?}, {n} tokens, {:?} for each",
            masks / n as u32
        );
    }
}
