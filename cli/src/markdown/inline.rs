//! What stands within a line: emphasis, code, links, escapes.
//!
//! The rules are CommonMark's, with two exceptions. Beside wide characters, which know no blanks, marks of emphasis need
//! none. And the backslash is kept before brackets, where models write formulas. A line that is still being written is
//! read as if what is open were closed behind it, since it mostly will be.

use anstyle::{AnsiColor, Effects, Style};

use super::cell::{Cell, Row, cells, char_width};
use super::layout::is_blank;

/// Marks of emphasis in one line; those that follow are text.
const MAX_RUNS: usize = 256;
/// Characters of a link, from bracket to bracket.
const MAX_LINK_CHARS: usize = 1024;
/// What a backslash takes the meaning from.
const ESCAPABLE: &str = "\\`*_#+-.!|~<>$&";
const ENTITIES: &[(&str, char)] = &[
    ("&amp;", '&'),
    ("&lt;", '<'),
    ("&gt;", '>'),
    ("&quot;", '"'),
    ("&#39;", '\''),
    ("&apos;", '\''),
    ("&nbsp;", '\u{a0}'),
];
const BREAKS: &[&str] = &["<br>", "<br/>", "<br />"];

/// The text of a line, in `base` and what the marks add to it.
pub(super) fn parse(text: &str, base: Style, is_complete: bool) -> Row {
    let chars: Vec<char> = text.chars().collect();
    Parser {
        chars: &chars,
        base,
        is_complete,
        in_link: false,
    }
    .parse()
}

/// How code within a line looks.
pub(super) fn code() -> Style {
    AnsiColor::Cyan.on_default()
}

/// How what is only marking looks.
pub(super) fn faint() -> Style {
    Style::new().dimmed()
}

struct Parser<'a> {
    chars: &'a [char],
    base: Style,
    is_complete: bool,
    in_link: bool,
}

/// A piece of a line: text with a style of its own, or marks that may mean emphasis.
struct Piece {
    row: Row,
    run: Option<Run>,
    effects: Effects,
}

struct Run {
    mark: char,
    /// How many are not used up.
    n: usize,
    n_at_first: usize,
    opens: bool,
    closes: bool,
}

/// What a link says and where it leads: ranges of characters.
struct Link {
    text: std::ops::Range<usize>,
    url: std::ops::Range<usize>,
    end: usize,
}

enum Found<T> {
    Some(T),
    /// Not with what is there, but perhaps with what is still to come.
    Unfinished,
    None,
}

