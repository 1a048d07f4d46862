//! Ids held against the reference's (`tests/data/golden/tokenizers/README.md` says whose), then rules on small made-up
//! vocabularies.
use super::vocabulary::{SpecialRules, Vocabulary};
use super::*;
use flate2::read::GzDecoder;
use slm_gguf::Gguf;
use std::io::Read;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/golden/tokenizers")
        .join(name)
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn load(path: &Path) -> Tokenizer {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let packed = std::mem::take(&mut bytes);
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
    }
    Tokenizer::from_metadata(Gguf::parse(&bytes).unwrap().metadata()).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Checks every case of `NAME.json`; `composed`: the tokenizer composes text, which the reference does not.
fn check_oracle(tokenizer: &Tokenizer, cases: &serde_json::Value, composed: bool) {
    use unicode_normalization::{UnicodeNormalization, is_nfc};
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let text = case[0].as_str().unwrap();
        if composed && !is_nfc(text) {
            let composed: String = text.nfc().collect();
            assert_eq!(
                tokenizer.encode(text, Special::Ignore),
                tokenizer.encode(&composed, Special::Ignore)
            );
            continue;
        }
        let plain = tokenizer.encode(text, Special::Ignore);
        assert_eq!(plain, ids(&case[1]), "{text:?} as plain text");
        let bos = tokenizer.bos.filter(|_| tokenizer.add_bos);
        let special = tokenizer.encode(text, Special::Recognise);
        let special: Vec<_> = bos.into_iter().chain(special).collect();
        assert_eq!(special, ids(&case[2]), "{text:?} as a prompt");
        assert_eq!(tokenizer.decode(&plain, Special::Ignore), text);
    }
}

#[test]
fn llama_ids_are_the_references() {
    let tokenizer = load(&golden("llama-spm.gguf.gz"));
    assert_eq!(tokenizer.vocab_size(), 32_000);
    check_oracle(&tokenizer, &json("llama-spm.json"), false);
}

#[test]
fn qwen2_ids_are_the_references() {
    let tokenizer = load(&golden("qwen2.gguf.gz"));
    assert_eq!(tokenizer.vocab_size(), 151_936);
    check_oracle(&tokenizer, &json("qwen2.json"), true);
}

/// Cleaning loses what cannot come back, so that only ids are compared.
#[test]
fn bert_ids_are_the_references() {
    let tokenizer = load(&golden("bert-bge.gguf.gz"));
    assert_eq!(tokenizer.vocab_size(), 30_522);
    let cases = json("bert-bge.json");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let text = case[0].as_str().unwrap();
        let plain = tokenizer.encode(text, Special::Ignore);
        assert_eq!(plain, ids(&case[1]), "{text:?} as plain text");
        let prompt = tokenizer.encode_prompt(text);
        assert_eq!(prompt, ids(&case[2]), "{text:?} as a prompt");
    }
    let text = "Größe, naïve\tstates!";
    let encoded = tokenizer.encode(text, Special::Ignore);
    assert_eq!(
        tokenizer.decode(&encoded, Special::Ignore),
        "große , naive states !"
    );
}

#[test]
fn qwen2_composes_accents() {
    let tokenizer = load(&golden("qwen2.gguf.gz"));
    let composed = tokenizer.encode("café vs café", Special::Ignore);
    assert_eq!(composed, [924, 58858, 6165, 51950]);
    assert_eq!(
        tokenizer.encode("cafe\u{301} vs café", Special::Ignore),
        composed
    );
}

#[test]
fn tiny_models_prompts_are_the_references() {
    let cases = json("tiny.json");
    let cases = cases.as_object().unwrap();
    assert!(cases.len() >= 12);
    for (name, case) in cases {
        let tokenizer = load(&golden(&format!("tiny-{name}.gguf.gz")));
        let text = case["text"].as_str().unwrap();
        let encoded = tokenizer.encode_prompt(text);
        assert_eq!(encoded, ids(&case["tokens"]), "{name}");
        assert_eq!(tokenizer.decode(&encoded, Special::Ignore), text, "{name}");
    }
}

const MULTILINGUAL: &str = "Größe über alles: L'été à Paris — 中文也有一点：你好，世界。日本語のテキスト 한국어 \
    Привет, мир! Ёлка مرحبا بالعالم नमस्ते สวัสดี 😀🚀👨\u{200d}👩\u{200d}👧 🇩🇪 \u{0}\u{7f}\r\n\t  x = 12345.678;\u{a0}½\n\n";

