//! Byte-level BPE (`tokenizer.ggml.model` = `gpt2`): words from the pre-tokeniser, bytes joined by rank.
//!
//! Merges are kept by id, so joining never builds a string. A merge may pass through a text that has no token of its
//! own; such texts get ids after the vocabulary's end, and when one is left over its bytes are emitted one by one.
use super::joins::{Joins, Symbols};
use super::merge::Merger;
use super::pieces::{PieceIndex, Pieces};
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{TokenType, Vocabulary};
use super::word_cache::WordCache;
use super::{TokenId, TokenizerError, byte_alphabet};
use std::borrow::Cow;
use std::collections::HashMap;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

#[derive(Debug)]
pub(super) struct ByteLevelBpe {
    pub(super) pre_tokenizer: &'static PreTokenizer,
    n_tokens: u32,
    /// Whole words, for vocabularies that take these without merging.
    words: PieceIndex,
    /// The symbol of each byte.
    bytes: Box<[u32; 256]>,
    /// How pairs of symbols join.
    joins: Joins,
    unknown: Option<TokenId>,
}

impl ByteLevelBpe {
    /// Builds the tables. `bytes` are the bytes of each token, `spelled` whether its text is all byte alphabet.
    ///
    /// # Errors
    /// An unknown pre-tokeniser or a merge that is not two texts.
    pub(super) fn new(
        vocabulary: &Vocabulary<'_>,
        bytes: &Pieces,
        spelled: &[bool],
    ) -> Result<Self, TokenizerError> {
        let name = vocabulary.pre.unwrap_or_else(|| {
            tracing::warn!("the model names no pre-tokeniser; using `default`");
            "default"
        });
        let pre_tokenizer = PreTokenizer::named(name)?;
        let normal = (0..)
            .zip(vocabulary.types.iter().zip(spelled))
            .filter(|(_, (token_type, spelled))| **token_type == TokenType::Normal && **spelled);
        let words = PieceIndex::new(bytes, normal.map(|(id, _)| id));
        let mut symbols = Symbols {
            bytes,
            words: &words,
            unlisted: HashMap::new(),
        };
        let mut byte_symbols = Box::new([0; 256]);
        for (byte, symbol) in (0..=255).zip(byte_symbols.iter_mut()) {
            *symbol = symbols.id_of_byte(byte);
        }
        let decode_into = byte_alphabet::decode_into;
        let joins = Joins::read(&vocabulary.merges, decode_into, &mut symbols)?;
        Ok(Self {
            pre_tokenizer,
            n_tokens: bytes.len() as u32,
            words,
            bytes: byte_symbols,
            joins,
            unknown: vocabulary.rules.unknown,
        })
    }

    /// What happens to ordinary text before it is split.
    pub(super) fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let composed = !self.pre_tokenizer.compose
            || text.is_ascii()
            || is_nfc_quick(text.chars()) == IsNormalized::Yes;
        if composed {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.nfc().collect())
        }
    }

    /// Appends the tokens of ordinary text to those that `cache` collects.
    pub(super) fn encode<'t>(&self, text: &'t str, pieces: &Pieces, cache: &mut WordCache<'t>) {
        self.pre_tokenizer.split(text, &mut |word| {
            cache.encode(word, |word, merger, ids| {
                self.encode_word(word.as_bytes(), pieces, merger, ids);
            });
        });
    }

    fn encode_word(
        &self,
        word: &[u8],
        pieces: &Pieces,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) {
        if (self.pre_tokenizer.ignore_merges || word.len() == 1)
            && let Some(id) = self.words.get(pieces, word)
        {
            ids.push(id);
            return;
        }
        merger.clear();
        for (end, &byte) in (1..).zip(word) {
            merger.push(self.bytes[usize::from(byte)], end);
        }
        merger.merge(|left, right| self.joins.of(left.id, right.id));
        for symbol in merger.symbols() {
            if symbol.id < self.n_tokens {
                ids.push(symbol.id);
                continue;
            }
            for &byte in &word[symbol.start as usize..symbol.end as usize] {
                let id = Some(self.bytes[usize::from(byte)]).filter(|&id| id < self.n_tokens);
                ids.extend(id.or(self.unknown));
            }
        }
    }
}