impl Parser<'_> {
    fn parse(&self) -> Row {
        let mut pieces = self.pieces();
        emphasise(&mut pieces, self.is_complete);
        let mut row = Row::new();
        for piece in pieces {
            let marks = piece.run.iter().flat_map(|run| {
                std::iter::repeat_n(
                    Cell {
                        c: run.mark,
                        style: self.base,
                    },
                    run.n,
                )
            });
            let cells = piece.row.into_iter().chain(marks);
            row.extend(cells.map(|cell| Cell {
                style: cell.style | piece.effects,
                ..cell
            }));
        }
        row
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut text = Row::new();
        let mut n_runs = 0;
        // Lengths of code marks that have no partner in the rest of the line.
        let mut unpaired: Vec<usize> = Vec::new();
        let mut at = 0;
        while let Some(&c) = self.chars.get(at) {
            let mut plain = |c: char, n: usize| {
                text.push(Cell {
                    c,
                    style: self.base,
                });
                n
            };
            at += match c {
                '\\' => match self.chars.get(at + 1) {
                    Some(&next) if ESCAPABLE.contains(next) => plain(next, 2),
                    _ => plain(c, 1),
                },
                '`' => {
                    let n = self.run_length(at);
                    let close = if unpaired.contains(&n) {
                        None
                    } else {
                        self.closing_code(at + n, n)
                    };
                    match close {
                        Some(close) => {
                            text.extend(self.code_cells(at + n..close));
                            close + n - at
                        }
                        None if !self.is_complete && !unpaired.contains(&n) => {
                            text.extend(self.code_cells(at + n..self.chars.len()));
                            self.chars.len() - at
                        }
                        None => {
                            unpaired.push(n);
                            text.extend(cells(&"`".repeat(n), self.base));
                            n
                        }
                    }
                }
                '[' | '!' if !self.in_link => match self.link(at) {
                    Found::Some(link) => {
                        text.extend(self.link_cells(&link));
                        link.end - at
                    }
                    Found::Unfinished => break,
                    Found::None => plain(c, 1),
                },
                '<' | '&' => match self.special(at) {
                    Some((row, n)) => {
                        text.extend(row);
                        n
                    }
                    None => plain(c, 1),
                },
                '*' | '_' | '~' if n_runs < MAX_RUNS => {
                    n_runs += 1;
                    let n = self.run_length(at);
                    if !text.is_empty() {
                        pieces.push(Piece::text(std::mem::take(&mut text)));
                    }
                    pieces.push(self.run(at, n));
                    n
                }
                _ => plain(c, 1),
            };
        }
        pieces.push(Piece::text(text));
        pieces
    }

    /// How often the character at `at` is repeated there.
    fn run_length(&self, at: usize) -> usize {
        let mark = self.chars[at];
        self.chars[at..].iter().take_while(|c| **c == mark).count()
    }

    /// Where the next marks of exactly this length are.
    fn closing_code(&self, mut at: usize, n: usize) -> Option<usize> {
        while at < self.chars.len() {
            if self.chars[at] != '`' {
                at += 1;
                continue;
            }
            let length = self.run_length(at);
            if length == n {
                return Some(at);
            }
            at += length;
        }
        None
    }

    fn code_cells(&self, range: std::ops::Range<usize>) -> Row {
        let mut inner = &self.chars[range];
        if let [' ', middle @ .., ' '] = inner
            && inner.iter().any(|c| *c != ' ')
        {
            inner = middle;
        }
        let style = code() | self.base.get_effects();
        inner.iter().map(|&c| Cell { c, style }).collect()
    }

    /// `[text](url)` or `![text](url)`.
    fn link(&self, start: usize) -> Found<Link> {
        let open = start + usize::from(self.chars[start] == '!');
        if self.chars.get(open) != Some(&'[') {
            return Found::None;
        }
        let Some(close) = self.partner(open, '[', ']') else {
            return self.unfinished(open);
        };
        match self.chars.get(close + 1) {
            Some('(') => {}
            _ => return Found::None,
        }
        let Some(end) = self.partner(close + 1, '(', ')') else {
            return self.unfinished(open);
        };
        // A title may follow the address.
        let url = close + 2..end;
        let n = self.chars[url.clone()]
            .iter()
            .take_while(|c| !c.is_whitespace())
            .count();
        Found::Some(Link {
            text: open + 1..close,
            url: url.start..url.start + n,
            end: end + 1,
        })
    }

    fn unfinished(&self, open: usize) -> Found<Link> {
        if self.is_complete || self.chars.len() - open > MAX_LINK_CHARS {
            Found::None
        } else {
            Found::Unfinished
        }
    }

    fn partner(&self, at: usize, open: char, close: char) -> Option<usize> {
        let mut depth = 0_usize;
        let end = self.chars.len().min(at + MAX_LINK_CHARS);
        for (i, &c) in self.chars[at..end].iter().enumerate() {
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
                if depth == 0 {
                    return Some(at + i);
                }
            }
        }
        None
    }

    /// The words underlined, and where they lead whenever that is something else.
    fn link_cells(&self, link: &Link) -> Row {
        let words = &self.chars[link.text.clone()];
        let url: String = self.chars[link.url.clone()].iter().collect();
        let inner = Parser {
            chars: words,
            base: self.base.underline(),
            is_complete: true,
            in_link: true,
        };
        let mut row = inner.parse();
        if !url.is_empty() && !words.iter().copied().eq(url.chars()) {
            row.extend(cells(&format!(" ({url})"), faint()));
        }
        row
    }

    /// An address in angle brackets, a line break or a character by name, and its length.
    fn special(&self, at: usize) -> Option<(Row, usize)> {
        let rest: String = self.chars[at..].iter().take(8).collect();
        let lower = rest.to_ascii_lowercase();
        if let Some(tag) = BREAKS.iter().find(|tag| lower.starts_with(**tag)) {
            return Some((cells("\n", self.base), tag.len()));
        }
        if let Some((name, c)) = ENTITIES.iter().find(|(name, _)| rest.starts_with(name)) {
            return Some((cells(&c.to_string(), self.base), name.len()));
        }
        if !["<http://", "<https:/", "<mailto:"].contains(&lower.as_str()) {
            return None;
        }
        let rest = &self.chars[at + 1..];
        let n = rest
            .iter()
            .take(MAX_LINK_CHARS)
            .position(|c| *c == '>' || c.is_whitespace())?;
        if rest[n] != '>' {
            return None;
        }
        let url: String = rest[..n].iter().collect();
        Some((cells(&url, self.base.underline()), n + 2))
    }

    fn run(&self, at: usize, n: usize) -> Piece {
        let mark = self.chars[at];
        let before = at.checked_sub(1).map(|at| self.chars[at]);
        let after = self.chars.get(at + n).copied();
        let is_space = |c: Option<char>| c.is_none_or(is_blank);
        let is_mark = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric());
        let is_wide = |c: Option<char>| c.is_some_and(|c| char_width(c) > 1);
        let left = !is_space(after)
            && (!is_mark(after) || is_space(before) || is_mark(before) || is_wide(before));
        let right = !is_space(before)
            && (!is_mark(before) || is_space(after) || is_mark(after) || is_wide(after));
        let (opens, closes) = match mark {
            '_' => (
                left && (!right || is_mark(before)),
                right && (!left || is_mark(after)),
            ),
            '~' => (left && n == 2, right && n == 2),
            _ => (left, right),
        };
        Piece {
            row: Row::new(),
            run: Some(Run {
                mark,
                n,
                n_at_first: n,
                opens,
                closes,
            }),
            effects: Effects::new(),
        }
    }
}

