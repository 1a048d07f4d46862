//! BPE over characters (`tokenizer.ggml.model` = `gemma4`): as in [`super::byte_level_bpe`] pairs join by the rank of
//! their merge, as in [`super::sentence_piece`] symbols are characters, a space is spelled `▁`, and what has no token
//! falls back to bytes.
//!
//! Nothing splits the text but its line breaks, which join with themselves only; a run of them that is a token is taken
//! whole. Where no symbol has a space after another character, cutting in front of spaces gives the same tokens.
use super::TokenId;
use super::TokenizerError;
use super::joins::{Joins, Symbols};
use super::merge::Merger;
use super::pieces::{PieceIndex, Pieces};
use super::sentence_piece::{ESCAPED_SPACE, byte_tokens, decode_into, word_ends};
use super::vocabulary::{TokenType, Vocabulary};
use super::word_cache::WordCache;
use std::borrow::Cow;
use std::collections::HashMap;

/// A character that neither is a token nor joins.
const NO_SYMBOL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct CharacterBpe {
    n_tokens: u32,
    pieces: PieceIndex,
    /// Texts that merges pass through without being tokens.
    unlisted: HashMap<Vec<u8>, u32>,
    joins: Joins,
    bytes: Box<[Option<TokenId>; 256]>,
    unknown: Option<TokenId>,
    cut_before_spaces: bool,
}

impl CharacterBpe {
    /// Builds the tables. `bytes` are the bytes of each token, `spelled` whether text can be joined to it.
    ///
    /// # Errors
    /// A merge that is not two texts.
    pub(super) fn new(
        vocabulary: &Vocabulary<'_>,
        bytes: &Pieces,
        spelled: &[bool],
    ) -> Result<Self, TokenizerError> {
        let joined = (0..)
            .zip(vocabulary.types.iter().zip(spelled))
            .filter(|(_, (token_type, spelled))| **token_type == TokenType::Normal && **spelled)
            .map(|(id, _)| id);
        let pieces = PieceIndex::new(bytes, joined.clone());
        let mut symbols = Symbols {
            bytes,
            words: &pieces,
            unlisted: HashMap::new(),
        };
        let joins = Joins::read(&vocabulary.merges, decode_into, &mut symbols)?;
        let unlisted = symbols.unlisted;
        let is_cut = |text: &[u8]| word_ends(text).next().is_none();
        Ok(Self {
            n_tokens: bytes.len() as u32,
            cut_before_spaces: joined.into_iter().all(|id| is_cut(bytes.get(id)))
                && unlisted.keys().all(|text| is_cut(text)),
            pieces,
            unlisted,
            joins,
            bytes: byte_tokens(vocabulary),
            unknown: vocabulary.rules.unknown,
        })
    }

    /// What happens to ordinary text first.
    pub(super) fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.contains(ESCAPED_SPACE) {
            Cow::Owned(text.replace(ESCAPED_SPACE, " "))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Appends the tokens of ordinary text to those that `cache` collects.
    pub(super) fn encode<'t>(&self, text: &'t str, pieces: &Pieces, cache: &mut WordCache<'t>) {
        let mut encode = |word: &'t str| {
            cache.encode(word, |word, merger, ids| {
                self.encode_word(word, pieces, merger, ids);
            });
        };
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            let is_break = |c: char| (c == '\n') == (first == b'\n');
            let end = rest.find(|c| !is_break(c)).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            let mut start = 0;
            if self.cut_before_spaces {
                for end in word_ends(line.as_bytes()) {
                    encode(&line[start..end]);
                    start = end;
                }
            }
            encode(&line[start..]);
            rest = after;
        }
    }

    fn encode_word(
        &self,
        word: &str,
        pieces: &Pieces,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) {
        if word.starts_with('\n')
            && let Some(id) = self.pieces.get(pieces, word.as_bytes())
        {
            ids.push(id);
            return;
        }
        merger.clear();
        for (start, c) in word.char_indices() {
            // a word is cut well before 2³² bytes
            let end = start + c.len_utf8();
            let text = &word.as_bytes()[start..end];
            let listed = self.pieces.get(pieces, text);
            let id = listed.or_else(|| self.unlisted.get(text).copied());
            merger.push(id.unwrap_or(NO_SYMBOL), end as u32);
        }
        merger.merge(|left, right| self.joins.of(left.id, right.id));
        for symbol in merger.symbols() {
            if symbol.id < self.n_tokens {
                ids.push(symbol.id);
                continue;
            }
            for &byte in &word.as_bytes()[symbol.start as usize..symbol.end as usize] {
                ids.extend(self.bytes[usize::from(byte)].or(self.unknown));
            }
        }
    }
}
