//! Columns of text: left-aligned, four spaces apart, no rules.

use unicode_width::UnicodeWidthStr;

/// Blanks between columns.
pub(crate) const GAP: usize = 4;

/// Rows of cells as lines, each indented by `indent` spaces and ended by a newline. No line ends in spaces.
pub(crate) fn render<R: AsRef<[String]>>(rows: &[R], indent: usize) -> String {
    let n_columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + GAP - cell.width()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of owned cells.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_display_width() {
        let rows = [
            row(["NAME", "ID", "SIZE"]),
            row(["模型:1b", "0123456789ab", "1.3 GB"]),
            row(["x:latest", "-", ""]),
        ];
        assert_eq!(
            render(&rows, 2),
            "  NAME        ID              SIZE\n  模型:1b     0123456789ab    1.3 GB\n  x:latest    -\n"
        );
        assert_eq!(render::<Vec<String>>(&[], 0), "");
    }
}