impl Piece {
    fn text(row: Row) -> Self {
        Self {
            row,
            run: None,
            effects: Effects::new(),
        }
    }
}

/// Pairs the marks and gives what is between them its effects.
fn emphasise(pieces: &mut [Piece], is_complete: bool) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..pieces.len() {
        while let Some((k, n)) = pair(pieces, &open, at) {
            let from = open[k];
            let mark = use_up(pieces, from, n);
            use_up(pieces, at, n);
            add(&mut pieces[from + 1..at], effects(mark, n));
            let is_used_up = pieces[from].run.as_ref().is_none_or(|run| run.n == 0);
            open.truncate(if is_used_up { k } else { k + 1 });
        }
        if pieces[at]
            .run
            .as_ref()
            .is_some_and(|run| run.opens && run.n > 0)
        {
            open.push(at);
        }
    }
    if is_complete {
        return;
    }
    for from in open {
        while let Some(n) = pieces[from]
            .run
            .as_ref()
            .map(|run| run.n)
            .filter(|n| *n > 0)
        {
            let n = n.min(2);
            let mark = use_up(pieces, from, n);
            add(&mut pieces[from + 1..], effects(mark, n));
        }
    }
}

/// The nearest open marks that those at `at` close, and how many of them.
fn pair(pieces: &[Piece], open: &[usize], at: usize) -> Option<(usize, usize)> {
    let close = pieces[at].run.as_ref().filter(|run| run.closes)?;
    if close.n == 0 {
        return None;
    }
    open.iter().enumerate().rev().find_map(|(k, from)| {
        let start = pieces[*from].run.as_ref()?;
        // Marks that could be either pair only where it is clear which is which.
        let is_unclear = (start.closes || close.opens)
            && (start.n_at_first + close.n_at_first).is_multiple_of(3)
            && !(start.n_at_first.is_multiple_of(3) && close.n_at_first.is_multiple_of(3));
        let fits = start.mark == close.mark && start.n > 0 && !is_unclear;
        fits.then_some((k, start.n.min(close.n).min(2)))
    })
}

fn use_up(pieces: &mut [Piece], at: usize, n: usize) -> char {
    match &mut pieces[at].run {
        Some(run) => {
            run.n -= n;
            run.mark
        }
        None => ' ',
    }
}

fn effects(mark: char, n: usize) -> Effects {
    match (mark, n) {
        ('~', _) => Effects::STRIKETHROUGH,
        (_, 2) => Effects::BOLD,
        _ => Effects::ITALIC,
    }
}

