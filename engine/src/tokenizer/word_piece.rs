//! WordPiece (`tokenizer.ggml.model` = `bert`): text cleaned and cut into words, each word covered from the left by the
//! longest pieces that fit.
//!
//! A GGUF spells the piece that begins a word with `▁` in front and the others bare, where the original vocabulary has
//! the first bare and `##` in front of the others; as in [`super::sentence_piece`] the `▁` is kept as a space. Cleaning
//! is that of the models' own tokenizers (`BertNormalizer`, `BertPreTokenizer`). Linear: words are bounded.
use super::TokenId;
use super::pieces::{PieceIndex, Pieces};
use super::vocabulary::{TokenType, Vocabulary};
use super::word_cache::WordCache;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// A word of more characters is unknown.
const MAX_WORD_CHARS: usize = 100;
/// Characters that are words of their own. The last block but two is what the models' tokenizers have; in Unicode it
/// begins at U+2B820.
const IDEOGRAPHS: [std::ops::RangeInclusive<u32>; 8] = [
    0x4E00..=0x9FFF,
    0x3400..=0x4DBF,
    0x20000..=0x2A6DF,
    0x2A700..=0x2B73F,
    0x2B740..=0x2B81F,
    0x2B920..=0x2CEAF,
    0xF900..=0xFAFF,
    0x2F800..=0x2FA1F,
];

#[derive(Debug)]
pub(super) struct WordPiece {
    pieces: PieceIndex,
    unknown: Option<TokenId>,
    lowercase: bool,
    strip_accents: bool,
}

impl WordPiece {
    /// Builds the table. `bytes` are the bytes of each token, `spelled` whether text can become it.
    pub(super) fn new(vocabulary: &Vocabulary<'_>, bytes: &Pieces, spelled: &[bool]) -> Self {
        let reachable = (0..)
            .zip(vocabulary.types.iter().zip(spelled))
            .filter(|(_, (token_type, spelled))| **token_type == TokenType::Normal && **spelled)
            .map(|(id, _)| id);
        let rules = &vocabulary.rules;
        let lowercase = rules.lowercase.unwrap_or(true);
        Self {
            pieces: PieceIndex::new(bytes, reachable),
            unknown: rules.unknown,
            lowercase,
            strip_accents: rules.strip_accents.unwrap_or(lowercase),
        }
    }

    /// The words of `text`, each with one space in front and no other white space.
    pub(super) fn normalize(&self, text: &str) -> String {
        let clean = text.chars().filter_map(|c| match c {
            '\t' | '\n' | '\r' => Some(' '),
            '\u{fffd}' => None,
            _ if c.is_ascii_graphic() => Some(c),
            _ if is_invisible(c) => None,
            _ if c.is_whitespace() => Some(' '),
            _ => Some(c),
        });
        let spaced = clean.flat_map(|c| {
            let around = is_ideograph(c).then_some(' ');
            around.into_iter().chain([c]).chain(around)
        });
        if self.strip_accents {
            let is_accent = |c: &char| c.general_category() == GeneralCategory::NonspacingMark;
            self.words(spaced.nfd().filter(|c| !is_accent(c)), text.len())
        } else {
            self.words(spaced, text.len())
        }
    }

    fn words(&self, clean: impl Iterator<Item = char>, n_bytes: usize) -> String {
        let mut words = String::with_capacity(n_bytes + n_bytes / 4);
        let mut is_word_open = false;
        for c in clean {
            if c == ' ' {
                is_word_open = false;
                continue;
            }
            let is_alone = is_punctuation(c);
            if is_alone || !is_word_open {
                words.push(' ');
            }
            if self.lowercase {
                words.extend(c.to_lowercase());
            } else {
                words.push(c);
            }
            is_word_open = !is_alone;
        }
        words
    }

    /// Appends the tokens of normalised text to those that `cache` collects.
    pub(super) fn encode<'t>(&self, words: &'t str, pieces: &Pieces, cache: &mut WordCache<'t>) {
        let starts = words.match_indices(' ').map(|(at, _)| at);
        let ends = starts.clone().skip(1).chain([words.len()]);
        for (start, end) in starts.zip(ends) {
            cache.encode(&words[start..end], |word, _, ids| {
                self.encode_word(word, pieces, ids);
            });
        }
    }

    /// `word` has its space in front.
    fn encode_word(&self, word: &str, pieces: &Pieces, ids: &mut Vec<TokenId>) {
        let before = ids.len();
        let mut rest = word;
        if word.chars().count() > MAX_WORD_CHARS + 1 {
            rest = "";
            ids.extend(self.unknown);
        }
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            let longest_first = ends.rev();
            let piece = longest_first
                .map(|end| (self.pieces.get(pieces, &rest.as_bytes()[..end]), end))
                .find_map(|(id, end)| Some((id?, end)));
            match piece {
                Some((id, end)) => {
                    ids.push(id);
                    rest = &rest[end..];
                }
                None => {
                    ids.truncate(before);
                    ids.extend(self.unknown);
                    return;
                }
            }
        }
    }
}

/// What cleaning takes out: control, format and private characters.
fn is_invisible(c: char) -> bool {
    use GeneralCategory as G;
    matches!(c.general_category(), G::Control | G::Format | G::PrivateUse)
}

fn is_ideograph(c: char) -> bool {
    IDEOGRAPHS.iter().any(|range| range.contains(&u32::from(c)))
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation
}
