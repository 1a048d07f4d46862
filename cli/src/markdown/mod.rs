//! Markdown on a terminal, while it is still being written.
//!
//! [`Markdown`] takes an answer in pieces, cut anywhere, and gives the bytes that show it. It goes line by line: of the
//! line that is being written all complete words are shown, as what they will most likely turn out to be; when the line
//! ends, it is final. So text flows, and the cursor goes back only where the guess was wrong. A table is shown when it
//! ends, since only then its widths are known. However the text is cut, the screen ends up the same.
//!
//! [`block`] reads how lines begin, [`inline`] what is within them, [`layout`] and [`table`] break them to the
//! terminal's width, [`screen`] finds what has to be written. Left out are markings that change lines above: headings
//! underlined by `===`, links to definitions, and emphasis over several lines; they are shown as they were written.

mod block;
mod cell;
mod inline;
mod layout;
mod screen;
mod table;
#[cfg(test)]
mod terminal;

use anstyle::Style;

use self::block::{Fence, Kind, Line};
use self::cell::{Row, cells, char_width, escaped};
use self::screen::Screen;

/// A longer line is broken.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Lists within lists whose bullets differ.
const BULLETS: [&str; 3] = ["•", "◦", "▪"];
/// A line across is no wider.
const MAX_RULE: usize = 72;
/// Indented by this much outside of a list, text is code.
const CODE_INDENT: usize = 4;

/// Turns pieces of Markdown into what a terminal shows.
#[derive(Debug)]
pub(crate) struct Markdown {
    columns: usize,
    screen: Screen,
    /// The line that is being written.
    line: String,
    state: State,
    /// Indentation of the lists that the line may belong to, outermost first.
    lists: Vec<usize>,
}

#[derive(Debug)]
enum State {
    Text,
    /// A line with bars, which is the head of a table if a rule follows, and the table's lines after it.
    Table(Vec<String>),
    Code(Code),
}

#[derive(Clone, Copy, Debug)]
struct Code {
    fence: Fence,
    quotes: usize,
    /// Bytes of the line that have been written.
    shown: usize,
}

impl Markdown {
    /// For a terminal of so many columns and lines.
    pub(crate) fn new(columns: usize, height: usize) -> Self {
        Self {
            columns: columns.max(8),
            screen: Screen::new(height),
            line: String::new(),
            state: State::Text,
            lists: Vec::new(),
        }
    }

