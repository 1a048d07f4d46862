//! The patterns of DeepSeek's models. Those of the first two generations are lists of character classes, most with one
//! white space in front (see [`Class`]); the third generation's last pattern is
//! `[ascii punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|S`, with S as in
//! [`super::llama3`].
use super::llama3::{signs_end, white_space_end};
use super::runs::matches_and_gaps;
use super::unicode::{Kinds, kinds_at, run_end};

/// A class of characters that a pattern spells out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// `\p{L}`.
    Letter,
    /// `\p{P}`.
    Punctuation,
    /// `[A-Za-zµÀ-Ö…]`: [`CASED`].
    Cased,
    /// `[!-/:-~！-／：-～‘-‟\u{3000}-。]`.
    Sign,
    /// `[一-龥\u{800}-一가-\u{d7ff}]`.
    EastAsian,
    /// `[一-龥\u{3040}-ゟ゠-ヿ]`.
    ChineseOrJapanese,
}

impl Class {
    fn has(self, c: char, kinds: Kinds) -> bool {
        match self {
            Self::Letter => kinds.meets(Kinds::LETTER),
            Self::Punctuation => kinds.meets(Kinds::PUNCTUATION),
            Self::Cased => {
                let after = CASED.partition_point(|(first, _)| *first <= c);
                after > 0 && c <= CASED[after - 1].1
            }
            Self::Sign => matches!(c,
                '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。'),
            Self::EastAsian => matches!(c, '\u{800}'..='龥' | '가'..='\u{d7ff}'),
            Self::ChineseOrJapanese => matches!(c, '一'..='龥' | '\u{3040}'..='ヿ'),
        }
    }

    fn run_end(self, text: &str, mut at: usize) -> usize {
        while let Some((kinds, next)) = kinds_at(text, at) {
            let is_in = text[at..next].chars().all(|c| self.has(c, kinds));
            if !is_in {
                break;
            }
            at = next;
        }
        at
    }
}

/// Matches of `\s?[class]+`, or without the `\s?`, and the gaps between them.
pub(super) fn classes<'t>(
    text: &'t str,
    class: Class,
    after_space: bool,
    emit: &mut dyn FnMut(&'t str),
) {
    matches_and_gaps(text, emit, |at| {
        let (kinds, next) = kinds_at(text, at)?;
        if after_space && kinds.meets(Kinds::SPACE) {
            let end = class.run_end(text, next);
            if end > next {
                return Some(end);
            }
        }
        let end = class.run_end(text, at);
        (end > at).then_some(end)
    });
}

/// Matches of `\s+$` and what comes before.
pub(super) fn trailing_space<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let (before, space) = text.split_at(text.trim_end().len());
    for part in [before, space] {
        if !part.is_empty() {
            emit(part);
        }
    }
}

/// Matches of the third generation's last pattern and the gaps.
pub(super) fn split_v3<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    const WORD: Kinds = Kinds::LETTER.and(Kinds::MARK);
    const SIGNS: Kinds = Kinds::PUNCTUATION.and(Kinds::SYMBOL);
    const NO_PREFIX: Kinds = Kinds::NEWLINE.and(Kinds::LETTER).and(SIGNS);
    matches_and_gaps(text, emit, |at| {
        let (kinds, next) = kinds_at(text, at)?;
        let bytes = text.as_bytes();
        if bytes[at].is_ascii_punctuation() {
            let letters = bytes[next..].iter().take_while(|b| b.is_ascii_alphabetic());
            let end = next + letters.count();
            if end > next {
                return Some(end);
            }
        }
        if !kinds.meets(NO_PREFIX) {
            let end = run_end(text, next, WORD);
            if end > next {
                return Some(end);
            }
        }
        let end = run_end(text, at, WORD);
        if end > at {
            return Some(end);
        }
        if let Some(end) = signs_end(text, at, SIGNS) {
            return Some(run_end(text, end, Kinds::NEWLINE));
        }
        kinds.meets(Kinds::SPACE).then(|| white_space_end(text, at))
    });
}

/// Letters that come in capitals and small, as the first generation's pattern lists them; ranges in order.
#[rustfmt::skip]
const CASED: [(char, char); 87] = [
    ('A', 'Z'), ('a', 'z'), ('\u{b5}', '\u{b5}'), ('\u{c0}', '\u{d6}'), ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'), ('\u{1bc}', '\u{1bf}'), ('\u{1c4}', '\u{293}'), ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'), ('\u{376}', '\u{376}'), ('\u{377}', '\u{377}'), ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'), ('\u{386}', '\u{386}'), ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'), ('\u{3a3}', '\u{3f5}'), ('\u{3f7}', '\u{481}'), ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'), ('\u{10a0}', '\u{10c5}'), ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'), ('\u{1c90}', '\u{1cba}'), ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'), ('\u{1d6b}', '\u{1d77}'), ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'), ('\u{1f18}', '\u{1f1d}'), ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'), ('\u{1f50}', '\u{1f57}'), ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'), ('\u{1f5d}', '\u{1f5d}'), ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'), ('\u{1fb6}', '\u{1fbc}'), ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'), ('\u{1fc6}', '\u{1fcc}'), ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'), ('\u{1fe0}', '\u{1fec}'), ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'), ('\u{2102}', '\u{2102}'), ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'), ('\u{2115}', '\u{2115}'), ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'), ('\u{2126}', '\u{2126}'), ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'), ('\u{212f}', '\u{2134}'), ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'), ('\u{2145}', '\u{2149}'), ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'), ('\u{2184}', '\u{2184}'), ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'), ('\u{2ceb}', '\u{2cee}'), ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'), ('\u{a640}', '\u{a66d}'), ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'), ('\u{a771}', '\u{a787}'), ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'), ('\u{fb00}', '\u{fb06}'), ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'), ('\u{104d8}', '\u{104fb}'), ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'), ('\u{118a0}', '\u{118df}'), ('\u{1e900}', '\u{1e943}'),
];
