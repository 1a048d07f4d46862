//! Characters with their style: what lines are made of before they become escape sequences.

use anstyle::Style;
use unicode_width::UnicodeWidthChar;

/// One character and how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The character; a newline breaks the line wherever the text is laid out.
    pub c: char,
    /// How it looks.
    pub style: Style,
}

/// A line of the screen.
pub(super) type Row = Vec<Cell>;

/// The characters of `text`, all in one style.
pub(super) fn cells(text: &str, style: Style) -> Row {
    text.chars().map(|c| Cell { c, style }).collect()
}

/// Columns of a character.
pub(super) fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Columns of a line.
pub(super) fn width(row: &[Cell]) -> usize {
    row.iter().map(|cell| char_width(cell.c)).sum()
}

/// The text with its escape sequences; every style that it begins it ends.
pub(super) fn escaped(row: &[Cell]) -> String {
    let mut text = String::new();
    for run in row.chunk_by(|a, b| a.style == b.style) {
        let style = run[0].style;
        text.push_str(&style.render().to_string());
        text.extend(run.iter().map(|cell| cell.c));
        text.push_str(&style.render_reset().to_string());
    }
    text
}
