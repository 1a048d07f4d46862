//! BPE on characters (`tokenizer.ggml.model` = `gemma4`): joined by rank as byte-level BPE is, with pieces spelled and
//! bytes fallen back to as SentencePiece has them.
//!
//! There are no words but the runs of line feeds and what lies between them. Where no merge has a space after another
//! character, cutting there gives the same tokens from shorter words, which repeat.
use super::byte_fallback::ByteFallback;
use super::byte_level_bpe::{Symbols, pair, read_merges};
use super::merge::{Join, Merger};
use super::pieces::{PieceIndex, Pieces};
use super::sentence_piece::{self, ESCAPED_SPACE, word_ends};
use super::vocabulary::{TokenType, Vocabulary};
use super::word_cache::WordCache;
use super::{TokenId, TokenizerError};
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// A character that is in no piece and no merge.
const NO_SYMBOL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct CharacterBpe {
    n_tokens: u32,
    pieces: PieceIndex,
    /// Texts of merges that are no tokens.
    unlisted: FxHashMap<Vec<u8>, u32>,
    /// Pair of symbols, left in the upper half → how it joins.
    joins: FxHashMap<u64, Join>,
    fallback: ByteFallback,
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
        let normal = (0..)
            .zip(vocabulary.types.iter().zip(spelled))
            .filter(|(_, (token_type, spelled))| **token_type == TokenType::Normal && **spelled)
            .map(|(id, _)| id);
        let pieces = PieceIndex::new(bytes, normal.clone());
        let mut symbols = Symbols::new(bytes, &pieces);
        let joins = read_merges(
            &vocabulary.merges,
            &mut symbols,
            sentence_piece::decode_into,
        )?;
        let unlisted = symbols.into_unlisted();
        let is_one_word = |text: &[u8]| word_ends(text).next().is_none();
        Ok(Self {
            n_tokens: bytes.len() as u32,
            cut_before_spaces: normal.into_iter().all(|id| is_one_word(bytes.get(id)))
                && unlisted.keys().all(|text| is_one_word(text)),
            fallback: ByteFallback::new(vocabulary),
            pieces,
            unlisted,
            joins,
        })
    }

    /// Text with the spaces that pieces have.
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
            let is_feed = first == b'\n';
            let end = rest.bytes().position(|byte| (byte == b'\n') != is_feed);
            let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            let mut start = 0;
            if self.cut_before_spaces {
                for end in word_ends(run.as_bytes()) {
                    encode(&run[start..end]);
                    start = end;
                }
            }
            encode(&run[start..]);
        }
    }

    fn encode_word(
        &self,
        word: &str,
        pieces: &Pieces,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) {
        // a run of line feeds is taken whole where there is a token for it
        if word.starts_with('\n')
            && let Some(id) = self.pieces.get(pieces, word.as_bytes())
        {
            ids.push(id);
            return;
        }
        merger.clear();
        for (start, c) in word.char_indices() {
            let end = start + c.len_utf8();
            let text = &word.as_bytes()[start..end];
            let symbol = self.pieces.get(pieces, text);
            let symbol = symbol.or_else(|| self.unlisted.get(text).copied());
            // a word is cut well before 2³² bytes
            merger.push(symbol.unwrap_or(NO_SYMBOL), end as u32);
        }
        merger.merge(|left, right| self.joins.get(&pair(left.id, right.id)).copied());
        for symbol in merger.symbols() {
            if symbol.id < self.n_tokens {
                ids.push(symbol.id);
            } else {
                let text = &word.as_bytes()[symbol.start as usize..symbol.end as usize];
                self.fallback.push(text, ids);
            }
        }
    }
}