#[test]
fn every_text_comes_back() {
    for name in [
        "qwen2",
        "llama-spm",
        "tiny-phi3",
        "tiny-granite",
        "tiny-smollm3",
        "tiny-gemma3",
        "tiny-gemma4",
    ] {
        let tokenizer = load(&golden(&format!("{name}.gguf.gz")));
        for text in [
            MULTILINGUAL,
            " leading",
            "  two",
            "trailing ",
            "\n",
            " ",
            "",
        ] {
            let encoded = tokenizer.encode(text, Special::Ignore);
            assert_eq!(tokenizer.decode(&encoded, Special::Ignore), text, "{name}");
            let pieces: Vec<u8> = encoded
                .iter()
                .flat_map(|&id| tokenizer.token_bytes(id).into_owned())
                .collect();
            let prefix = if tokenizer.adds_space_prefix() && !text.is_empty() {
                " "
            } else {
                ""
            };
            assert_eq!(pieces, format!("{prefix}{text}").into_bytes(), "{name}");
        }
    }
}

#[test]
fn a_megabyte_of_one_letter_is_no_trouble() {
    for name in ["qwen2", "llama-spm"] {
        let tokenizer = load(&golden(&format!("{name}.gguf.gz")));
        for unit in ["a", "中", " ", "\n", "a1"] {
            let text = unit.repeat((1 << 20) / unit.len());
            let encoded = tokenizer.encode(&text, Special::Recognise);
            assert_eq!(tokenizer.decode(&encoded, Special::Recognise), text);
        }
    }
}

/// By hand: `SLM_TEST_SMOLLM2` names the real model's file, `SLM_TEST_SMOLLM2_PROMPTS` a JSON list of objects with
/// `prompt` and `prompt_tokens` to hold it against.
#[test]
#[ignore = "needs SLM_TEST_SMOLLM2 and SLM_TEST_SMOLLM2_PROMPTS; the end-to-end tests compare the same ids"]
fn real_smollm2_gives_the_references_ids() {
    let path = std::env::var_os("SLM_TEST_SMOLLM2").expect("SLM_TEST_SMOLLM2 is set");
    let tokenizer = load(Path::new(&path));
    let known = [504, 3575, 282, 4649, 314];
    assert_eq!(tokenizer.encode_prompt("The capital of France is"), known);
    assert_eq!(tokenizer.decode(&[7042, 30], Special::Ignore), " Paris.");
    assert!(tokenizer.is_end_of_generation(2) && !tokenizer.is_end_of_generation(1));
    let prompts =
        std::env::var_os("SLM_TEST_SMOLLM2_PROMPTS").expect("SLM_TEST_SMOLLM2_PROMPTS is set");
    let prompts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(prompts).unwrap()).unwrap();
    for case in prompts.as_array().unwrap() {
        let text = case["prompt"].as_str().unwrap();
        assert_eq!(
            tokenizer.encode_prompt(text),
            ids(&case["prompt_tokens"]),
            "{text:?}"
        );
    }
}

/// By hand: `SLM_TEST_VOCABULARIES` names a folder with whole packed vocabularies. Prints how long things take.
#[test]
#[ignore = "needs SLM_TEST_VOCABULARIES"]
fn whole_vocabularies_load_and_encode_fast() {
    let folder = std::env::var_os("SLM_TEST_VOCABULARIES").expect("SLM_TEST_VOCABULARIES is set");
    let texts = json("qwen2.json");
    let longest = texts
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case[0].as_str().unwrap());
    let text = longest.max_by_key(|text| text.len()).unwrap().repeat(400);
    for name in ["qwen2", "llama-spm"] {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(Path::new(&folder).join(format!("{name}.gguf.gz"))).unwrap();
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let file = Gguf::parse(&bytes).unwrap();
        let start = std::time::Instant::now();
        let tokenizer = Tokenizer::from_metadata(file.metadata()).unwrap();
        let loaded = start.elapsed();
        check_oracle(&tokenizer, &json(&format!("{name}.json")), name == "qwen2");
        let speed = |text: &str| {
            let start = std::time::Instant::now();
            let n_tokens = tokenizer.encode(text, Special::Recognise).len();
            assert!(n_tokens > 0);
            text.len() as f64 / start.elapsed().as_secs_f64() / 1e6
        };
        let no_repeats: String = text
            .chars()
            .take(200_000)
            .enumerate()
            .map(|(i, c)| {
                if c == ' ' {
                    char::from(b'a' + (i * 7 % 26) as u8)
                } else {
                    c
                }
            })
            .collect();
        println!(
            "{name}: load {loaded:?}, text {:.1} MB/s, once through {:.1}, short {:.1}, spaceless {:.1}, letters {:.1}",
            speed(&text),
            speed(&text[..text.len() / 400]),
            speed("The old man counted twelve boats in the harbour."),
            speed(&no_repeats),
            speed(&"a".repeat(1 << 20)),
        );
    }
}