    /// Takes a piece of text and returns what to write. Control characters are dropped.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => out += &self.end_line(),
                '\t' => self.line.push(c),
                c if c.is_control() => {}
                c => self.line.push(c),
            }
            if self.line.len() >= MAX_LINE_BYTES {
                out += &self.end_line();
            }
        }
        out + &self.preview()
    }

    /// What was held back, at the end of the text. The cursor is then at the beginning of a line.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.line.is_empty() {
            out += &self.end_line();
        }
        out += &self.end_table();
        self.state = State::Text;
        self.lists.clear();
        out
    }

    fn end_line(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        match &mut self.state {
            State::Text => self.text_line(&line),
            State::Code(code) => {
                let code = *code;
                self.code_line(&line, code)
            }
            State::Table(lines) => {
                let goes_on = match lines.as_slice() {
                    [head] => table::is_rule_of(head, &line),
                    lines => line.contains('|') && lines.len() < table::MAX_LINES,
                };
                if goes_on {
                    lines.push(line);
                    return String::new();
                }
                self.end_table() + &self.text_line(&line)
            }
        }
    }

    fn text_line(&mut self, line: &str) -> String {
        let read = block::read(line);
        if let Kind::Text(text) = read.kind
            && read.quotes == 0
            && table::may_begin_with(text)
        {
            let rows = self.rows(&read, true);
            self.state = State::Table(vec![line.to_owned()]);
            return match self.table_preview() {
                Some(preview) => preview,
                None => self.screen.show(rows),
            };
        }
        let rows = self.rows(&read, true);
        let mut out = self.screen.show(rows);
        self.note_list(&read);
        if let Kind::Fence(fence, _) = read.kind {
            self.state = State::Code(Code {
                fence,
                quotes: read.quotes,
                shown: 0,
            });
        }
        out += &self.screen.commit();
        out
    }

    /// Shows the table that was held back, or the line that turned out to be none.
    fn end_table(&mut self) -> String {
        let State::Table(lines) = std::mem::replace(&mut self.state, State::Text) else {
            return String::new();
        };
        let rows = match lines.as_slice() {
            [head] => self.rows(&block::read(head), true),
            lines => {
                let indent = self.indent(block::read(&lines[0]).indent);
                let rows = table::rows(lines, self.columns - indent);
                let start = cells(&" ".repeat(indent), Style::new());
                let indented = rows.into_iter().map(|row| [start.clone(), row].concat());
                indented.collect()
            }
        };
        self.screen.show(rows) + &self.screen.commit()
    }

    fn code_line(&mut self, line: &str, code: Code) -> String {
        let (quotes, inner) = block::unquote(line, code.quotes);
        if quotes < code.quotes {
            // The quotation ended, and the code with it.
            self.state = State::Text;
            return self.text_line(line);
        }
        if code.fence.is_closed_by(inner) {
            self.state = State::Text;
            let mut row = self.bars(code.quotes);
            let indent = inner.len() - inner.trim_start().len();
            row.extend(cells(&" ".repeat(indent), Style::new()));
            row.extend(cells(inner.trim(), inline::faint()));
            return escaped(&row) + "\n";
        }
        self.state = State::Code(Code { shown: 0, ..code });
        if code.quotes > 0 {
            return escaped(&self.bars(code.quotes)) + inner + "\n";
        }
        format!("{}\n", &line[code.shown..])
    }

    /// What can be shown of the line that is being written.
    fn preview(&mut self) -> String {
        match &mut self.state {
            State::Code(code) => {
                if code.quotes > 0 || code.fence.may_be_closed_by(&self.line) {
                    return String::new();
                }
                let out = self.line[code.shown..].to_owned();
                code.shown = self.line.len();
                out
            }
            State::Table(lines) if lines.len() > 1 || table::may_be_rule(&self.line) => {
                self.table_preview().unwrap_or_default()
            }
            State::Table(_) => self.end_table() + &self.line_preview(),
            State::Text => self.line_preview(),
        }
    }

    fn line_preview(&mut self) -> String {
        let complete = &self.line[..complete_words(&self.line)];
        if complete.is_empty() {
            return String::new();
        }
        let read = block::read(complete);
        let is_held = matches!(read.kind, Kind::Fence(..) | Kind::Rule)
            || matches!(read.kind, Kind::Text(text) if text.starts_with('|'));
        if is_held {
            return String::new();
        }
        let rows = self.rows(&read, false);
        self.screen.show(rows)
    }

    /// Shows a word in place of a table that is not finished; `None` for a line that has yet to become one.
    fn table_preview(&mut self) -> Option<String> {
        match &self.state {
            State::Table(lines) if lines.len() > 1 || lines[0].trim_start().starts_with('|') => {
                let row = cells("⋯ table", inline::faint());
                Some(self.screen.show(vec![row]))
            }
            _ => None,
        }
    }

    /// The lines on the screen that a line becomes.
    fn rows(&self, line: &Line<'_>, is_complete: bool) -> Vec<Row> {
        let plain = Style::new();
        let mut first = self.bars(line.quotes);
        let indent = self.indent(line.indent);
        first.extend(cells(&" ".repeat(indent), plain));
        let mut next = first.clone();
        let parse = |text: &str, style| inline::parse(text.trim_end(), style, is_complete);
        let text = match line.kind {
            Kind::Blank => return vec![self.bars(line.quotes)],
            Kind::Fence(Fence { mark, n }, info) => {
                let marks = mark.to_string().repeat(n);
                cells(&format!("{marks}{info}"), inline::faint())
            }
            Kind::Heading(level, text) => parse(text, heading(level)),
            Kind::Rule => {
                let n = self.columns.saturating_sub(first.len()).min(MAX_RULE);
                cells(&"─".repeat(n), inline::faint())
            }
            Kind::Item(marker, text) => {
                let depth = self.lists.iter().filter(|list| **list < line.indent);
                let bullet = BULLETS[depth.count() % BULLETS.len()];
                let (start, text) = match (marker, task(text)) {
                    ("-" | "*" | "+", Some((mark, text))) => (mark, text),
                    ("-" | "*" | "+", None) => (bullet, text),
                    (number, _) => (number, text),
                };
                first.extend(cells(start, plain));
                first.extend(cells(" ", plain));
                let n = cell::width(&first) - cell::width(&next);
                next.extend(cells(&" ".repeat(n), plain));
                parse(text, plain)
            }
            Kind::Text(text) if line.indent >= CODE_INDENT && self.lists.is_empty() => {
                return layout::cut(&cells(text.trim_end(), plain), self.columns, &first);
            }
            Kind::Text(text) => parse(text, plain),
        };
        layout::wrap(&text, self.columns, &first, &next)
    }

    /// Indentation that leaves room for text.
    fn indent(&self, indent: usize) -> usize {
        indent.min(self.columns / 2)
    }

    /// The bars before quoted lines.
    fn bars(&self, n: usize) -> Row {
        cells(&"│ ".repeat(n.min(self.columns / 4)), inline::faint())
    }

    /// Which lists are open after this line.
    fn note_list(&mut self, line: &Line<'_>) {
        match line.kind {
            Kind::Blank => {}
            Kind::Item(..) => {
                self.lists.retain(|list| *list < line.indent);
                self.lists.push(line.indent);
            }
            _ if line.indent == 0 => self.lists.clear(),
            _ => {}
        }
    }
}

