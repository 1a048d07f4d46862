use super::*;
use crate::tokenizer::Special;

/// Text and whether it was stopped, from bytes cut at `cuts`.
fn stream(bytes: &[u8], cuts: &[usize], stop: &[&str]) -> (String, bool) {
    let mut stream = TextStream::new(stop.iter().map(|&text| text.to_owned()).collect());
    let (mut text, mut from) = (String::new(), 0);
    for &to in cuts.iter().chain([&bytes.len()]) {
        match stream.push_bytes(&bytes[from..to], true) {
            Delta::Text(delta) => text += &delta,
            Delta::Stop(delta) => {
                text += &delta;
                assert_eq!(stream.push_bytes(b"more", true), Delta::Stop(String::new()));
                assert_eq!(stream.finish(), "");
                return (text, true);
            }
        }
        assert!(stream.characters.n_pending() <= 3);
        from = to;
    }
    (text + &stream.finish(), false)
}

#[track_caller]
fn check(bytes: &[u8], stop: &[&str], expected: &str, stopped: bool) {
    let whole = stream(bytes, &[], stop);
    assert_eq!(whole, (expected.to_owned(), stopped));
    let every: Vec<_> = (1..bytes.len()).collect();
    assert_eq!(stream(bytes, &every, stop), whole, "one byte at a time");
}

#[test]
fn characters_are_never_split_invalid_bytes_are_replaced_and_an_unfinished_end_is_dropped() {
    check("aé中🦀".as_bytes(), &[], "aé中🦀", false);
    check(
        b"a\xff\xe4\xb8b\xf0\x9f\xa6",
        &[],
        "a\u{fffd}\u{fffd}b",
        false,
    );
    check(b"", &[], "", false);
}

#[test]
fn a_stop_string_is_cut_out_with_all_that_follows() {
    check(b"one\nUser: two", &["\nUser:"], "one", true);
    check(b"one\nUse two", &["\nUser:"], "one\nUse two", false);
    check(b"aaab", &["aab"], "a", true);
    check(b"abcabd", &["abd"], "abc", true);
    check("x中y".as_bytes(), &["中"], "x", true);
    check(b"xstop", &["top", "stop", ""], "x", true); // both complete at the same character
    check(b"abc", &["abcd", "b"], "a", true);
    check(
        b"ends in a prefix <|im",
        &["<|im_end|>"],
        "ends in a prefix <|im",
        false,
    );
}

#[test]
fn text_that_may_become_a_stop_string_waits() {
    let mut stream = TextStream::new(vec!["<end>".to_owned()]);
    assert_eq!(
        stream.push_bytes(b"hi <e", false),
        Delta::Text("hi ".to_owned())
    );
    assert_eq!(stream.push_bytes(b"n", false), Delta::Text(String::new()));
    assert_eq!(
        stream.push_bytes(b"t<", false),
        Delta::Text("<ent".to_owned())
    );
    assert_eq!(
        stream.push_bytes(b"end>", false),
        Delta::Stop(String::new())
    );
}

#[test]
fn one_leading_space_goes_and_only_one() {
    check(b" hello", &[], "hello", false);
    check(b"  hello", &[], " hello", false);
    check(b"hello world", &[], "hello world", false);
    let mut kept = TextStream::new(Vec::new());
    assert_eq!(
        kept.push_bytes(b" hello", false),
        Delta::Text(" hello".to_owned())
    );
}

#[test]
fn a_long_repetitive_stop_string_costs_nothing_extra() {
    let text = "a".repeat(1 << 20);
    let stop = "a".repeat(1 << 19) + "b";
    assert_eq!(
        stream(text.as_bytes(), &[1000, 500_000], &[&stop]),
        (text.clone(), false)
    );
}

