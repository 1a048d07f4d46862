//! Screens of a terminal as one SVG that moves by CSS alone: each line of text is drawn once for each time that it is
//! shown. Who wants no motion, or has a viewer without CSS, sees the last screen.

use super::recording::{COLUMNS, Frame, ROWS};
use std::{collections::BTreeMap, fmt::Write, time::Duration};
use vt100::{Cell, Color, Screen};

/// Pixels of a cell, and of what is around the screen.
const CELL_WIDTH: f32 = 8.4;
const CELL_HEIGHT: f32 = 18.0;
const PADDING: f32 = 16.0;
const BAR: f32 = 30.0;
/// What bars leave free above and below.
const GAP: f32 = 3.0;
/// How long the last screen stays.
const END: Duration = Duration::from_secs(5);

const BACKGROUND: &str = "#16181d";
const TEXT: &str = "#d8dee9";
/// The sixteen colours of a terminal.
const COLOURS: [&str; 16] = [
    "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9",
    "#7f8794", "#ef8a92", "#b1d69a", "#f0d399", "#86c2f5", "#d8a1e6", "#7fcfd8", "#ffffff",
];

/// The picture.
pub(super) fn animated(frames: &[Frame]) -> String {
    let total = frames.last().map_or(Duration::ZERO, |frame| frame.at) + END;
    let mut spans = Spans::default();
    let mut lines = String::new();
    for row in 0..used_rows(frames) {
        for (text, from, to) in shown(frames, row, total) {
            if !text.is_empty() {
                let class = spans.class(from, to, total);
                let _ = writeln!(lines, "<g{class}>{text}</g>");
            }
        }
    }
    let width = f32::from(COLUMNS) * CELL_WIDTH + 2.0 * PADDING;
    let height = f32::from(used_rows(frames)) * CELL_HEIGHT + BAR + PADDING;
    let style = spans.style(total);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"slm on a terminal: a model is pulled, listed and asked\">\n\
         <style>{style}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g fill=\"#4c5361\"><circle cx=\"18\" cy=\"16\" r=\"5\"/><circle cx=\"36\" cy=\"16\" r=\"5\"/><circle cx=\"54\" cy=\"16\" r=\"5\"/></g>\n\
         <g class=\"t\" fill=\"{TEXT}\">\n{lines}</g>\n</svg>\n"
    )
}

/// Lines that ever show anything.
fn used_rows(frames: &[Frame]) -> u16 {
    let is_used = |row: &u16| {
        frames
            .iter()
            .any(|frame| !line(&frame.screen, *row).is_empty())
    };
    (0..ROWS).rev().find(is_used).map_or(1, |row| row + 1)
}

/// What a line shows, and from when to when.
fn shown(frames: &[Frame], row: u16, total: Duration) -> Vec<(String, Duration, Duration)> {
    let mut shown: Vec<(String, Duration, Duration)> = Vec::new();
    for frame in frames {
        let text = line(&frame.screen, row);
        match shown.last_mut() {
            Some((last, ..)) if *last == text => {}
            last => {
                if let Some((_, _, to)) = last {
                    *to = frame.at;
                }
                shown.push((text, frame.at, total));
            }
        }
    }
    shown
}

/// A line as elements: runs of cells that look alike, and the cursor.
fn line(screen: &Screen, row: u16) -> String {
    let mut out = String::new();
    let y = f32::from(row) * CELL_HEIGHT + BAR;
    let cursor = screen.cursor_position();
    if cursor.0 == row && !screen.hide_cursor() {
        let x = f32::from(cursor.1) * CELL_WIDTH + PADDING;
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{CELL_WIDTH}\" height=\"{CELL_HEIGHT}\" fill=\"#7f8794\"/>"
        );
    }
    let mut column = 0;
    while column < COLUMNS {
        let Some(first) = screen.cell(row, column) else {
            break;
        };
        let look = Look::of(first);
        let start = column;
        let mut text = String::new();
        while column < COLUMNS
            && let Some(cell) = screen.cell(row, column)
            && Look::of(cell) == look
            && cell.contents().contains(is_block) == first.contents().contains(is_block)
        {
            if !cell.is_wide_continuation() {
                text.push_str(if cell.has_contents() {
                    cell.contents()
                } else {
                    " "
                });
            }
            column += 1;
        }
        let x = f32::from(start) * CELL_WIDTH + PADDING;
        if text.contains(is_block) {
            out.push_str(&blocks(&text, x, y, &look.attributes()));
            continue;
        }
        let blank = text.len() - text.trim_start().len();
        let trimmed = text.trim();
        if trimmed.is_empty() {
            continue;
        }
        // blanks are ASCII, so that bytes are columns
        let n_columns = usize::from(column - start) - (text.len() - trimmed.len());
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\"{}>{}</text>",
            x + blank as f32 * CELL_WIDTH,
            y + CELL_HEIGHT - 4.5,
            n_columns as f32 * CELL_WIDTH,
            look.attributes(),
            escape(trimmed)
        );
    }
    out
}

/// Bars are drawn of these; not every font has them.
fn is_block(c: char) -> bool {
    ('\u{2588}'..='\u{258f}').contains(&c) || c == '\u{2595}'
}

