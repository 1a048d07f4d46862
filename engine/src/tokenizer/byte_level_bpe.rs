//! Byte-level BPE (`tokenizer.ggml.model` = `gpt2`): words from the pre-tokeniser, bytes joined by rank.
//!
//! Merges are kept by id, so joining never builds a string. A merge may pass through a text that has no token of its
//! own; such texts get ids after the vocabulary's end, and when one is left over its bytes are emitted one by one.
use super::merge::{Join, Merger};
use super::pieces::{PieceIndex, Pieces};
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{TokenType, Vocabulary};
use super::word_cache::WordCache;
use super::{TokenId, TokenizerError, byte_alphabet};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

#[derive(Debug)]
pub(super) struct ByteLevelBpe {
    pub(super) pre_tokenizer: &'static PreTokenizer,
    n_tokens: u32,
    /// Whole words, for vocabularies that take these without merging.
    words: PieceIndex,
    /// The symbol of each byte.
    bytes: Box<[u32; 256]>,
    /// Pair of symbols, left in the upper half → how it joins.
    joins: FxHashMap<u64, Join>,
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
        let mut symbols = Symbols::new(bytes, &words);
        let mut byte_symbols = Box::new([0; 256]);
        for (byte, symbol) in (0..=255).zip(byte_symbols.iter_mut()) {
            *symbol = symbols.id_of(&[byte]);
        }
        let joins = read_merges(&vocabulary.merges, &mut symbols, byte_alphabet::decode_into)?;
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
        merger.merge(|left, right| self.joins.get(&pair(left.id, right.id)).copied());
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

pub(super) fn pair(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}

/// Hands out symbol ids: the token's where there is one, else one after the vocabulary's end.
pub(super) struct Symbols<'v> {
    bytes: &'v Pieces,
    words: &'v PieceIndex,
    unlisted: FxHashMap<Vec<u8>, u32>,
}

impl<'v> Symbols<'v> {
    /// `words` is an index over `bytes`, the bytes of each token.
    pub(super) fn new(bytes: &'v Pieces, words: &'v PieceIndex) -> Self {
        Self {
            bytes,
            words,
            unlisted: FxHashMap::default(),
        }
    }

    /// The texts that are no tokens.
    pub(super) fn into_unlisted(self) -> FxHashMap<Vec<u8>, u32> {
        self.unlisted
    }

    fn id_of(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = self.words.get(self.bytes, text) {
            return id;
        }
        if let Some(&id) = self.unlisted.get(text) {
            return id;
        }
        // vocabulary and merges are arrays of a file in memory; together they cannot reach 2³²
        let id = (self.bytes.len() + self.unlisted.len()) as u32;
        self.unlisted.insert(text.to_vec(), id);
        id
    }
}

/// Reads `left right` lines; the place in the list is the rank, and of equal pairs the first counts. `decode_into` says
/// what bytes a text stands for, and whether any word can have it.
///
/// # Errors
/// A line that is not two texts.
pub(super) fn read_merges(
    merges: &[&[u8]],
    symbols: &mut Symbols<'_>,
    decode_into: impl Fn(&[u8], &mut Vec<u8>) -> bool,
) -> Result<FxHashMap<u64, Join>, TokenizerError> {
    let mut joins = FxHashMap::with_capacity_and_hasher(merges.len(), rustc_hash::FxBuildHasher);
    let (mut left, mut both) = (Vec::new(), Vec::new());
    for (rank, merge) in (0u32..u32::MAX).zip(merges) {
        // a text is never empty, so a space at the very front belongs to the left one
        let space = merge.iter().skip(1).position(|&byte| byte == b' ');
        let Some(space) = space.map(|at| at + 1).filter(|&at| at + 1 < merge.len()) else {
            return Err(TokenizerError::Vocabulary {
                problem: format!(
                    "its merge {rank} `{}` is not two texts",
                    String::from_utf8_lossy(merge).escape_debug()
                ),
            });
        };
        let (left_text, right_text) = (&merge[..space], &merge[space + 1..]);
        let spelled = decode_into(left_text, &mut left) && decode_into(right_text, &mut both);
        if !spelled {
            continue; // no word has such a character
        }
        let left_id = symbols.id_of(&left);
        let right_id = symbols.id_of(&both);
        both.splice(0..0, left.iter().copied());
        let id = symbols.id_of(&both);
        let priority = u32::MAX - rank;
        joins
            .entry(pair(left_id, right_id))
            .or_insert(Join { priority, id });
    }
    Ok(joins)
}