#[test]
fn any_cut_gives_the_same_text() {
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet: [&[u8]; 9] = [
        b"a",
        b"b",
        b"ab",
        "é".as_bytes(),
        "🦀".as_bytes(),
        b"\xff",
        b"\xe4\xb8",
        b" ",
        b"\n",
    ];
    let stops = ["ab", "aab", "éa", "🦀🦀", "b\n", "\u{fffd}a", "bbbb", " "];
    for _ in 0..3000 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(0..30) {
            bytes.extend_from_slice(alphabet[random.usize(0..alphabet.len())]);
        }
        let stop: Vec<_> = (0..random.usize(0..4))
            .map(|_| stops[random.usize(0..stops.len())])
            .collect();
        let cuts: Vec<_> = (0..bytes.len()).filter(|_| random.bool()).collect();
        let whole = stream(&bytes, &[], &stop);
        assert_eq!(
            stream(&bytes, &cuts, &stop),
            whole,
            "{bytes:?} cut at {cuts:?}, {stop:?}"
        );
        let bytes = bytes.strip_prefix(b" ").unwrap_or(&bytes);
        let unfinished = (1..=3.min(bytes.len())).find(|n| {
            let end = std::str::from_utf8(&bytes[bytes.len() - n..]);
            end.is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        });
        let lossy = String::from_utf8_lossy(&bytes[..bytes.len() - unfinished.unwrap_or(0)]);
        let first_end = stop
            .iter()
            .filter_map(|stop| lossy.find(stop).map(|at| (at + stop.len(), at)))
            .min();
        let expected = first_end.map_or(lossy.len(), |(_, at)| at);
        assert_eq!(
            whole,
            (lossy[..expected].to_owned(), first_end.is_some()),
            "{stop:?}"
        );
    }
}

fn tokenizer(name: &str) -> Tokenizer {
    use std::io::Read;
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/golden/tokenizers"
    );
    let packed = std::fs::read(format!("{folder}/{name}.gguf.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    let file = slm_gguf::Gguf::parse(&bytes).unwrap();
    Tokenizer::from_metadata(file.metadata()).unwrap()
}

#[test]
fn a_stream_of_tokens_is_what_decoding_gives() {
    let text = "Größe — 中文 🦀👨\u{200d}👩 naïve  spaces\n";
    for name in ["qwen2", "llama-spm", "tiny-gemma3"] {
        let tokenizer = tokenizer(name);
        let mut tokens = tokenizer.encode_prompt(text);
        tokens.extend(tokenizer.eos());
        let mut stream = TextStream::new(Vec::new());
        let mut streamed = String::new();
        for &token in &tokens {
            match stream.push(&tokenizer, token) {
                Delta::Text(delta) => streamed += &delta,
                Delta::Stop(_) => panic!("there is no stop string"),
            }
        }
        streamed += &stream.finish();
        assert_eq!(streamed, text, "{name}");
        assert_eq!(
            streamed,
            tokenizer.decode(&tokens, Special::Ignore),
            "{name}"
        );
    }
}

#[test]
fn text_that_goes_on_from_text_keeps_its_space() {
    let tokenizer = tokenizer("llama-spm");
    let paris = tokenizer.encode("Paris", Special::Ignore);
    let first = |prompt: &str| {
        let prompt = tokenizer.encode_prompt(prompt);
        TextStream::after(&prompt, &tokenizer, Vec::new()).push(&tokenizer, paris[0])
    };
    assert_eq!(
        first("The capital of France is"),
        Delta::Text(" Paris".to_owned())
    );
    assert_eq!(first("Hello</s>"), Delta::Text("Paris".to_owned()));
}

#[test]
fn a_control_token_shows_where_it_is_asked_for() {
    let tokenizer = tokenizer("llama-spm");
    let eos = tokenizer.eos().unwrap();
    let text = |shown: Vec<u32>| {
        let mut stream = TextStream::new(Vec::new()).showing(shown);
        stream.push(&tokenizer, eos)
    };
    assert_eq!(text(vec![]), Delta::Text(String::new()));
    assert_eq!(text(vec![eos]), Delta::Text("</s>".to_owned()));
}
