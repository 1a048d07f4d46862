//! Tokens to text as they come: the text does not depend on the tokens that carry the bytes, no character is split, and
//! the first stop string ends it.
use crate::input::Input;
use slm_engine::{
    TokenId, Tokenizer,
    text_stream::{Delta, TextStream},
};
use slm_gguf::{Gguf, Writer};
use std::sync::LazyLock;

/// Most stop strings.
const MAX_STOPS: usize = 4;
/// Tokens of several bytes, whole characters and parts of such.
const PIECES: [&[u8]; 12] = [
    b" a",
    b"ab",
    b"\n\n",
    b"  ",
    "é".as_bytes(),
    "🦀".as_bytes(),
    b"\xf0\x9f",
    b"\xa6\x80",
    b"\xe4\xb8",
    b"a\xff",
    b"stop",
    b"</s",
];
/// The token of the byte 0; the others follow, then the pieces.
const FIRST_BYTE: TokenId = 3;
const FIRST_PIECE: TokenId = FIRST_BYTE + 256;

/// With and without a space in front of every text.
static TOKENIZERS: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| [tokenizer(false), tokenizer(true)]);

fn tokenizer(space_prefix: bool) -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = [&b"<unk>"[..], b"<s>", b"</s>"].map(<[u8]>::to_vec).into();
    let mut types = vec![2, 3, 3];
    for byte in 0..=255 {
        tokens.push(format!("<0x{byte:02X}>").into_bytes());
        types.push(6);
    }
    tokens.extend(PIECES.map(<[u8]>::to_vec));
    types.resize(tokens.len(), 1);
    let tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
    let mut writer = Writer::new();
    writer.put("tokenizer.ggml.model", "llama");
    writer.put("tokenizer.ggml.add_space_prefix", space_prefix);
    writer.put_array("tokenizer.ggml.tokens", &tokens);
    writer.put_array("tokenizer.ggml.token_type", &types);
    let file = writer.finish().expect("a small vocabulary can be written");
    let gguf = Gguf::parse(&file).expect("what was written can be read");
    Tokenizer::from_metadata(gguf.metadata()).expect("a sound vocabulary")
}

/// The first line: flags (space prefix, text goes on from text, control tokens between the bytes), which pieces are
/// taken. Then the number of stop strings, these, one a line, and the bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let [space_prefix, goes_on, control, ..] = input.flags();
    let choices = input.line();
    let n_stops = input.line().len().min(MAX_STOPS);
    let stops: Vec<String> = (0..n_stops)
        .map(|_| String::from_utf8_lossy(input.line()).into_owned())
        .collect();
    let bytes = input.rest();
    let tokenizer = &TOKENIZERS[usize::from(space_prefix)];
    let start: &[TokenId] = if goes_on { &[FIRST_BYTE] } else { &[1] };
    let expected = text_of(bytes, space_prefix && !goes_on, &stops);
    for tokens in [
        tokens_of(bytes, choices, control),
        tokens_of(bytes, b"", false),
    ] {
        let stream = TextStream::after(start, tokenizer, stops.clone());
        assert_eq!(read(stream, tokenizer, &tokens), expected, "{tokens:?}");
    }
}

/// Tokens whose bytes are `bytes`.
fn tokens_of(bytes: &[u8], choices: &[u8], control: bool) -> Vec<TokenId> {
    let mut tokens = Vec::new();
    let mut choices = choices.iter().cycle();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let choice = choices.next().copied().unwrap_or(0);
        if control && choice & 2 != 0 {
            tokens.push(2);
        }
        let piece = (FIRST_PIECE..)
            .zip(PIECES)
            .find(|(_, piece)| rest.starts_with(piece));
        match piece {
            Some((id, piece)) if choice & 1 != 0 => {
                tokens.push(id);
                rest = &rest[piece.len()..];
            }
            _ => {
                tokens.push(FIRST_BYTE + TokenId::from(first));
                rest = after;
            }
        }
    }
    tokens
}

/// Text and whether it was stopped.
fn read(mut stream: TextStream, tokenizer: &Tokenizer, tokens: &[TokenId]) -> (String, bool) {
    let mut text = String::new();
    for &token in tokens {
        match stream.push(tokenizer, token) {
            Delta::Text(delta) => text += &delta,
            Delta::Stop(delta) => {
                assert_eq!(stream.push(tokenizer, token), Delta::Stop(String::new()));
                assert_eq!(stream.finish(), "");
                return (text + &delta, true);
            }
        }
    }
    let rest = stream.finish();
    (text + &rest, false)
}

/// The rule itself, on bytes that are there as a whole: an unfinished character at the end is none.
fn text_of(bytes: &[u8], drop_space: bool, stops: &[String]) -> (String, bool) {
    let bytes = match bytes.strip_prefix(b" ") {
        Some(rest) if drop_space => rest,
        _ => bytes,
    };
    let n_unfinished = match bytes.utf8_chunks().last() {
        Some(chunk) if is_unfinished(chunk.invalid()) => chunk.invalid().len(),
        _ => 0,
    };
    let text = String::from_utf8_lossy(&bytes[..bytes.len() - n_unfinished]).into_owned();
    let stops = stops.iter().filter(|stop| !stop.is_empty());
    let found = stops.filter_map(|stop| Some((text.find(stop.as_str())?, stop.len())));
    match found.map(|(at, len)| (at + len, at)).min() {
        Some((_, at)) => (text[..at].to_owned(), true),
        None => (text, false),
    }
}

/// Whether more bytes could make it a character.
fn is_unfinished(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}
