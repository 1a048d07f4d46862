//! Vocabularies: loading one ends in a tokenizer or an error; encoding and decoding with it end, give tokens that exist,
//! and where the vocabulary can spell every text, decoding gives the text again.
//!
//! The input is a GGUF file, or a vocabulary in lines that becomes one:
//!
//! ```text
//! 0 0 2                 model, flags, pre-tokeniser: a digit each, with one byte between them
//! b                     a token for each byte
//! 1ab                   type and text of a token
//! s-1.5                 the score of the last token
//! ma b                  a merge
//! k05                   a special id: which key, which token
//! =any text to encode   the rest
//! ```
//!
//! `\n` in a token or a merge stands for a line feed.
use crate::input::Input;
use slm_engine::{Special, Tokenizer};
use slm_gguf::{Gguf, Writer};

/// Longest text that is encoded.
const MAX_TEXT_BYTES: usize = 4096;
const MODELS: [&str; 4] = ["gpt2", "llama", "gemma4", "bert"];
const PRE_TOKENIZERS: [&str; 20] = [
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "default",
    "smaug-bpe",
    "glm4",
    "qwen35",
    "gpt-4o",
    "minicpm5",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "tekken",
    "falcon",
    "starcoder",
    "smollm",
    "llama4",
    "hunyuan-dense",
    "chatglm-bpe",
    "no such pre-tokeniser",
];
const KEYS: [&str; 8] = [
    "bos_token_id",
    "eos_token_id",
    "unknown_token_id",
    "cls_token_id",
    "seperator_token_id",
    "eot_token_id",
    "fim_pad_token_id",
    "eom_token_id",
];
/// What is encoded with a vocabulary from a file.
const TEXT: &str = "Hello  wörld\n\n<s>12345 don't<|im_end|> 中文 🦀▁x\t";

/// The input is a file, or lines as above.
pub fn run(data: &[u8]) {
    if data.starts_with(b"GGUF") {
        let Ok(gguf) = Gguf::parse(data) else {
            return;
        };
        if let Ok(tokenizer) = Tokenizer::from_metadata(gguf.metadata()) {
            check(&tokenizer, TEXT);
        }
        return;
    }
    let Some((vocabulary, text)) = Lines::read(data) else {
        return;
    };
    let file = vocabulary.file();
    let gguf = Gguf::parse(&file).expect("what was written can be read");
    match Tokenizer::from_metadata(gguf.metadata()) {
        Ok(tokenizer) => {
            check(&tokenizer, &text);
            if vocabulary.spells_everything(&text) {
                let ids = tokenizer.encode(&text, Special::Ignore);
                assert_eq!(tokenizer.decode(&ids, Special::Recognise), text, "{ids:?}");
            }
        }
        Err(error) => assert!(error.to_string().len() < 4000),
    }
}

fn check(tokenizer: &Tokenizer, text: &str) {
    for special in [Special::Recognise, Special::Ignore] {
        let ids = tokenizer.encode(text, special);
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        assert_eq!(ids, tokenizer.encode(text, special));
        let shown = tokenizer.decode(&ids, Special::Recognise);
        assert!(tokenizer.decode(&ids, Special::Ignore).len() <= shown.len());
        let n_framed = tokenizer.frame(ids.clone()).len();
        assert!(n_framed <= ids.len() + tokenizer.n_frame_tokens());
    }
    assert!(tokenizer.encode("", Special::Recognise).is_empty());
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32)
        .chain([u32::MAX])
        .collect();
    let _ = tokenizer.decode(&ids, Special::Recognise);
    for id in ids {
        let _ = (
            tokenizer.token_text(id),
            tokenizer.token_bytes(id),
            tokenizer.is_end_of_generation(id),
        );
    }
}