/// Blocks that fill a cell from the left by eighths, or its last eighth, as rectangles.
fn blocks(text: &str, x: f32, y: f32, attributes: &str) -> String {
    let mut spans: Vec<(f32, f32)> = Vec::new();
    for (column, c) in text.chars().enumerate() {
        let left = x + column as f32 * CELL_WIDTH;
        let (from, to) = match c {
            '\u{2595}' => (left + CELL_WIDTH * 0.875, left + CELL_WIDTH),
            _ => {
                let eighths = 0x2590_u32.saturating_sub(u32::from(c));
                (left, left + CELL_WIDTH * eighths as f32 / 8.0)
            }
        };
        match spans.last_mut() {
            Some((_, end)) if (*end - from).abs() < 0.01 => *end = to,
            _ => spans.push((from, to)),
        }
    }
    let rects = spans.iter().map(|(from, to)| {
        let width = to - from;
        format!(
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"{attributes}/>",
            y + GAP,
            CELL_HEIGHT - 2.0 * GAP
        )
    });
    rects.collect()
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    colour: Color,
    is_bold: bool,
    is_dim: bool,
    is_italic: bool,
    is_underlined: bool,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        Self {
            colour: cell.fgcolor(),
            is_bold: cell.bold(),
            is_dim: cell.dim(),
            is_italic: cell.italic(),
            is_underlined: cell.underline(),
        }
    }

    fn attributes(self) -> String {
        let mut text = match self.colour {
            Color::Default => String::new(),
            Color::Idx(index) => {
                let colour = COLOURS.get(usize::from(index)).unwrap_or(&TEXT);
                format!(" fill=\"{colour}\"")
            }
            Color::Rgb(r, g, b) => format!(" fill=\"#{r:02x}{g:02x}{b:02x}\""),
        };
        for (is_so, attribute) in [
            (self.is_bold, " font-weight=\"bold\""),
            (self.is_dim, " opacity=\".6\""),
            (self.is_italic, " font-style=\"italic\""),
            (self.is_underlined, " text-decoration=\"underline\""),
        ] {
            if is_so {
                text.push_str(attribute);
            }
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// When things are shown: each span of time is a class with its own keyframes.
#[derive(Default)]
struct Spans(BTreeMap<(Duration, Duration), usize>);

impl Spans {
    /// The attribute of what is shown so; nothing for what always is.
    fn class(&mut self, from: Duration, to: Duration, total: Duration) -> String {
        if from.is_zero() && to == total {
            return String::new();
        }
        let next = self.0.len();
        let number = *self.0.entry((from, to)).or_insert(next);
        // what the last screen shows is shown without motion, too
        let kind = if to == total { "" } else { " h" };
        format!(" class=\"a{number}{kind}\"")
    }

    fn style(&self, total: Duration) -> String {
        let seconds = total.as_secs_f32();
        let mut text = format!(
            ".t text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;white-space:pre}}\
             .h{{visibility:hidden}}\
             @media(prefers-reduced-motion:no-preference){{.t>g[class]{{animation-duration:{seconds:.2}s;animation-timing-function:step-end;animation-iteration-count:infinite}}"
        );
        for ((from, to), number) in &self.0 {
            let percent = |time: &Duration| time.as_secs_f32() / seconds * 100.0;
            let begin = if from.is_zero() {
                String::new()
            } else {
                "0%{visibility:hidden}".to_owned()
            };
            let end = if *to == total {
                "100%{visibility:visible}".to_owned()
            } else {
                format!("{:.2}%,100%{{visibility:hidden}}", percent(to))
            };
            let _ = write!(
                text,
                ".t>.a{number}{{animation-name:a{number}}}@keyframes a{number}{{{begin}{:.2}%{{visibility:visible}}{end}}}",
                percent(from)
            );
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    fn frame(at: u64, bytes: &[u8]) -> Frame {
        let size = |n| NonZero::new(n).expect("not zero");
        let mut terminal = vt100::Parser::new(size(ROWS), size(COLUMNS), 0);
        terminal.process(bytes);
        Frame {
            at: Duration::from_secs(at),
            screen: terminal.screen().clone(),
        }
    }

    #[test]
    fn a_line_is_drawn_once_for_each_time_that_it_is_shown() {
        let frames = [
            frame(0, b"always\r\n"),
            frame(2, b"always\r\na <b>\x1b[31mred\x1b[m"),
            frame(5, b"always\r\n\x1b[?25l"),
        ];
        let picture = animated(&frames);
        assert_eq!(picture.matches(">always<").count(), 1);
        assert_eq!(picture.matches(">a &lt;b><").count(), 1);
        assert!(picture.contains("fill=\"#e06c75\">red<"), "{picture}");
        // from 2 s to 5 s of 10 s, and hidden where nothing moves
        let keyframes =
            "{0%{visibility:hidden}20.00%{visibility:visible}50.00%,100%{visibility:hidden}}";
        assert!(picture.contains(keyframes), "{picture}");
        assert!(picture.contains(" h\"><rect"), "{picture}");
    }

    #[test]
    fn bars_need_no_font() {
        let drawn = blocks("\u{2595}\u{2588}\u{2588}\u{258c}", 0.0, 0.0, "");
        assert_eq!(drawn.matches("<rect").count(), 1, "they touch: {drawn}");
        let width = CELL_WIDTH * (0.125 + 2.5);
        assert!(drawn.contains(&format!("width=\"{width:.1}\"")), "{drawn}");
    }
}
