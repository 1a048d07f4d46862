//! What kind of character this is, in the words of the pre-tokenisers' patterns.
//!
//! `char::is_alphabetic` is the derived property Alphabetic, not `\p{L}` (it has marks and letter numbers in it), so
//! general categories come from `unicode-properties`: one small table-only crate of the Unicode-rs group, kept at the
//! current Unicode version, without dependencies. `char::is_whitespace` is exactly White_Space, that is `\s`.
use std::ops::BitOr;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// A set of character kinds; a character belongs to exactly one of the first five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// `\p{L}`.
    pub(super) const LETTER: Self = Self(1);
    /// `\p{M}`.
    pub(super) const MARK: Self = Self(2);
    /// `\p{N}`.
    pub(super) const NUMBER: Self = Self(4);
    /// `\s`.
    pub(super) const SPACE: Self = Self(8);
    /// None of the four above.
    pub(super) const OTHER: Self = Self(16);
    /// `[^\s\p{L}\p{N}]`.
    pub(super) const OTHER_OR_MARK: Self = Self(16 | 2);
    /// `\r` or `\n`.
    pub(super) const NEWLINE: Self = Self(32);
    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
    pub(super) const UPPER: Self = Self(64);
    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
    pub(super) const LOWER: Self = Self(128);
    /// `\p{P}`.
    pub(super) const PUNCTUATION: Self = Self(256);
    /// `\p{S}`.
    pub(super) const SYMBOL: Self = Self(1024);
    /// `[0-9]`.
    pub(super) const ASCII_DIGIT: Self = Self(512);

    /// Whether the two sets share a kind.
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// Both sets together.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// The kinds of `c`.
    fn of(c: char) -> Self {
        use GeneralCategory as G;
        if c.is_whitespace() {
            return Self::SPACE;
        }
        match c.general_category() {
            G::UppercaseLetter | G::TitlecaseLetter => Self::LETTER | Self::UPPER,
            G::LowercaseLetter => Self::LETTER | Self::LOWER,
            G::ModifierLetter | G::OtherLetter => Self::LETTER | Self::UPPER | Self::LOWER,
            G::NonspacingMark | G::SpacingMark | G::EnclosingMark => {
                Self::MARK | Self::UPPER | Self::LOWER
            }
            G::DecimalNumber | G::LetterNumber | G::OtherNumber => Self::NUMBER,
            G::ConnectorPunctuation
            | G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation => Self::OTHER | Self::PUNCTUATION,
            G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => {
                Self::OTHER | Self::SYMBOL
            }
            _ => Self::OTHER,
        }
    }
}

impl BitOr for Kinds {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

const ASCII: [Kinds; 128] = {
    let mut kinds = [Kinds::OTHER; 128];
    let mut code = 0;
    while code < 128 {
        kinds[code] = match code as u8 {
            b'\r' | b'\n' => Kinds::SPACE.and(Kinds::NEWLINE),
            b'\t' | 0x0b | 0x0c | b' ' => Kinds::SPACE,
            b'0'..=b'9' => Kinds::NUMBER.and(Kinds::ASCII_DIGIT),
            b'A'..=b'Z' => Kinds::LETTER.and(Kinds::UPPER),
            b'a'..=b'z' => Kinds::LETTER.and(Kinds::LOWER),
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => {
                Kinds::OTHER.and(Kinds::SYMBOL)
            }
            c if c.is_ascii_punctuation() => Kinds::OTHER.and(Kinds::PUNCTUATION),
            _ => Kinds::OTHER,
        };
        code += 1;
    }
    kinds
};

/// The kinds of the character at byte `at` (a character's first) and where the next begins; `None` at the end.
pub(super) fn kinds_at(text: &str, at: usize) -> Option<(Kinds, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if byte < 128 {
        return Some((ASCII[usize::from(byte)], at + 1));
    }
    let c = text[at..].chars().next()?;
    Some((Kinds::of(c), at + c.len_utf8()))
}

/// Where the run of characters from `at` that are of one of `kinds` ends.
pub(super) fn run_end(text: &str, mut at: usize, kinds: Kinds) -> usize {
    while let Some((found, next)) = kinds_at(text, at) {
        if !found.meets(kinds) {
            break;
        }
        at = next;
    }
    at
}

/// As [`run_end`], but at most `n_max` characters.
pub(super) fn run_end_at_most(text: &str, mut at: usize, kinds: Kinds, n_max: usize) -> usize {
    for _ in 0..n_max {
        match kinds_at(text, at) {
            Some((found, next)) if found.meets(kinds) => at = next,
            _ => break,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_table_is_what_unicode_says() {
        for code in 0..128u8 {
            let general = Kinds::of(char::from(code));
            let mut expected = general;
            if matches!(code, b'\r' | b'\n') {
                expected = expected | Kinds::NEWLINE;
            }
            if code.is_ascii_digit() {
                expected = expected | Kinds::ASCII_DIGIT;
            }
            assert_eq!(ASCII[usize::from(code)], expected, "byte {code}");
        }
    }

    #[test]
    fn categories_that_the_standard_library_would_get_wrong() {
        #[track_caller]
        fn check(c: char, expected: Kinds) {
            assert_eq!(Kinds::of(c), expected);
        }
        check('\u{0903}', Kinds::MARK | Kinds::UPPER | Kinds::LOWER); // Alphabetic, but category Mc
        check('Ⅷ', Kinds::NUMBER); // Alphabetic, but category Nl
        check('ⓐ', Kinds::OTHER | Kinds::SYMBOL); // Alphabetic, but category So
        check('½', Kinds::NUMBER);
        check('\u{a0}', Kinds::SPACE);
        check('\u{200b}', Kinds::OTHER);
        check('中', Kinds::LETTER | Kinds::UPPER | Kinds::LOWER);
        check('’', Kinds::OTHER | Kinds::PUNCTUATION);
    }
}