/// How much of a line is complete words: up to the last blank, or the last character that may be broken after.
fn complete_words(line: &str) -> usize {
    let breaks = |(_, c): &(usize, char)| layout::is_blank(*c) || char_width(*c) > 1;
    let last = line.char_indices().rev().find(breaks);
    last.map_or(0, |(at, c)| at + c.len_utf8())
}

fn heading(level: usize) -> Style {
    match level {
        1 => Style::new().bold().underline(),
        2 => Style::new().bold(),
        _ => Style::new().bold().italic(),
    }
}

/// The box of a task, and the text behind it.
fn task(text: &str) -> Option<(&'static str, &str)> {
    let (mark, rest) = text.split_at_checked(4)?;
    match mark {
        "[ ] " => Some(("☐", rest)),
        "[x] " | "[X] " => Some(("☑", rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::terminal::Terminal;
    use super::*;

    const SAMPLE: &str = "\
# Title of *this*

Some **bold text over words** and `code` with *em*, and 2 * 3 = 6; [a link](http://example.org/x).
A second line, which begins **bold and never ends, so that it is shown as it is.

- one
- two with more words than fit on one line of a narrow terminal
  - nested `x`
    1. deep
- [x] done
- [ ] not done

1. first
2. second

   continued

> quoted *text*
> - item
>
> ```sh
> ls | wc
> ```
> after

```rust
fn main() {
    println!(\"**not bold**\"); // `x`
``

}
```
a | b
not a table | really

| Name | Größe | 说明 |
|------|------:|:----:|
| a `x` | 1 | 你好世界，这是一个表 |
| bb | **22** | |
after the table

你好**世界**，这里有*很多*中文文字没有空格所以要在任何地方换行。
---
    indented *code*
| half a table |
|---|
";

    fn shown(text: &str, columns: usize, pieces: impl Fn(usize) -> usize) -> Terminal {
        let mut markdown = Markdown::new(columns, 10_000);
        let mut terminal = Terminal::new(columns);
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let end = (at + pieces(at).max(1)).min(chars.len());
            let piece: String = chars[at..end].iter().collect();
            terminal.write(&markdown.push(&piece));
            at = end;
        }
        terminal.write(&markdown.finish());
        terminal
    }

    #[track_caller]
    fn check(text: &str, columns: usize, expected: &str) {
        let screen = shown(text, columns, |_| 1).text();
        assert_eq!(screen, expected);
    }

    #[test]
    fn however_it_is_cut_the_screen_is_the_same() {
        for columns in [8, 20, 37, 80, 200] {
            // Cut off anywhere, since an answer may end anywhere.
            for end in (0..SAMPLE.chars().count()).step_by(7) {
                let text: String = SAMPLE.chars().take(end).collect();
                let whole = shown(&text, columns, |_| usize::MAX).screen();
                let by_one = shown(&text, columns, |_| 1).screen();
                assert_eq!(by_one, whole, "{columns} columns, {end} characters");
            }
            let whole = shown(SAMPLE, columns, |_| usize::MAX).screen();
            for seed in 1..20 {
                let some = shown(SAMPLE, columns, |at| (at * 31 + seed * 17) % (seed + 3));
                assert_eq!(some.screen(), whole, "{columns} columns, seed {seed}");
            }
        }
    }

    #[test]
    fn the_cursor_goes_back_only_where_the_guess_was_wrong() {
        let text = "A **long line with bold** text, `some code` and *more* that goes over several lines.\n\
                    - an item with a word or *two* more than fit\n\n```\ncode | x\n```\n# Heading\n";
        assert_eq!(shown(text, 20, |_| 1).n_moves_up, 0);
        let wrong = "One **line that never ends what it began, over several lines.\n";
        assert!(shown(wrong, 20, |_| 1).n_moves_up > 0);
    }

    #[test]
    fn text_is_shown_word_by_word() {
        let mut markdown = Markdown::new(80, 24);
        assert_eq!(markdown.push("Hel"), "");
        assert_eq!(markdown.push("lo **wo"), "Hello");
        assert_eq!(markdown.push("rld** x "), " \u{1b}[1mworld\u{1b}[0m x");
        assert_eq!(markdown.push("\n"), "\n");
        assert_eq!(markdown.push("```\nlet x"), "\u{1b}[2m```\u{1b}[0m\nlet x");
        assert_eq!(markdown.push(" = 1;\n``"), " = 1;\n");
        assert_eq!(markdown.push("`\n"), "\u{1b}[2m```\u{1b}[0m\n");
        assert_eq!(markdown.finish(), "");
    }

    #[test]
    fn paragraphs_headings_and_rules() {
        check("# A *b*\n\ntext\n***\n", 10, "A b\n\ntext\n──────────\n");
        check("no newline", 20, "no newline\n");
        check("", 20, "");
        check("a\n\n\nb", 20, "a\n\n\nb\n");
    }

    #[test]
    fn lists() {
        check(
            "- one two three\n  - in\n    * deep\n- back\n10. ten eleven\n- [ ] todo\n- [x] done\n",
            12,
            "• one two\n  three\n  ◦ in\n    ▪ deep\n• back\n10. ten\n    eleven\n☐ todo\n☑ done\n",
        );
    }

    #[test]
    fn quotes() {
        check(
            "> a b c d\n> > d\n>\n> e\n",
            8,
            "│ a b c\n│ d\n│ │ d\n│ \n│ e\n",
        );
    }

    #[test]
    fn code_is_verbatim() {
        check(
            "```py\n\n  *a*  \n| b | c |\n~~~\n````\nx `y`\n",
            40,
            "```py\n\n  *a*  \n| b | c |\n~~~\n````\nx y\n",
        );
        check("> ```\n> *a*\n> ```\n*b*\n", 40, "│ ```\n│ *a*\n│ ```\nb\n");
        check("> ```\n> a\nout\n", 40, "│ ```\n│ a\nout\n");
        check("```\nnever ended", 40, "```\nnever ended\n");
        check("    *a*  b\n", 8, "    *a* \n b\n");
    }

    #[test]
    fn tables_are_shown_at_their_end() {
        let table = "| a | b |\n|---|---|\n| 1 | 2 |\n";
        let mut markdown = Markdown::new(40, 24);
        let mut out = markdown.push(table);
        assert!(!out.contains('│'), "{out:?}");
        out += &markdown.push("\n");
        assert!(out.contains('│'), "{out:?}");
        check(&format!("x\n{table}y\n"), 40, "x\na │ b\n──┼──\n1 │ 2\ny\n");
        check("| a | b |\nno table\n", 40, "| a | b |\nno table\n");
        check("use a | b\n\nhere\n", 40, "use a | b\n\nhere\n");
        check(
            "- x\n  | a |\n  |---|\n  | b |\n",
            40,
            "• x\n  a\n  ─\n  b\n",
        );
    }

    #[test]
    fn control_characters_are_dropped() {
        check("a\u{1b}[2Jb\u{7}\r\nc\n", 40, "a[2Jb\nc\n");
    }

    #[test]
    fn endless_lines_are_broken() {
        let text = "word ".repeat(5000);
        let whole = shown(&text, 80, |_| usize::MAX);
        assert_eq!(whole.screen(), shown(&text, 80, |_| 997).screen());
        let mut markdown = Markdown::new(80, 24);
        for _ in 0..20 {
            markdown.push(&text);
            assert!(markdown.line.len() < MAX_LINE_BYTES);
        }
    }
}
