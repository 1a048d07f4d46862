//! SentencePiece's BPE (`tokenizer.ggml.model` = `llama`): characters joined by the score of the piece they form, and
//! bytes for what no piece spells.
//!
//! The vocabulary writes a space as `▁`; here pieces are kept with real spaces, so text is looked up as it is. No
//! pre-tokeniser belongs to this kind, but where no piece has a space after another character, no join can cross the
//! front of a word, and cutting there gives the same tokens from short words that repeat.
use super::TokenId;
use super::merge::{Join, Merger, Symbol};
use super::pieces::{PieceIndex, Pieces};
use super::special::Fragment;
use super::vocabulary::{TokenType, Vocabulary, byte_token};
use super::word_cache::WordCache;
use std::ops::Range;

/// The vocabulary's spelling of a space.
pub(super) const ESCAPED_SPACE: &str = "▁";
/// A symbol that is no token.
const NO_TOKEN: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct SentencePiece {
    pieces: PieceIndex,
    /// Score of each token as an integer that sorts the same way; 0 never joins.
    priorities: Vec<u32>,
    bytes: Box<[Option<TokenId>; 256]>,
    unknown: Option<TokenId>,
    pub(super) add_space_prefix: bool,
    cut_before_spaces: bool,
}

/// A text ready to be encoded: spaces as the pieces have them, prefixes in place.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(Range<usize>),
    Token(TokenId),
}

impl SentencePiece {
    /// Builds the tables. `bytes` are the bytes of each token, `spelled` whether text can be joined to it.
    pub(super) fn new(vocabulary: &Vocabulary<'_>, bytes: &Pieces, spelled: &[bool]) -> Self {
        let joined = (0..)
            .zip(vocabulary.types.iter().zip(spelled))
            .filter(|(_, (token_type, spelled))| **token_type == TokenType::Normal && **spelled)
            .map(|(id, _)| id);
        let score = |id: usize| vocabulary.scores.get(id).copied().unwrap_or(0.0);
        Self {
            pieces: PieceIndex::new(bytes, joined.clone()),
            priorities: (0..bytes.len()).map(|id| priority(score(id))).collect(),
            bytes: byte_tokens(vocabulary),
            unknown: vocabulary.rules.unknown,
            add_space_prefix: vocabulary.rules.add_space_prefix.unwrap_or(true),
            cut_before_spaces: joined
                .into_iter()
                .all(|id| word_ends(bytes.get(id)).next().is_none()),
        }
    }

    /// Puts spaces where the model expects them: one in front of text that comes first or after a special token.
    pub(super) fn prepare(&self, fragments: &[Fragment<'_>]) -> Prepared {
        let mut prepared = Prepared::default();
        let mut after_token = true;
        for fragment in fragments {
            match *fragment {
                Fragment::Token(id) => {
                    prepared.parts.push(Part::Token(id));
                    after_token = true;
                }
                Fragment::Text(text) => {
                    let start = prepared.text.len();
                    if self.add_space_prefix && after_token {
                        prepared.text.push(' ');
                    }
                    for (n, part) in text.split(ESCAPED_SPACE).enumerate() {
                        if n > 0 {
                            prepared.text.push(' ');
                        }
                        prepared.text.push_str(part);
                    }
                    prepared.parts.push(Part::Text(start..prepared.text.len()));
                    after_token = false;
                }
            }
        }
        prepared
    }

    /// Appends the tokens of `prepared` to those that `cache` collects.
    pub(super) fn encode<'t>(
        &self,
        prepared: &'t Prepared,
        pieces: &Pieces,
        cache: &mut WordCache<'t>,
    ) {
        for part in &prepared.parts {
            let text = match part {
                Part::Token(id) => {
                    cache.push(*id);
                    continue;
                }
                Part::Text(range) => &prepared.text[range.clone()],
            };
            let mut encode = |word: &'t str| {
                cache.encode(word, |word, merger, ids| {
                    self.encode_word(word, pieces, merger, ids);
                });
            };
            let mut start = 0;
            if self.cut_before_spaces {
                for end in word_ends(text.as_bytes()) {
                    encode(&text[start..end]);
                    start = end;
                }
            }
            encode(&text[start..]);
        }
    }

    fn encode_word(
        &self,
        word: &str,
        pieces: &Pieces,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) {
        let piece = |start: u32, end: u32| {
            self.pieces
                .get(pieces, &word.as_bytes()[start as usize..end as usize])
        };
        merger.clear();
        for (start, c) in word.char_indices() {
            // a word is cut well before 2³² bytes
            let (start, end) = (start as u32, (start + c.len_utf8()) as u32);
            merger.push(piece(start, end).unwrap_or(NO_TOKEN), end);
        }
        merger.merge(|left, right| {
            let id = piece(left.start, right.end)?;
            let priority = self.priorities[id as usize];
            (priority > 0).then_some(Join { priority, id })
        });
        for symbol in merger.symbols() {
            if symbol.id == NO_TOKEN {
                self.fall_back(word, symbol, ids);
            } else {
                ids.push(symbol.id);
            }
        }
    }

    /// A character that is no piece: its bytes, or the unknown token when a byte has no token either.
    fn fall_back(&self, word: &str, symbol: &Symbol, ids: &mut Vec<TokenId>) {
        let before = ids.len();
        for &byte in &word.as_bytes()[symbol.start as usize..symbol.end as usize] {
            match self.bytes[usize::from(byte)] {
                Some(id) => ids.push(id),
                None => {
                    ids.truncate(before);
                    ids.extend(self.unknown);
                    return;
                }
            }
        }
    }
}

/// Replaces `out` by what `text` means: `▁` is a space. Returns whether text can be joined to it: one with a real space
/// never is, and would be mistaken for the one with `▁`.
pub(super) fn decode_into(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(ESCAPED_SPACE.as_bytes()) {
            Some(after_space) => {
                out.push(b' ');
                rest = after_space;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    !text.contains(&b' ')
}

/// The token of each byte.
pub(super) fn byte_tokens(vocabulary: &Vocabulary<'_>) -> Box<[Option<TokenId>; 256]> {
    let mut tokens = Box::new([None; 256]);
    for (id, (text, token_type)) in (0..).zip(vocabulary.tokens.iter().zip(&vocabulary.types)) {
        if *token_type == TokenType::Byte
            && let Some(byte) = byte_token(text)
        {
            tokens[usize::from(byte)].get_or_insert(id);
        }
    }
    tokens
}

/// The places where a space follows another character.
pub(super) fn word_ends(text: &[u8]) -> impl Iterator<Item = usize> {
    (1..text.len()).filter(move |&at| text[at] == b' ' && text[at - 1] != b' ')
}

/// Greater score, greater number; a score that is no number never joins.
fn priority(score: f32) -> u32 {
    let bits = score.to_bits();
    match score {
        _ if score.is_nan() => 0,
        _ if score.is_sign_negative() => !bits,
        _ => bits | 1 << 31,
    }
}
