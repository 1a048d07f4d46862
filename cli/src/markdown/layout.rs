//! Text broken into lines between words, measured in columns.

use super::cell::{Cell, Row, char_width, width};

/// Breaks `text` into lines of at most `columns`; the first begins with `first`, the others with `next`.
///
/// Blanks at a break go; a newline in the text breaks the line. Wide characters may be broken between, and a word longer
/// than a line is cut. There is always a line, even for no text.
pub(super) fn wrap(text: &[Cell], columns: usize, first: &[Cell], next: &[Cell]) -> Vec<Row> {
    let mut wrap = Wrap {
        columns: columns.max(1),
        next,
        rows: Vec::new(),
        row: first.to_vec(),
        column: width(first),
        has_words: false,
        blanks: Vec::new(),
    };
    let mut word: Row = Vec::new();
    for cell in text {
        match cell.c {
            '\n' => {
                wrap.word(&std::mem::take(&mut word));
                wrap.break_line();
            }
            c if is_blank(c) => {
                wrap.word(&std::mem::take(&mut word));
                wrap.blanks.push(Cell { c: ' ', ..*cell });
            }
            c if char_width(c) > 1 => {
                wrap.word(&std::mem::take(&mut word));
                word.push(*cell);
            }
            // what combines stays with the wide character before it, anything else is a new word
            c if word.last().is_some_and(|last| char_width(last.c) > 1) && char_width(c) > 0 => {
                wrap.word(&std::mem::take(&mut word));
                word.push(*cell);
            }
            _ => word.push(*cell),
        }
    }
    wrap.word(&word);
    wrap.rows.push(wrap.row);
    wrap.rows
}

/// Breaks `text` where the columns end, blanks and all: for code.
pub(super) fn cut(text: &[Cell], columns: usize, first: &[Cell]) -> Vec<Row> {
    let mut rows = vec![first.to_vec()];
    let mut column = width(first);
    for cell in text {
        let width = char_width(cell.c);
        if column + width > columns {
            rows.push(Vec::new());
            column = 0;
        }
        column += width;
        if let Some(row) = rows.last_mut() {
            row.push(*cell);
        }
    }
    rows
}

/// Whether a line may be broken here. A no-break space is none of these.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\u{a0}' && c != '\u{202f}'
}

struct Wrap<'a> {
    columns: usize,
    next: &'a [Cell],
    rows: Vec<Row>,
    row: Row,
    column: usize,
    /// Whether the line holds more than its beginning.
    has_words: bool,
    blanks: Row,
}

impl Wrap<'_> {
    fn word(&mut self, word: &[Cell]) {
        if word.is_empty() {
            return;
        }
        let blanks = std::mem::take(&mut self.blanks);
        if self.has_words {
            if self.column + blanks.len() + width(word) > self.columns {
                self.break_line();
            } else {
                self.column += blanks.len();
                self.row.extend(blanks);
            }
        }
        for cell in word {
            let width = char_width(cell.c);
            if self.column + width > self.columns && self.has_words {
                self.break_line();
            }
            self.row.push(*cell);
            self.column += width;
            self.has_words = true;
        }
    }

    fn break_line(&mut self) {
        self.blanks.clear();
        let row = std::mem::replace(&mut self.row, self.next.to_vec());
        self.rows.push(row);
        self.column = width(self.next);
        self.has_words = false;
    }
}

#[cfg(test)]
mod tests {
    use anstyle::Style;

    use super::super::cell::cells;
    use super::*;

    fn lines(rows: &[Row]) -> Vec<String> {
        let text = |row: &Row| row.iter().map(|cell| cell.c).collect();
        rows.iter().map(text).collect()
    }

    #[track_caller]
    fn check(text: &str, columns: usize, expected: &[&str]) {
        let plain = |text| cells(text, Style::new());
        let rows = wrap(&plain(text), columns, &plain("- "), &plain("  "));
        assert_eq!(lines(&rows), expected);
        assert!(rows.iter().all(|row| width(row) <= columns), "{rows:?}");
    }

    #[test]
    fn lines_break_between_words_and_hang() {
        check("", 9, &["- "]);
        check("one two three", 9, &["- one two", "  three"]);
        check("one  two ", 20, &["- one  two"]);
        check("one\ntwo", 20, &["- one", "  two"]);
        check("abcdefghij", 6, &["- abcd", "  efgh", "  ij"]);
        check("a\u{a0}b c\u{a0}d", 7, &["- a\u{a0}b", "  c\u{a0}d"]);
    }

    #[test]
    fn wide_characters_break_anywhere() {
        check("你好世界", 6, &["- 你好", "  世界"]);
        check("a你b好c", 6, &["- a你b", "  好c"]);
        check("x 你\u{301}好", 7, &["- x 你\u{301}", "  好"]);
    }

    #[test]
    fn code_is_cut_where_the_line_ends() {
        let plain = |text| cells(text, Style::new());
        let rows = cut(&plain("  a b  c"), 4, &plain(">"));
        assert_eq!(lines(&rows), [">  a", " b  ", "c"]);
    }
}
