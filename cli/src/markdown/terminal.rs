//! As much of a terminal as the tests need: what is on the screen after some bytes.

use super::cell::char_width;

/// A character, with what combines with it, and its style.
type Glyph = (String, String);

/// A terminal with `width` columns and as many lines as are written.
pub(super) struct Terminal {
    width: usize,
    rows: Vec<Vec<Option<Glyph>>>,
    row: usize,
    column: usize,
    style: String,
    /// How often the cursor went up.
    pub n_moves_up: usize,
}

impl Terminal {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            rows: vec![Vec::new()],
            row: 0,
            column: 0,
            style: String::new(),
            n_moves_up: 0,
        }
    }

    pub(super) fn write(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\n' => {
                    self.column = 0;
                    self.down();
                }
                '\r' => self.column = 0,
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['), "only CSI is known");
                    let mut number = String::new();
                    let end = loop {
                        match chars.next().expect("a sequence ends") {
                            c if c.is_ascii_digit() || c == ';' => number.push(c),
                            c => break c,
                        }
                    };
                    self.control(end, &number);
                }
                c => self.put(c),
            }
        }
    }

    fn control(&mut self, end: char, number: &str) {
        let n = number.parse().unwrap_or(1);
        match end {
            'm' if number == "0" => self.style.clear(),
            'm' => {
                self.style.push_str(number);
                self.style.push(' ');
            }
            'A' => {
                self.n_moves_up += 1;
                self.row = self.row.checked_sub(n).expect("no line above the first");
            }
            'C' => self.column = (self.column + n).min(self.width - 1),
            'J' => {
                assert_eq!(number, "");
                self.rows[self.row].truncate(self.column);
                self.rows.truncate(self.row + 1);
            }
            other => panic!("unknown sequence {number}{other}"),
        }
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    fn put(&mut self, c: char) {
        let width = char_width(c);
        let row = self.row;
        if width == 0 {
            if let Some(Some(cell)) = self.rows[row][..self.column]
                .iter_mut()
                .rev()
                .find(|cell| cell.is_some())
            {
                cell.0.push(c);
            }
            return;
        }
        if self.column + width > self.width {
            self.column = 0;
            self.down();
        }
        let cells = &mut self.rows[self.row];
        while cells.len() < self.column + width {
            cells.push(Some((" ".into(), String::new())));
        }
        cells[self.column] = Some((c.to_string(), self.style.clone()));
        if width == 2 {
            cells[self.column + 1] = None;
        }
        self.column += width;
    }

    /// The characters and their styles, line by line, and where the cursor is.
    pub(super) fn screen(&self) -> (Vec<Vec<Glyph>>, (usize, usize)) {
        let rows = self.rows.iter();
        let rows = rows.map(|row| row.iter().flatten().cloned().collect());
        (rows.collect(), (self.row, self.column))
    }

    /// The characters alone.
    pub(super) fn text(&self) -> String {
        let rows = self.rows.iter();
        let lines = rows.map(|row| row.iter().flatten().map(|(c, _)| c.as_str()).collect());
        lines.collect::<Vec<String>>().join("\n")
    }
}
