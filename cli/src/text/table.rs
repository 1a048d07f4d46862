//! Columns of text: left-aligned, four spaces apart, no rules. Where a terminal has too few columns for that, tables come
//! closer together, then what matters least goes, then what can be shortened is; nothing of that into a pipe.

use unicode_width::UnicodeWidthStr;

use super::cut;

/// Blanks between columns.
pub(crate) const GAP: usize = 4;
/// Blanks between columns where there is little room.
const NARROW_GAP: usize = 2;
/// What a name keeps before a column goes for it, and what it keeps when all that may go has gone.
const NAME_COLUMNS: usize = 24;
const LEAST_COLUMNS: usize = 8;
/// What a text keeps before it goes.
const TEXT_COLUMNS: usize = 16;

/// What becomes of a column where there is too little room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It stays as it is.
    Whole,
    /// It is cut in the middle: names, which their ends tell apart.
    Name,
    /// It is cut at its end, and goes as the so-many-th.
    Text(u8),
    /// It goes as the so-many-th.
    Spare(u8),
}

impl Room {
    /// When it goes; the lowest first.
    fn turn(self) -> Option<u8> {
        match self {
            Self::Text(turn) | Self::Spare(turn) => Some(turn),
            Self::Whole | Self::Name => None,
        }
    }

    /// What it needs of the columns that it would take.
    fn least(self, columns: usize) -> usize {
        match self {
            Self::Whole | Self::Spare(_) => columns,
            Self::Name => columns.min(NAME_COLUMNS),
            Self::Text(_) => columns.min(TEXT_COLUMNS),
        }
    }
}

/// Rows of cells as lines, each indented by `indent` spaces and ended by a newline. No line ends in spaces.
pub(crate) fn render<R: AsRef<[String]>>(rows: &[R], indent: usize) -> String {
    lay_out(rows, indent, GAP)
}

/// The same within the columns of a terminal, where there is one (`width`). `rooms` says what may be done to each column.
pub(crate) fn fit(
    rows: &[Vec<String>],
    rooms: &[Room],
    indent: usize,
    width: Option<usize>,
) -> String {
    let natural = widths(rows);
    let taken = |columns: &[usize], gap: usize| {
        indent + columns.iter().sum::<usize>() + gap * columns.len().saturating_sub(1)
    };
    let Some(width) = width.filter(|width| taken(&natural, GAP) > *width) else {
        return render(rows, indent);
    };
    let room_of = |column: usize| rooms.get(column).copied().unwrap_or(Room::Whole);
    let mut kept: Vec<usize> = (0..natural.len()).collect();
    let least = |kept: &[usize]| -> Vec<usize> {
        let least = |column: &usize| room_of(*column).least(natural[*column]);
        kept.iter().map(least).collect()
    };
    while taken(&least(&kept), NARROW_GAP) > width {
        let spare = kept
            .iter()
            .filter_map(|column| Some((room_of(*column).turn()?, *column)));
        let Some((_, first)) = spare.min() else { break };
        kept.retain(|column| *column != first);
    }
    let mut given = least(&kept);
    let mut left = width.saturating_sub(taken(&given, NARROW_GAP));
    let mut missing = taken(&given, NARROW_GAP).saturating_sub(width);
    for (columns, column) in given.iter_mut().zip(&kept) {
        let more = left.min(natural[*column] - *columns);
        *columns += more;
        left -= more;
        if room_of(*column) == Room::Name {
            let less = missing.min(columns.saturating_sub(LEAST_COLUMNS));
            *columns -= less;
            missing -= less;
        }
    }
    let shorten = |cell: &String, column: usize, columns: usize| match room_of(column) {
        Room::Name => cut::cut_middle(cell, columns),
        Room::Text(_) => cut::cut(cell, columns),
        Room::Whole | Room::Spare(_) => cell.clone(),
    };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cells = kept.iter().zip(&given);
            cells
                .filter_map(|(column, columns)| Some(shorten(row.get(*column)?, *column, *columns)))
                .collect()
        })
        .collect();
    lay_out(&rows, indent, NARROW_GAP)
}

fn widths<R: AsRef<[String]>>(rows: &[R]) -> Vec<usize> {
    let n_columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    (0..n_columns).map(width).collect()
}

fn lay_out<R: AsRef<[String]>>(rows: &[R], indent: usize, gap: usize) -> String {
    let widths = widths(rows);
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + gap - cell.width()));
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

    const ROOMS: [Room; 4] = [Room::Name, Room::Spare(0), Room::Whole, Room::Text(1)];

    #[track_caller]
    fn check(width: Option<usize>, expected: &str) {
        let rows = [
            row(["NAME", "ID", "SIZE", "ABOUT"]),
            row([
                "hf.co/someone/Some-Model-1.7B-GGUF:Q4_K_M",
                "0123456789ab",
                "1.3 GB",
                "one of many, and good at nothing",
            ]),
        ];
        let text = fit(&rows, &ROOMS, 0, width);
        assert_eq!(text, expected);
        if let Some(width) = width {
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
        }
    }

    #[test]
    fn what_matters_least_goes_first_and_names_keep_both_ends() {
        let whole = "NAME                                         ID              SIZE      ABOUT\n\
                     hf.co/someone/Some-Model-1.7B-GGUF:Q4_K_M    0123456789ab    1.3 GB    one of many, and good at nothing\n";
        check(None, whole);
        check(Some(103), whole);
        check(
            Some(80),
            "NAME                                      ID            SIZE    ABOUT\n\
             hf.co/someone/Some-M…el-1.7B-GGUF:Q4_K_M  0123456789ab  1.3 GB  one of many, an…\n",
        );
        check(
            Some(60),
            "NAME                                SIZE    ABOUT\n\
             hf.co/someone/Som…1.7B-GGUF:Q4_K_M  1.3 GB  one of many, an…\n",
        );
        check(
            Some(40),
            "NAME                              SIZE\n\
             hf.co/someone/So….7B-GGUF:Q4_K_M  1.3 GB\n",
        );
    }
}
