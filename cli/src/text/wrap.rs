//! Word wrap for text that arrives in pieces, measured in terminal columns.
//!
//! A word is held back until it is complete, since only then is it known whether it fits on the line. Indentation after
//! a newline stays; the blank at which a line is broken goes. Wide characters (CJK) may be broken between, and a word
//! longer than a line is cut.

use unicode_width::UnicodeWidthChar;

/// Tabs are this wide, roughly: their true width depends on the column.
const TAB_WIDTH: usize = 8;

/// Turns pieces of text into pieces of wrapped text.
#[derive(Debug)]
pub(crate) struct Wrap {
    /// Columns of a line; `None` wraps nothing.
    width: Option<usize>,
    /// Columns of the current line already handed out.
    column: usize,
    /// Blanks before the held word, not yet handed out.
    blanks: String,
    /// The word that may still grow.
    word: String,
    word_width: usize,
    /// Whether the current line holds anything but indentation.
    has_words: bool,
}

impl Wrap {
    /// Wraps at `width` columns, or not at all.
    pub(crate) fn new(width: Option<usize>) -> Self {
        Self {
            width: width.filter(|width| *width > 1),
            column: 0,
            blanks: String::new(),
            word: String::new(),
            word_width: 0,
            has_words: false,
        }
    }

    /// Takes a piece of text and returns what can be shown by now.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let Some(width) = self.width else {
            return text.to_owned();
        };
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => {
                    self.end_word(width, &mut out);
                    self.blanks.clear();
                    self.new_line(&mut out);
                }
                ' ' | '\t' => {
                    self.end_word(width, &mut out);
                    self.blanks.push(c);
                }
                _ => self.push_char(c, width, &mut out),
            }
        }
        out
    }

    /// What was held back, at the end of the text.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if let Some(width) = self.width {
            self.end_word(width, &mut out);
        }
        out
    }

    fn push_char(&mut self, c: char, width: usize, out: &mut String) {
        let char_width = c.width().unwrap_or(0);
        let is_wide = char_width > 1;
        if is_wide || self.word_width + char_width > width {
            self.end_word(width, out);
        }
        self.word.push(c);
        self.word_width += char_width;
        if is_wide {
            self.end_word(width, out);
        }
    }

    /// Hands out the held word, on a new line where it does not fit.
    fn end_word(&mut self, width: usize, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let blank_width: usize = self.blanks.chars().map(blank_width).sum();
        if self.column + blank_width + self.word_width > width && self.has_words {
            self.new_line(out);
        } else {
            out.push_str(&self.blanks);
            self.column += blank_width;
        }
        self.blanks.clear();
        out.push_str(&self.word);
        self.column += self.word_width;
        self.has_words = true;
        self.word.clear();
        self.word_width = 0;
    }

    fn new_line(&mut self, out: &mut String) {
        out.push('\n');
        self.column = 0;
        self.has_words = false;
    }
}

fn blank_width(c: char) -> usize {
    if c == '\t' { TAB_WIDTH } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps the text in one piece and character by character; both must agree.
    #[track_caller]
    fn check(width: usize, text: &str, expected: &str) {
        let mut wrap = Wrap::new(Some(width));
        let whole = wrap.push(text) + &wrap.finish();
        assert_eq!(whole, expected);
        let mut wrap = Wrap::new(Some(width));
        let mut pieces: String = text.chars().map(|c| wrap.push(&c.to_string())).collect();
        pieces += &wrap.finish();
        assert_eq!(pieces, expected, "character by character");
    }

    #[test]
    fn lines_break_between_words() {
        check(10, "the quick brown fox", "the quick\nbrown fox");
        check(9, "the quick brown", "the quick\nbrown");
        check(8, "the quick brown", "the\nquick\nbrown");
    }

    #[test]
    fn newlines_and_indentation_stay() {
        check(20, "a\n\n    let x = 1;\n", "a\n\n    let x = 1;\n");
        check(10, "- one two three", "- one two\nthree");
        check(4, "ab\ncd ef", "ab\ncd\nef");
    }

    #[test]
    fn blanks_at_a_break_go() {
        check(5, "abcd   efgh", "abcd\nefgh");
        check(5, "ab   \ncd", "ab\ncd");
    }

    #[test]
    fn long_words_are_cut() {
        check(4, "abcdefghij", "abcd\nefgh\nij");
        check(4, "x abcdefgh", "x\nabcd\nefgh");
    }

    #[test]
    fn wide_characters_count_twice_and_break_anywhere() {
        check(6, "你好世界", "你好世\n界");
        check(5, "a你好世界", "a你好\n世界");
        check(
            4,
            "e\u{301}e\u{301}e\u{301}e\u{301} x",
            "e\u{301}e\u{301}e\u{301}e\u{301}\nx",
        );
    }

    #[test]
    fn a_word_is_held_back_until_it_is_complete() {
        let mut wrap = Wrap::new(Some(20));
        assert_eq!(wrap.push("Hel"), "");
        assert_eq!(wrap.push("lo wor"), "Hello");
        assert_eq!(wrap.push("ld"), "");
        assert_eq!(wrap.finish(), " world");
    }

    #[test]
    fn without_width_nothing_changes() {
        let mut wrap = Wrap::new(None);
        assert_eq!(wrap.push("a  b\tc "), "a  b\tc ");
        assert_eq!(wrap.finish(), "");
    }
}