/// By hand: `SLM_TEST_GGML_VOCABULARIES` names the folder of llama.cpp's `models/ggml-vocab-*.gguf` with their `.inp` and
/// `.out`. Where a vocabulary composes text and llama.cpp does not, texts that are not composed are left out. Prints how
/// long loading takes, and a megabyte of text.
#[test]
#[ignore = "needs SLM_TEST_GGML_VOCABULARIES"]
fn whole_vocabularies_give_the_references_ids() {
    use unicode_normalization::is_nfc;
    let folder = std::env::var_os("SLM_TEST_GGML_VOCABULARIES").expect("it is set");
    let (mut n_vocabularies, mut n_wrong) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let beside = |suffix| std::fs::read_to_string(format!("{}.{suffix}", path.display()));
        let (Ok(input), Ok(output)) = (beside("inp"), beside("out")) else {
            continue;
        };
        n_vocabularies += 1;
        let file = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&file).unwrap();
        let start = std::time::Instant::now();
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        let loaded = start.elapsed();
        let text = input.repeat((1 << 20) / input.len() + 1);
        let start = std::time::Instant::now();
        let n_tokens = tokenizer.encode(&text, Special::Ignore).len();
        let encoded = start.elapsed();
        println!(
            "{}: {loaded:?}, {n_tokens} tokens in {encoded:?}",
            path.display()
        );
        let texts = input.split("\n__ggml_vocab_test__\n");
        for (text, line) in texts.zip(output.lines()) {
            let words = line.split_whitespace();
            let expected: Vec<TokenId> = words.map(|id| id.parse().unwrap()).collect();
            let got = tokenizer.encode(text, Special::Ignore);
            if got != expected && is_nfc(text) {
                n_wrong += 1;
                println!("{text:?}: {got:?} instead of {expected:?}");
            }
        }
    }
    assert!(n_vocabularies > 0 && n_wrong == 0);
}

/// A small SentencePiece vocabulary: `<unk> <s> </s>`, all bytes, then `pieces` with falling scores.
fn sentence_piece<'a>(pieces: &[&'a str], byte_texts: &'a [String]) -> (Vocabulary<'a>, Vec<i64>) {
    let mut vocabulary = Vocabulary {
        model: "llama",
        ..Vocabulary::default()
    };
    let mut types = vec![2, 3, 3];
    vocabulary
        .tokens
        .extend([b"<unk>".as_slice(), b"<s>", b"</s>"]);
    vocabulary
        .tokens
        .extend(byte_texts.iter().map(|text| text.as_bytes()));
    types.resize(vocabulary.tokens.len(), 6);
    vocabulary
        .tokens
        .extend(pieces.iter().map(|piece| piece.as_bytes()));
    types.resize(vocabulary.tokens.len(), 1);
    vocabulary.scores = (0..types.len()).map(|id| -(id as f32)).collect();
    (vocabulary, types)
}

fn byte_texts() -> Vec<String> {
    (0..256).map(|byte| format!("<0x{byte:02X}>")).collect()
}