fn add(pieces: &mut [Piece], effects: Effects) {
    for piece in pieces {
        piece.effects |= effects;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text in which styles are written as `{b:…}`.
    fn described(row: &[Cell]) -> String {
        let mut text = String::new();
        for run in row.chunk_by(|a, b| a.style == b.style) {
            let effects = run[0].style.get_effects();
            let mut name = String::new();
            for (effect, letter) in [
                (Effects::BOLD, 'b'),
                (Effects::ITALIC, 'i'),
                (Effects::UNDERLINE, 'u'),
                (Effects::STRIKETHROUGH, 's'),
                (Effects::DIMMED, 'd'),
            ] {
                if effects.contains(effect) {
                    name.push(letter);
                }
            }
            if run[0].style.get_fg_color().is_some() {
                name.push('c');
            }
            let inner: String = run.iter().map(|cell| cell.c).collect();
            text += &if name.is_empty() {
                inner
            } else {
                format!("{{{name}:{inner}}}")
            };
        }
        text
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            described(&parse(text, Style::new(), true)),
            expected,
            "{text}"
        );
    }

    #[track_caller]
    fn check_unfinished(text: &str, expected: &str) {
        assert_eq!(
            described(&parse(text, Style::new(), false)),
            expected,
            "{text}"
        );
    }

    #[test]
    fn emphasis() {
        check("a *b* **c** ***d*** e", "a {i:b} {b:c} {bi:d} e");
        check("_a_ __b__ ~~c~~", "{i:a} {b:b} {s:c}");
        check("**a *b* c**", "{b:a }{bi:b}{b: c}");
        check("*a **b***", "{i:a }{bi:b}");
        check("in*fix*ed", "in{i:fix}ed");
    }

    #[test]
    fn marks_that_mean_nothing_stay() {
        for text in [
            "2 * 3 * 4",
            "snake_case_name and __init",
            "*args and **kwargs",
            "a ** b",
            "~one~",
            "**",
            "* ",
            "a\\",
        ] {
            check(text, text);
        }
        check("\\*not\\* `\\*`", "*not* {c:\\*}");
        check("\\(x\\) \\[y\\]", "\\(x\\) \\[y\\]");
    }

    #[test]
    fn emphasis_beside_wide_characters() {
        check("这是**重要：**请看", "这是{b:重要：}请看");
        check("这是**“重要”**的", "这是{b:“重要”}的");
    }

    #[test]
    fn code() {
        check("a `b *c*` d", "a {c:b *c*} d");
        check("``a`b`` `` ` ``", "{c:a`b} {c:`}");
        check("a ` b", "a ` b");
        check("**`a`**", "{bc:a}");
        check("`` a ` b", "`` a ` b");
    }

    #[test]
    fn links() {
        check("[a *b*](http://x)", "{u:a }{iu:b}{d: (http://x)}");
        check("[http://x](http://x)", "{u:http://x}");
        check("![alt](u.png \"title\")", "{u:alt}{d: (u.png)}");
        check("<https://x.y/a_b_c>", "{u:https://x.y/a_b_c}");
        check("[1, 2] (x) [a]", "[1, 2] (x) [a]");
        check("[a](b", "[a](b");
        check("f(x)[0](1", "f(x)[0](1");
        check("wow! a < b", "wow! a < b");
    }

    #[test]
    fn names_of_characters_and_breaks() {
        check("a &lt;b&gt; &amp; &x; c<br>d", "a <b> & &x; c\nd");
    }

    #[test]
    fn what_is_open_is_taken_as_closed_while_more_may_come() {
        check_unfinished("a **b c", "a {b:b c}");
        check_unfinished("a ***b", "a {bi:b}");
        check_unfinished("a `b *c", "a {c:b *c}");
        check_unfinished("see [the", "see ");
        check_unfinished("see [the](http", "see ");
        check_unfinished("see [1] and", "see [1] and");
        check_unfinished("2 * 3", "2 * 3");
    }

    #[test]
    fn hostile_lines_take_no_time() {
        for text in [
            "*a ".repeat(5000),
            "[".repeat(10_000),
            "`a``b```c".repeat(1500),
            "**a*".repeat(4000),
            "![a](".repeat(3000),
        ] {
            parse(&text, Style::new(), true);
            parse(&text, Style::new(), false);
        }
    }
}
