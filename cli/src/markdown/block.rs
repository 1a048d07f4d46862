//! What a line is, by how it begins.

/// Columns of a tab at the beginning of a line.
const TAB: usize = 4;
/// Quotes within quotes; deeper ones are text.
const MAX_QUOTES: usize = 8;

/// A line: how often it is quoted, how far it is indented within that, and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub quotes: usize,
    pub indent: usize,
    pub kind: Kind<'a>,
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Nothing.
    Blank,
    /// Code begins, in the language `info`.
    Fence(Fence, &'a str),
    /// A heading of level 1 to 6.
    Heading(usize, &'a str),
    /// A line across.
    Rule,
    /// An item of a list: `-`, `1.`, …
    Item(&'a str, &'a str),
    /// Anything else.
    Text(&'a str),
}

/// What ends a block of code: at least so many of these marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub mark: char,
    pub n: usize,
}

impl Fence {
    /// Whether the line ends the code.
    pub(super) fn is_closed_by(self, line: &str) -> bool {
        let line = line.trim();
        line.chars().count() >= self.n && line.chars().all(|c| c == self.mark)
    }

    /// Whether a line that begins so could end the code.
    pub(super) fn may_be_closed_by(self, start: &str) -> bool {
        start.trim().chars().all(|c| c == self.mark)
    }
}

/// Reads a line without its newline.
pub(super) fn read(line: &str) -> Line<'_> {
    let (quotes, rest) = unquote(line, MAX_QUOTES);
    let text = rest.trim_start_matches([' ', '\t']);
    let blanks = &rest[..rest.len() - text.len()];
    Line {
        quotes,
        indent: blanks
            .chars()
            .map(|c| if c == '\t' { TAB } else { 1 })
            .sum(),
        kind: kind(text),
    }
}

/// Takes up to `limit` marks of quotation off a line.
pub(super) fn unquote(line: &str, limit: usize) -> (usize, &str) {
    let mut rest = line;
    for n in 0..limit {
        let text = rest.trim_start_matches(' ');
        match text.strip_prefix('>') {
            Some(after) if rest.len() - text.len() < TAB => {
                rest = after.strip_prefix(' ').unwrap_or(after);
            }
            _ => return (n, rest),
        }
    }
    (limit, rest)
}

fn kind(text: &str) -> Kind<'_> {
    let end = text.trim_end();
    if end.is_empty() {
        return Kind::Blank;
    }
    if let Some(fence) = fence(end) {
        return fence;
    }
    if let Some(heading) = heading(text) {
        return heading;
    }
    if is_rule(end) {
        return Kind::Rule;
    }
    match item(text) {
        Some((marker, rest)) => Kind::Item(marker, rest),
        None => Kind::Text(text),
    }
}

fn fence(text: &str) -> Option<Kind<'_>> {
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let n = text.chars().take_while(|c| *c == mark).count();
    let info = text[n..].trim();
    let is_fence = n >= 3 && !(mark == '`' && info.contains('`'));
    is_fence.then_some(Kind::Fence(Fence { mark, n }, info))
}

fn heading(text: &str) -> Option<Kind<'_>> {
    let level = text.bytes().take_while(|b| *b == b'#').count();
    let rest = &text[level..];
    if !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let rest = rest.trim();
    // Marks at the end are no part of it.
    let bare = rest.trim_end_matches('#');
    let is_closed = bare.is_empty() || bare.ends_with(' ');
    Some(Kind::Heading(
        level,
        if is_closed { bare.trim_end() } else { rest },
    ))
}

fn is_rule(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !matches!(c, ' ' | '\t'));
    let Some(first @ ('-' | '*' | '_')) = marks.next() else {
        return false;
    };
    let mut n = 1;
    marks.all(|c| {
        n += 1;
        c == first
    }) && n >= 3
}

fn item(text: &str) -> Option<(&str, &str)> {
    let n = match text.chars().next()? {
        '-' | '*' | '+' => 1,
        c if c.is_ascii_digit() => {
            let n = text.bytes().take_while(u8::is_ascii_digit).count();
            (n <= 9 && text[n..].starts_with(['.', ')'])).then_some(n + 1)?
        }
        _ => return None,
    };
    let (marker, rest) = text.split_at(n);
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| (marker, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Kind<'_>) {
        let read = read(line);
        assert_eq!((read.quotes, read.kind), (0, expected), "{line}");
    }

    #[test]
    fn kinds() {
        check("", Kind::Blank);
        check("  ", Kind::Blank);
        check("# A b #", Kind::Heading(1, "A b"));
        check("### C#", Kind::Heading(3, "C#"));
        check("#hash", Kind::Text("#hash"));
        check("####### x", Kind::Text("####### x"));
        check("---", Kind::Rule);
        check("* * *", Kind::Rule);
        check("--", Kind::Text("--"));
        check("---a", Kind::Text("---a"));
        check("- a", Kind::Item("-", "a"));
        check("-a", Kind::Text("-a"));
        check("12) a", Kind::Item("12)", "a"));
        check("2024. was", Kind::Item("2024.", "was"));
        check("1.5 x", Kind::Text("1.5 x"));
        check("*", Kind::Item("*", ""));
        check("**a**", Kind::Text("**a**"));
        check("1234567890. x", Kind::Text("1234567890. x"));
        let fence = |mark, n| Fence { mark, n };
        check("```rust", Kind::Fence(fence('`', 3), "rust"));
        check("~~~~", Kind::Fence(fence('~', 4), ""));
        check("```a``` b", Kind::Text("```a``` b"));
    }

    #[test]
    fn indentation_and_quotes() {
        let line = read("> > \t- a");
        assert_eq!((line.quotes, line.indent), (2, 4));
        assert_eq!(line.kind, Kind::Item("-", "a"));
        assert_eq!(read("   a").indent, 3);
        assert_eq!(read("    > a").quotes, 0);
        assert_eq!(read(&">".repeat(20)).quotes, MAX_QUOTES);
    }

    #[test]
    fn fences_close() {
        let fence = Fence { mark: '`', n: 4 };
        assert!(fence.is_closed_by("  ````` "));
        assert!(!fence.is_closed_by("```"));
        assert!(!fence.is_closed_by("````x"));
        assert!(fence.may_be_closed_by(" ``") && fence.may_be_closed_by(""));
        assert!(!fence.may_be_closed_by("``x"));
    }
}
