//! Tables: columns as wide as they need to be, narrower where the terminal is, and a list where even that is too wide.

use anstyle::Style;

use super::cell::{Cell, Row, cells, width};
use super::inline;
use super::layout::wrap;

/// Lines of a table; what follows is text.
pub(super) const MAX_LINES: usize = 1000;
/// Columns of a table; what follows is dropped, as is what has no heading.
const MAX_COLUMNS: usize = 64;
/// No column is made narrower than this.
const MIN_WIDTH: usize = 5;
const SEPARATOR: &str = " │ ";
const CROSSING: &str = "─┼─";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Center,
    Right,
}

/// Whether a line could be the first of a table.
pub(super) fn may_begin_with(line: &str) -> bool {
    line.contains('|')
}

/// Whether `line` is the rule below the headings in `head`: as many cells, of dashes and colons.
pub(super) fn is_rule_of(head: &str, line: &str) -> bool {
    alignments(line).is_some_and(|aligns| aligns.len() == split(head).len())
}

/// Whether a line that begins so could be such a rule.
pub(super) fn may_be_rule(start: &str) -> bool {
    start
        .chars()
        .all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

/// The table of these lines (headings, rule, rows) in at most `columns`.
pub(super) fn rows(lines: &[String], columns: usize) -> Vec<Row> {
    let [head, rule, body @ ..] = lines else {
        return Vec::new();
    };
    let aligns = alignments(rule).unwrap_or_default();
    let n_columns = aligns.len();
    let read = |line: &String, style: Style| -> Vec<Row> {
        let mut cells: Vec<Row> = split(line)
            .iter()
            .take(n_columns)
            .map(|text| inline::parse(text, style, true))
            .collect();
        cells.resize(n_columns, Row::new());
        cells
    };
    let head = read(head, Style::new().bold());
    let body: Vec<Vec<Row>> = body.iter().map(|line| read(line, Style::new())).collect();
    let needs: Vec<usize> = (0..n_columns)
        .map(|i| {
            let column = std::iter::once(&head).chain(&body).map(|row| &row[i]);
            column.map(|cell| cell_width(cell)).max().unwrap_or(0)
        })
        .collect();
    let gaps = SEPARATOR.chars().count() * n_columns.saturating_sub(1);
    match fit(&needs, columns.saturating_sub(gaps)) {
        Some(widths) => grid(&head, &body, &widths, &aligns),
        None => list(&head, &body, columns),
    }
}

fn cell_width(cell: &[Cell]) -> usize {
    let lines = cell.split(|cell| cell.c == '\n');
    lines.map(width).max().unwrap_or(0)
}

/// The alignment of each column, when the line is a rule.
fn alignments(line: &str) -> Option<Vec<Align>> {
    if !line.contains('|') || !line.contains('-') || !may_be_rule(line) {
        return None;
    }
    let align = |cell: &String| {
        let dashes = cell.trim_start_matches(':').trim_end_matches(':');
        let is_rule = !dashes.is_empty() && dashes.chars().all(|c| c == '-');
        is_rule.then_some(match (cell.starts_with(':'), cell.ends_with(':')) {
            (true, true) => Align::Center,
            (false, true) => Align::Right,
            _ => Align::Left,
        })
    };
    split(line).iter().map(align).collect()
}

/// The texts between the bars.
fn split(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut chars = line.trim().chars().peekable();
    chars.next_if_eq(&'|');
    while let Some(c) = chars.next() {
        let is_end = chars.peek().is_none();
        match c {
            '|' if is_end => {}
            '|' if cells.len() < MAX_COLUMNS => cells.push(String::new()),
            '|' => break,
            '\\' if chars.peek() == Some(&'|') => {
                chars.next();
                push(&mut cells, '|');
            }
            c => push(&mut cells, c),
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

/// Widths with a sum of at most `columns`: the widest columns give way. `None` when all would become too narrow.
fn fit(needs: &[usize], columns: usize) -> Option<Vec<usize>> {
    let total = |limit: usize| needs.iter().map(|need| (*need).min(limit)).sum::<usize>();
    let widest = needs.iter().copied().max().unwrap_or(0);
    if total(widest) <= columns {
        return Some(needs.to_vec());
    }
    let limit = (MIN_WIDTH..widest)
        .rev()
        .find(|limit| total(*limit) <= columns)?;
    let mut widths: Vec<usize> = needs.iter().map(|need| (*need).min(limit)).collect();
    let mut left = columns - total(limit);
    for (width, need) in widths.iter_mut().zip(needs) {
        if left > 0 && *width < *need {
            *width += 1;
            left -= 1;
        }
    }
    Some(widths)
}

fn grid(head: &[Row], body: &[Vec<Row>], widths: &[usize], aligns: &[Align]) -> Vec<Row> {
    let mut rows = grid_row(head, widths, aligns);
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    rows.push(cells(&rule.join(CROSSING), inline::faint()));
    for row in body {
        rows.extend(grid_row(row, widths, aligns));
    }
    rows
}

/// One row of the table, in as many lines as its longest cell needs.
fn grid_row(row: &[Row], widths: &[usize], aligns: &[Align]) -> Vec<Row> {
    let wrapped: Vec<Vec<Row>> = row
        .iter()
        .zip(widths)
        .map(|(cell, columns)| wrap(cell, *columns, &[], &[]))
        .collect();
    let n_lines = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let line = |i: usize| {
        let mut line = Row::new();
        for (k, ((cell, columns), align)) in wrapped.iter().zip(widths).zip(aligns).enumerate() {
            if k > 0 {
                line.extend(cells(SEPARATOR, inline::faint()));
            }
            let text = cell.get(i).map_or(&[][..], Vec::as_slice);
            let blank = columns.saturating_sub(width(text));
            let before = match align {
                Align::Left => 0,
                Align::Center => blank / 2,
                Align::Right => blank,
            };
            line.extend(cells(&" ".repeat(before), Style::new()));
            line.extend_from_slice(text);
            line.extend(cells(&" ".repeat(blank - before), Style::new()));
        }
        while line.last().is_some_and(|cell| cell.c == ' ') {
            line.pop();
        }
        line
    };
    (0..n_lines).map(line).collect()
}

/// Each row as lines of heading and cell, for terminals that are too narrow for the table.
fn list(head: &[Row], body: &[Vec<Row>], columns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (n, row) in body.iter().enumerate() {
        for (i, (name, cell)) in head.iter().zip(row).enumerate() {
            let mut text = name.clone();
            text.extend(cells(": ", Style::new()));
            text.extend_from_slice(cell);
            let first = if i == 0 { "• " } else { "  " };
            let start = cells(first, Style::new());
            rows.extend(wrap(&text, columns, &start, &cells("    ", Style::new())));
        }
        if n + 1 < body.len() {
            rows.push(Row::new());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, columns: usize, expected: &str) {
        let lines: Vec<String> = table.lines().map(str::to_owned).collect();
        let rows = rows(&lines, columns);
        let text = |row: &Row| row.iter().map(|cell| cell.c).collect::<String>();
        let texts: Vec<String> = rows.iter().map(text).collect();
        assert_eq!(texts.join("\n"), expected);
        assert!(rows.iter().all(|row| width(row) <= columns), "{texts:#?}");
    }

    #[test]
    fn columns_line_up() {
        check(
            "| Name | Size | Note |\n|:-----|-----:|:----:|\n| 模型 | 1 | ab |\n| **x** | 234 |",
            40,
            "Name │ Size │ Note\n─────┼──────┼─────\n模型 │    1 │  ab\nx    │  234 │",
        );
    }

    #[test]
    fn wide_columns_give_way() {
        check(
            "| A | B |\n|---|---|\n| key | one two three four |\n| k | five |",
            19,
            "A   │ B\n────┼──────────────\nkey │ one two three\n    │ four\nk   │ five",
        );
    }

    #[test]
    fn a_table_that_does_not_fit_becomes_a_list() {
        check(
            "| Aaaaaa | Bbbbbb |\n|---|---|\n| 1234567 | 2 3 |\n| 3 | 4 |",
            12,
            "• Aaaaaa:\n    1234567\n  Bbbbbb: 2\n    3\n\n• Aaaaaa: 3\n  Bbbbbb: 4",
        );
    }

    #[test]
    fn bars_in_cells_and_missing_edges() {
        check(
            "a | b\n--|--\n1 \\| 2 | 3 | 4",
            40,
            "a     │ b\n──────┼──\n1 | 2 │ 3",
        );
        check("| a |\n|---|\n| b<br>c |", 9, "a\n─\nb\nc");
    }

    #[test]
    fn rules() {
        assert!(is_rule_of("| a | b |", "|---|:-:|"));
        assert!(is_rule_of("a | b", "--|--"));
        assert!(!is_rule_of("| a | b |", "|---|"));
        assert!(!is_rule_of("| a | b |", "| - x | - |"));
        assert!(!is_rule_of("a | b", "-----"));
        assert!(!is_rule_of("| a | b |", "|---| |"));
        assert!(may_be_rule("|--") && !may_be_rule("|--x"));
    }
}