#[test]
fn sentence_piece_prefix_and_fall_back() {
    let texts = byte_texts();
    let (mut vocabulary, types) = sentence_piece(&["▁", "a", "▁a", "ab", "▁ab"], &texts);
    vocabulary.settle(&types).unwrap();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let (space, a, space_a, space_ab) = (259, 260, 261, 263);
    let encode = |text: &str| tokenizer.encode(text, Special::Recognise);
    assert_eq!(encode("ab"), [space_ab], "joined by text: `b` is no piece");
    assert_eq!(encode("b"), [space, 3 + u32::from(b'b')]);
    assert_eq!(encode("a a"), [space_a, space_a]);
    assert_eq!(
        encode("a<s>a"),
        [space_a, 1, space_a],
        "a prefix after a special token"
    );
    assert_eq!(encode("a▁a"), encode("a a"));
    assert_eq!(encode("é"), [space, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(tokenizer.encode_prompt("<s>a"), [1, space_a]);
    assert_eq!(tokenizer.encode_prompt("a"), [1, space_a]);
    assert_eq!(
        tokenizer.decode(&[1, space_a, space_ab, a, 2], Special::Ignore),
        "a aba"
    );
    assert_eq!(tokenizer.decode(&[space_a, 2], Special::Recognise), "a</s>");
    vocabulary.rules.add_space_prefix = Some(false);
    let bare = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(bare.encode("a a", Special::Ignore), [a, space_a]);
    assert_eq!(bare.decode(&[space_a], Special::Ignore), " a");
}

#[test]
fn pieces_across_words_are_found_where_a_vocabulary_has_them() {
    let texts = byte_texts();
    for (pieces, expected) in [
        (vec!["a▁b", "a▁", "a", "b", "▁"], vec![263, 259]), // ▁ a▁b
        (vec!["▁b", "▁a", "a", "b", "▁"], vec![260, 259]),
    ] {
        let (mut vocabulary, types) = sentence_piece(&pieces, &texts);
        vocabulary.settle(&types).unwrap();
        let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
        assert_eq!(tokenizer.encode("a b", Special::Ignore), expected);
    }
}

#[test]
fn control_and_unused_texts_are_not_reached_by_joining() {
    let texts = byte_texts();
    let (mut vocabulary, mut types) = sentence_piece(&["a", "b", "ab", "ba"], &texts);
    types[261] = 3;
    types[262] = 5;
    vocabulary.settle(&types).unwrap();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let space = 3 + u32::from(b' ');
    assert_eq!(
        tokenizer.encode("aba", Special::Ignore),
        [space, 259, 260, 259]
    );
    assert_eq!(
        tokenizer.encode("aba", Special::Recognise),
        [261, space, 259]
    );
}

/// A byte-level vocabulary: the bytes `a`, `b`, `c`, then `tokens`.
fn bpe<'a>(
    tokens: &[(&'a str, i64)],
    merges: &[&'a str],
    pre: &'a str,
) -> (Vocabulary<'a>, Vec<i64>) {
    let all = [("a", 1), ("b", 1), ("c", 1)]
        .into_iter()
        .chain(tokens.iter().copied());
    let (tokens, types): (Vec<_>, Vec<_>) = all.map(|(text, code)| (text.as_bytes(), code)).unzip();
    let vocabulary = Vocabulary {
        model: "gpt2",
        pre: Some(pre),
        tokens,
        merges: merges.iter().map(|merge| merge.as_bytes()).collect(),
        ..Vocabulary::default()
    };
    (vocabulary, types)
}

#[track_caller]
fn check_bpe(tokens: &[(&str, i64)], merges: &[&str], pre: &str, text: &str, expected: &[TokenId]) {
    let (mut vocabulary, types) = bpe(tokens, merges, pre);
    vocabulary.settle(&types).unwrap();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(tokenizer.encode(text, Special::Ignore), expected);
}

#[test]
fn merges_go_by_rank_then_from_the_left() {
    check_bpe(
        &[("ab", 1), ("bc", 1)],
        &["b c", "a b"],
        "gpt-2",
        "abc",
        &[0, 4],
    );
    check_bpe(
        &[("ab", 1), ("bc", 1)],
        &["a b", "b c"],
        "gpt-2",
        "abc",
        &[3, 2],
    );
    check_bpe(&[("aa", 1)], &["a a"], "gpt-2", "aaa", &[3, 0]);
}

#[test]
fn a_merge_may_pass_through_a_text_without_a_token() {
    check_bpe(&[("abc", 1)], &["a b", "ab c"], "gpt-2", "abc", &[3]);
    check_bpe(&[("abc", 1)], &["a b", "ab c"], "gpt-2", "abb", &[0, 1, 1]);
}

#[test]
fn whole_words_are_taken_only_where_the_family_does_so() {
    check_bpe(&[("abc", 1)], &[], "llama-bpe", "abc", &[3]);
    check_bpe(&[("abc", 1)], &[], "gpt-2", "abc", &[0, 1, 2]);
    check_bpe(&[("abc", 3)], &[], "llama-bpe", "abc", &[0, 1, 2]); // never a control token
}

#[test]
fn bytes_without_a_token_are_unknown_or_nothing() {
    check_bpe(&[], &[], "gpt-2", "axb", &[0, 1]);
    let (mut vocabulary, types) = bpe(&[("<unk>", 2)], &[], "gpt-2");
    vocabulary.rules.unknown = Some(3);
    vocabulary.settle(&types).unwrap();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(tokenizer.encode("axb", Special::Ignore), [0, 3, 1]);
}

#[test]
fn end_of_generation_is_by_type_and_text_or_by_key() {
    let ends = |tokens: &[(&str, i64)], rules: SpecialRules| {
        let (mut vocabulary, types) = bpe(tokens, &[], "gpt-2");
        vocabulary.rules = rules;
        vocabulary.settle(&types).unwrap();
        vocabulary.end_of_generation()
    };
    let none = SpecialRules::default();
    assert_eq!(
        ends(
            &[("</s>", 1), ("<|im_end|>", 3), ("<|eot_id|>", 4)],
            none.clone()
        ),
        [4]
    );
    assert_eq!(
        ends(
            &[("<|end|>", 3), ("<|return|>", 3), ("<|call|>", 3)],
            none.clone()
        ),
        [4, 5]
    );
    assert_eq!(
        ends(&[("<|end|>", 3), ("<|return|>", 3)], none.clone()),
        [3, 4]
    );
    assert_eq!(ends(&[("</s>", 3), ("<|tool_response>", 3)], none), [4]);
    let keys = SpecialRules {
        eos: Some(1),
        end_keys: vec![2, 99],
        ..SpecialRules::default()
    };
    assert_eq!(ends(&[("<eos>", 3)], keys), [1, 2, 3]);
}

#[test]
fn contradictions_are_errors_and_impossible_ids_are_absent() {
    let (mut vocabulary, mut types) = bpe(&[], &[], "gpt-2");
    vocabulary.rules.bos = Some(3);
    vocabulary.rules.eos = Some(2);
    vocabulary.settle(&types).unwrap();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, Some(2)));
    assert_eq!(tokenizer.token_text(2), "c");
    assert!(tokenizer.is_control(77) && tokenizer.token_bytes(77).is_empty());
    types.push(1);
    let error = vocabulary.settle(&types).unwrap_err().to_string();
    assert!(error.contains("3 tokens but 4 types"), "{error}");
    for merge in ["ab", "a ", " b", ""] {
        let (mut vocabulary, types) = bpe(&[], &[], "gpt-2");
        vocabulary.merges = vec![merge.as_bytes()];
        vocabulary.settle(&types).unwrap();
        let error = Tokenizer::from_vocabulary(&vocabulary).unwrap_err();
        assert!(error.to_string().contains("is not two texts"), "{error}");
    }
    let (mut vocabulary, types) = bpe(&[], &[], "gpt-9");
    vocabulary.settle(&types).unwrap();
    let error = Tokenizer::from_vocabulary(&vocabulary)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`gpt-9`"), "{error}");
    vocabulary.model = "rwkv";
    let error = Tokenizer::from_vocabulary(&vocabulary)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`rwkv`"), "{error}");
}

#[test]
fn garbage_never_panics() {
    let mut random = fastrand::Rng::with_seed(5);
    let texts = [
        "a", "b", "ab", "ba", "aba", "▁", "▁a", "a▁b", "<0x61>", "<0xZZ>", "", " ", "Ġ", "Ġa",
        "<s>", "</s>", "é", "中",
    ];
    let bytes: [&[u8]; 3] = [b"\xff", b"a\xe4", b"\x00"];
    for round in 0..2000 {
        let mut pick = || match random.usize(0..texts.len() + bytes.len()) {
            n if n < texts.len() => texts[n].as_bytes(),
            n => bytes[n - texts.len()],
        };
        let tokens: Vec<_> = (0..1 + round % 24).map(|_| pick()).collect();
        let merges: Vec<Vec<u8>> = (0..round % 7)
            .map(|_| [pick(), b" ", pick()].concat())
            .collect();
        let mut vocabulary = Vocabulary {
            model: if random.bool() { "gpt2" } else { "llama" },
            pre: Some(["qwen2", "default", "llama-bpe"][random.usize(0..3)]),
            architecture: random.bool().then_some("phi3"),
            merges: merges.iter().map(Vec::as_slice).collect(),
            scores: tokens
                .iter()
                .map(|_| f32::from_bits(random.u32(..)))
                .collect(),
            rules: SpecialRules {
                bos: Some(random.u32(0..30)),
                eos: Some(random.u32(0..30)),
                unknown: Some(random.u32(0..30)),
                end_keys: vec![random.u32(0..30)],
                suppressed: vec![random.u32(0..30)],
                ..SpecialRules::default()
            },
            tokens,
            types: Vec::new(),
        };
        let types: Vec<_> = vocabulary
            .tokens
            .iter()
            .map(|_| random.i64(-1..9))
            .collect();
        vocabulary
            .settle(if random.bool() { &types } else { &[] })
            .unwrap();
        let Ok(tokenizer) = Tokenizer::from_vocabulary(&vocabulary) else {
            continue; // a merge without two texts
        };
        for text in ["abaab ▁a é<s>ab</s> \n12中", "", " "] {
            let mut ids = tokenizer.encode_prompt(text);
            ids.extend(tokenizer.encode(text, Special::Ignore));
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            ids.push(u32::MAX);
            tokenizer.decode(&ids, Special::Recognise);
        }
    }
}
