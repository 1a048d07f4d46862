//! The lines that may still change, and the fewest bytes that make the terminal show them.
//!
//! The cursor stands behind the last of these lines. Text that only grows is only written on; where something already
//! shown turns out otherwise, the cursor goes back to the first character that differs, and what follows is written
//! anew in the same write. Lines that have scrolled off the top stay as they are.

use super::cell::{Cell, Row, char_width, escaped, width};

/// What is shown and not yet final.
#[derive(Debug)]
pub(super) struct Screen {
    rows: Vec<Row>,
    /// Lines of the terminal.
    height: usize,
}

impl Screen {
    /// Nothing is shown; the terminal has `height` lines.
    pub(super) fn new(height: usize) -> Self {
        Self {
            rows: Vec::new(),
            height: height.max(2),
        }
    }

    /// What to write so that `rows` is shown in place of what was.
    pub(super) fn show(&mut self, rows: Vec<Row>) -> String {
        let old = std::mem::replace(&mut self.rows, rows);
        let new = &self.rows;
        if old == *new {
            return String::new();
        }
        let Some(last) = old.len().checked_sub(1) else {
            return joined(new);
        };
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        // The first line to write on, and how much of it stands.
        let (row, stands) = match (old.get(same), new.get(same)) {
            (Some(a), Some(b)) => (same, common(a, b)),
            _ if same == 0 => (0, 0),
            _ => (same - 1, old[same - 1].len()),
        };
        if row == last && stands == old[row].len() && row < new.len() {
            return rest(new, row, stands);
        }
        let top = (last + 1).saturating_sub(self.height - 1);
        let (row, stands) = if row < top { (top, 0) } else { (row, stands) };
        let kept = new.get(row).map_or(&[][..], |line| &line[..stands]);
        let kept = if is_sure(kept) { kept } else { &[] };
        let mut text = String::new();
        if last > row {
            text.push_str(&format!("\u{1b}[{}A", last - row));
        }
        text.push('\r');
        let column = width(kept);
        if column > 0 {
            text.push_str(&format!("\u{1b}[{column}C"));
        }
        text.push_str("\u{1b}[J");
        if row < new.len() {
            text.push_str(&rest(new, row, kept.len()));
        }
        text
    }

    /// What is shown is final: the cursor goes to the next line.
    pub(super) fn commit(&mut self) -> String {
        self.rows.clear();
        "\n".to_owned()
    }
}

/// How many cells at the beginning are the same.
fn common(a: &Row, b: &Row) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The lines from `row` on, without the first `stands` cells.
fn rest(rows: &[Row], row: usize, stands: usize) -> String {
    let mut text = escaped(&rows[row][stands..]);
    for row in &rows[row + 1..] {
        text.push('\n');
        text.push_str(&escaped(row));
    }
    text
}

fn joined(rows: &[Row]) -> String {
    match rows {
        [] => String::new(),
        rows => rest(rows, 0, 0),
    }
}

/// Whether every terminal gives these characters the columns that are counted here. They differ where characters
/// combine.
fn is_sure(row: &[Cell]) -> bool {
    row.iter().all(|cell| {
        char_width(cell.c) > 0
            && !('\u{1f1e6}'..='\u{1f1ff}').contains(&cell.c)
            && !('\u{1f3fb}'..='\u{1f3ff}').contains(&cell.c)
    })
}

#[cfg(test)]
mod tests {
    use anstyle::Style;

    use super::super::cell::cells;
    use super::super::terminal::Terminal;
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        text.lines().map(|line| cells(line, Style::new())).collect()
    }

    #[test]
    fn growing_text_is_only_written_on() {
        let mut screen = Screen::new(24);
        assert_eq!(screen.show(rows("a")), "a");
        assert_eq!(screen.show(rows("a")), "");
        assert_eq!(screen.show(rows("a b")), " b");
        assert_eq!(screen.show(rows("a b\nc")), "\nc");
        assert_eq!(screen.commit(), "\n");
        assert_eq!(screen.show(rows("d")), "d");
    }

    #[test]
    fn only_what_differs_is_written_anew() {
        let mut screen = Screen::new(24);
        screen.show(rows("one\ntwo\nthree"));
        assert_eq!(
            screen.show(rows("one\ntoo\nthree")),
            "\u{1b}[1A\r\u{1b}[1C\u{1b}[Joo\nthree"
        );
        assert_eq!(screen.show(rows("one")), "\u{1b}[2A\r\u{1b}[3C\u{1b}[J");
    }

    #[test]
    fn any_state_becomes_any_other() {
        let states = [
            "",
            "a",
            "ab",
            "a\nb",
            "a\nc\nd",
            "x\nc\nd",
            "a",
            "e\u{301}x",
            "e\u{301}y",
            "你a",
            "你b",
        ];
        for from in states {
            for to in states {
                let mut screen = Screen::new(24);
                let mut terminal = Terminal::new(20);
                terminal.write("above\n");
                terminal.write(&screen.show(rows(from)));
                terminal.write(&screen.show(rows(to)));
                let mut expected = Terminal::new(20);
                expected.write(&format!("above\n{to}"));
                assert_eq!(terminal.screen(), expected.screen(), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn what_scrolled_away_is_left_alone() {
        let mut screen = Screen::new(3);
        screen.show(rows("1\n2\n3\n4"));
        assert_eq!(
            screen.show(rows("x\n2\nz\n4")),
            "\u{1b}[1A\r\u{1b}[Jz\n4",
            "no further than what is on the screen"
        );
        assert_eq!(screen.show(rows("x")), "\u{1b}[1A\r\u{1b}[J");
    }
}
