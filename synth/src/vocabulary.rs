//! A vocabulary of the right size and kind, made by pairing: any text splits into it and comes back, at about two
//! characters a token.

use slm_gguf::Writer;
use std::collections::HashSet;

/// Whose special tokens, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VocabularyKind {
    Smollm,
    Qwen,
    Llama3,
    Phi4,
    Gemma,
}

/// Token types of the GGUF specification.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Printable characters, about as often as English has them.
const ORDER: &str = concat!(
    " etaoinshrdlucmfwypvbgkjqxz",
    "TSAICMBPHWDRLNEFGOJUKVYQZX",
    "0123456789.,'\"-();:\n_/=!?*+<>[]{}#$%&@|\\^~`\t"
);

/// Adds the tokenizer's keys for `n` tokens.
pub(crate) fn put(writer: &mut Writer<'_>, kind: VocabularyKind, n: usize) {
    let numbered = |range: std::ops::Range<usize>, word: &str| -> Vec<String> {
        range.map(|i| format!("<|{word}_{i}|>")).collect()
    };
    let named = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.to_owned()).collect() };
    match kind {
        VocabularyKind::Gemma => put_gemma(writer, n),
        VocabularyKind::Smollm => {
            let mut specials = named(&["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
            specials.extend(numbered(0..14, "reserved"));
            let ends = ["<|im_start|>", "<|im_end|>", "<|im_end|>"];
            put_bpe(writer, "smollm", n, &specials, 0, ends);
        }
        VocabularyKind::Qwen => {
            let specials = named(&["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
            let ends = ["<|endoftext|>", "<|im_end|>", "<|endoftext|>"];
            put_bpe(writer, "qwen2", n, &specials, 151_643, ends);
        }
        VocabularyKind::Llama3 => {
            let mut specials = named(&["<|begin_of_text|>", "<|end_of_text|>"]);
            specials.extend(numbered(0..4, "reserved_special_token"));
            specials.extend(named(&["<|start_header_id|>", "<|end_header_id|>"]));
            specials.extend(numbered(4..5, "reserved_special_token"));
            specials.extend(named(&["<|eot_id|>"]));
            specials.extend(numbered(5..251, "reserved_special_token"));
            let ends = ["<|begin_of_text|>", "<|end_of_text|>", "<|end_of_text|>"];
            put_bpe(writer, "llama-bpe", n, &specials, 128_000, ends);
        }
        VocabularyKind::Phi4 => {
            let mut specials = named(&["<|endoftext|>"]);
            specials.extend(numbered(0..18, "dummy"));
            specials.extend(named(&[
                "<|endofprompt|>",
                "<|assistant|>",
                "<|end|>",
                "<|user|>",
                "<|system|>",
            ]));
            put_bpe(
                writer,
                "gpt-4o",
                n,
                &specials,
                199_999,
                ["<|endoftext|>"; 3],
            );
        }
    }
}

/// Byte-level BPE with `specials` from id `at` on; what is left behind them is padding. `ends` are BOS, EOS, padding.
fn put_bpe(
    writer: &mut Writer<'_>,
    pre: &str,
    n: usize,
    specials: &[String],
    at: usize,
    ends: [&str; 3],
) {
    let n_words = if at == 0 { n - specials.len() } else { at };
    let (words, merges) = pairs(n_words);
    let (special_types, word_types) = (vec![CONTROL; specials.len()], vec![NORMAL; n_words]);
    let (mut tokens, mut types) = if at == 0 {
        (
            [specials, &words].concat(),
            [special_types, word_types].concat(),
        )
    } else {
        (
            [&words, specials].concat(),
            [word_types, special_types].concat(),
        )
    };
    while tokens.len() < n {
        tokens.push(format!("[PAD{}]", tokens.len()));
        types.push(UNUSED);
    }
    let id = |name: &str| tokens.iter().position(|t| t == name).unwrap_or(0) as u32;
    writer
        .put("tokenizer.ggml.model", "gpt2")
        .put("tokenizer.ggml.pre", pre)
        .put_array("tokenizer.ggml.tokens", &tokens)
        .put_array("tokenizer.ggml.token_type", &types)
        .put_array("tokenizer.ggml.merges", &merges)
        .put("tokenizer.ggml.bos_token_id", id(ends[0]))
        .put("tokenizer.ggml.eos_token_id", id(ends[1]))
        .put("tokenizer.ggml.padding_token_id", id(ends[2]))
        .put("tokenizer.ggml.add_bos_token", pre == "llama-bpe");
}

/// The printable stand-ins of byte-level BPE: printable Latin-1 stands for itself, the rest for 256 and up in order.
fn stand_ins() -> Vec<char> {
    let mut next = 256;
    (0..256u32)
        .map(|byte| {
            let is_printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
            let code = if is_printable {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or('\u{fffd}')
        })
        .collect()
}

/// `n` tokens: the bytes, then pairs of bytes, then pairs with a byte behind, the common ones first; with the merges
/// that make them.
fn pairs(n: usize) -> (Vec<String>, Vec<String>) {
    let stand_ins = stand_ins();
    let mut bytes: Vec<u8> = ORDER.bytes().collect();
    let rest: Vec<u8> = (0..=255).filter(|b| !bytes.contains(b)).collect();
    bytes.extend(rest);
    let order: Vec<String> = bytes
        .iter()
        .map(|&b| stand_ins[usize::from(b)].to_string())
        .collect();
    let letters = &order[..70];

    let mut made = Made {
        tokens: stand_ins.iter().map(char::to_string).collect(),
        merges: Vec::new(),
        seen: stand_ins.iter().map(char::to_string).collect(),
        n,
    };
    let space = &order[0];
    let common: Vec<(&String, &String)> = letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| (a, b)))
        .filter(|(a, b)| *b != space || *a == space)
        .collect();
    common.iter().for_each(|(a, b)| made.join(a, b));
    // all pairs, as long as they leave room for half of the vocabulary
    let all = order.iter().flat_map(|a| order.iter().map(move |b| (a, b)));
    for (a, b) in all.clone() {
        if made.tokens.len() >= n / 2 {
            break;
        }
        made.join(a, b);
    }
    for letter in letters {
        for (a, b) in &common {
            made.join(&format!("{a}{b}"), letter);
        }
    }
    all.for_each(|(a, b)| made.join(a, b));
    (made.tokens, made.merges)
}

struct Made {
    tokens: Vec<String>,
    merges: Vec<String>,
    seen: HashSet<String>,
    n: usize,
}

impl Made {
    fn join(&mut self, a: &str, b: &str) {
        let joined = format!("{a}{b}");
        if self.tokens.len() < self.n && self.seen.insert(joined.clone()) {
            self.tokens.push(joined);
            self.merges.push(format!("{a} {b}"));
        }
    }
}

/// SentencePiece in the manner of Gemma: scores by rank, bytes as tokens, single characters, pairs, triples.
fn put_gemma(writer: &mut Writer<'_>, n: usize) {
    let mut tokens: Vec<String> = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
        .map(str::to_owned)
        .to_vec();
    let mut types = vec![CONTROL, CONTROL, CONTROL, UNKNOWN, USER_DEFINED];
    tokens.extend((0..100).map(|i| format!("<unused{i}>")));
    tokens.extend(["<start_of_turn>", "<end_of_turn>"].map(str::to_owned));
    types.resize(tokens.len(), USER_DEFINED);
    let end_of_turn = tokens.len() as u32 - 1;
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), BYTE);
    let n_fixed = tokens.len();

    let space = "\u{2581}".to_owned();
    let letters: Vec<String> = ORDER
        .chars()
        .filter(|c| !"\n\t".contains(*c))
        .map(|c| {
            if c == ' ' {
                space.clone()
            } else {
                c.to_string()
            }
        })
        .collect();
    let mut seen: HashSet<String> = tokens.iter().cloned().collect();
    let mut add = |token: String| {
        if tokens.len() < n && seen.insert(token.clone()) {
            tokens.push(token);
        }
    };
    letters.iter().cloned().for_each(&mut add);
    let latin = (161..600).filter_map(char::from_u32);
    latin.map(String::from).for_each(&mut add);
    let common = &letters[..64];
    let pairs: Vec<String> = common
        .iter()
        .flat_map(|a| {
            common
                .iter()
                .filter(|b| **b != space)
                .map(move |b| format!("{a}{b}"))
        })
        .collect();
    pairs.iter().cloned().for_each(&mut add);
    for letter in common {
        pairs.iter().for_each(|pair| add(format!("{pair}{letter}")));
    }
    let ideographs = (0x4e00..0x9fa6).filter_map(char::from_u32);
    ideographs.map(String::from).for_each(&mut add);
    types.resize(tokens.len(), NORMAL);

    let score = |id: usize| -(id.saturating_sub(n_fixed - 1) as f32);
    let scores: Vec<f32> = (0..tokens.len()).map(score).collect();
    writer
        .put("tokenizer.ggml.model", "llama")
        .put("tokenizer.ggml.pre", "default")
        .put_array("tokenizer.ggml.tokens", &tokens)
        .put_array("tokenizer.ggml.scores", &scores)
        .put_array("tokenizer.ggml.token_type", &types)
        .put("tokenizer.ggml.bos_token_id", 2u32)
        .put("tokenizer.ggml.eos_token_id", 1u32)
        .put("tokenizer.ggml.unknown_token_id", 3u32)
        .put("tokenizer.ggml.padding_token_id", 0u32)
        .put("tokenizer.ggml.eot_token_id", end_of_turn)
        .put("tokenizer.ggml.add_bos_token", true)
        .put("tokenizer.ggml.add_space_prefix", false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::SHAPES;
    use slm_gguf::{Gguf, Value};

    #[test]
    fn every_model_has_as_many_different_tokens_as_rows() {
        for shape in SHAPES {
            let mut writer = Writer::new();
            put(&mut writer, shape.vocabulary, shape.vocab);
            let bytes = writer.finish().unwrap();
            let gguf = Gguf::parse(&bytes).unwrap();
            let len = |key: &str| match gguf.metadata().get(key) {
                Some(Value::Array(array)) => array.len(),
                other => panic!("{key} is {other:?}"),
            };
            assert_eq!(len("tokenizer.ggml.tokens"), shape.vocab, "{}", shape.name);
            assert_eq!(len("tokenizer.ggml.token_type"), shape.vocab);
        }
        let (tokens, merges) = pairs(49_135);
        let different: HashSet<&String> = tokens.iter().collect();
        assert_eq!((tokens.len(), different.len()), (49_135, 49_135));
        assert_eq!(merges.len(), tokens.len() - 256);
    }
}