/// A vocabulary in lines.
#[derive(Debug, Default)]
struct Lines {
    model: &'static str,
    pre: &'static str,
    flags: [bool; 6],
    tokens: Vec<Vec<u8>>,
    types: Vec<i32>,
    scores: Vec<f32>,
    merges: Vec<Vec<u8>>,
    keys: Vec<(&'static str, u32)>,
    has_bytes: bool,
}

impl Lines {
    /// The vocabulary and the text to encode.
    fn read(data: &[u8]) -> Option<(Self, String)> {
        let mut input = Input::new(data);
        let model = input.choose(&MODELS);
        input.byte();
        let flags = input.flags();
        input.byte();
        let pre = input.choose(&PRE_TOKENIZERS);
        input.line();
        let mut lines = Self {
            model,
            pre,
            flags,
            ..Self::default()
        };
        loop {
            let before = input;
            match input.byte() {
                b'=' => break,
                b'b' => {
                    input.line();
                    lines.add_bytes();
                }
                b's' => {
                    let score = std::str::from_utf8(input.line()).ok()?.parse().ok()?;
                    *lines.scores.last_mut()? = score;
                }
                b'm' => lines.merges.push(unescaped(input.line())),
                b'k' => {
                    let key = input.choose(&KEYS);
                    let id = std::str::from_utf8(input.line()).ok()?.parse().ok()?;
                    lines.keys.push((key, id));
                }
                digit @ b'0'..=b'9' => {
                    let text = unescaped(input.line());
                    lines.add(text, i32::from(digit - b'0'));
                }
                // the end, or nonsense: text
                _ => {
                    input = before;
                    break;
                }
            }
        }
        let rest = input.rest();
        let text = String::from_utf8_lossy(&rest[..rest.len().min(MAX_TEXT_BYTES)]).into_owned();
        Some((lines, text))
    }

    fn add(&mut self, text: Vec<u8>, token_type: i32) {
        self.tokens.push(text);
        self.types.push(token_type);
        self.scores.push(-(self.scores.len() as f32));
    }

    /// One token for each byte, as the model spells it.
    fn add_bytes(&mut self) {
        if self.has_bytes {
            return;
        }
        self.has_bytes = true;
        let mut n_shifted = 0;
        for byte in 0..=255_u8 {
            if self.model == "gpt2" {
                let is_itself = matches!(byte, 33..=126 | 161..=172 | 174..=255);
                let code = if is_itself {
                    u32::from(byte)
                } else {
                    256 + n_shifted
                };
                n_shifted += u32::from(!is_itself);
                let letter = char::from_u32(code).expect("a letter below U+0200");
                self.add(letter.to_string().into_bytes(), 1);
            } else {
                self.add(format!("<0x{byte:02X}>").into_bytes(), 6);
            }
        }
    }

    fn file(&self) -> Vec<u8> {
        let [add_bos, add_eos, space_prefix, no_types, no_scores, phi3] = self.flags;
        let mut writer = Writer::new();
        writer.put("tokenizer.ggml.model", self.model);
        writer.put("tokenizer.ggml.pre", self.pre);
        writer.put("tokenizer.ggml.add_bos_token", add_bos);
        writer.put("tokenizer.ggml.add_eos_token", add_eos);
        writer.put("tokenizer.ggml.add_space_prefix", space_prefix);
        if phi3 {
            writer.put("general.architecture", "phi3");
        }
        let tokens: Vec<&[u8]> = self.tokens.iter().map(Vec::as_slice).collect();
        writer.put_array("tokenizer.ggml.tokens", &tokens);
        let merges: Vec<&[u8]> = self.merges.iter().map(Vec::as_slice).collect();
        writer.put_array("tokenizer.ggml.merges", &merges);
        if !no_types {
            writer.put_array("tokenizer.ggml.token_type", &self.types);
        }
        if !no_scores {
            writer.put_array("tokenizer.ggml.scores", &self.scores);
        }
        let mut seen: Vec<&str> = Vec::new();
        for (key, id) in &self.keys {
            if !seen.contains(key) {
                seen.push(key);
                writer.put(&format!("tokenizer.ggml.{key}"), *id);
            }
        }
        writer.finish().expect("a small vocabulary can be written")
    }

    /// Whether every text becomes tokens that spell it: there is a token for each byte, and nothing that changes text.
    fn spells_everything(&self, text: &str) -> bool {
        let [_, _, space_prefix, no_types, _, phi3] = self.flags;
        // a space goes in front of the text behind each of these
        let has_added = self.types.contains(&4);
        self.has_bytes
            && !no_types
            && match self.model {
                // the others may compose characters
                "gpt2" => text.is_ascii(),
                "gemma4" => !text.contains('▁'),
                "llama" => !(text.contains('▁') || phi3 || space_prefix && has_added),
                _ => false,
            }
    }
}

/// `\n` as a line feed.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.next_if_eq(&b'n').is_some() {
            out.push(b'\n');
        } else {
            out.push(byte);
        }
    }
    out
}
