//! A template's words, with the line that each stands in. Trim marks and comments are dealt with here.
use super::error::{GoTemplateError, Result};

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) line: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// Outside of braces; trimmed, not empty.
    Text(&'a str),
    Left,
    Right,
    /// White space between words; some of it means something.
    Space,
    /// A name or keyword.
    Word(&'a str),
    /// `.Name`, without the dot.
    Field(&'a str),
    /// `$` or `$name`.
    Variable(&'a str),
    /// Quoted text, still with its quotes and escapes.
    Quoted(&'a str),
    /// Text between back quotes.
    Raw(&'a str),
    /// `'c'`, with its quotes.
    Char(&'a str),
    Number(&'a str),
    Dot,
    Pipe,
    Comma,
    Declare,
    Assign,
    Open,
    Close,
}

impl Kind<'_> {
    /// For complaints.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(_) => "text".into(),
            Self::Left => "`{{`".into(),
            Self::Right => "`}}`".into(),
            Self::Space => "a space".into(),
            Self::Word(word) | Self::Variable(word) | Self::Number(word) => format!("`{word}`"),
            Self::Field(name) => format!("`.{name}`"),
            Self::Quoted(text) | Self::Char(text) => format!("`{text}`"),
            Self::Raw(_) => "a text in back quotes".into(),
            Self::Dot => "`.`".into(),
            Self::Pipe => "`|`".into(),
            Self::Comma => "`,`".into(),
            Self::Declare => "`:=`".into(),
            Self::Assign => "`=`".into(),
            Self::Open => "`(`".into(),
            Self::Close => "`)`".into(),
        }
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// All words of `source`.
///
/// # Errors
/// Braces, quotes or parentheses without an end, and characters that mean nothing.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.text()? {}
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn advance(&mut self, n_bytes: usize) -> &'a str {
        let text = &self.rest()[..n_bytes];
        self.at += n_bytes;
        self.line += text.bytes().filter(|b| *b == b'\n').count();
        text
    }

    fn push(&mut self, kind: Kind<'a>, line: usize) {
        self.tokens.push(Token { kind, line });
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(GoTemplateError::new(self.line, message))
    }

    /// Text up to the next braces, and what is in them; `false` at the end.
    fn text(&mut self) -> Result<bool> {
        let rest = self.rest();
        let Some(len) = rest.find("{{") else {
            if !rest.is_empty() {
                self.push(Kind::Text(rest), self.line);
            }
            return Ok(false);
        };
        let trims = opens_with_trim(&rest[len + 2..]);
        let line = self.line;
        let text = self.advance(len);
        let text = if trims {
            text.trim_end_matches(SPACES)
        } else {
            text
        };
        if !text.is_empty() {
            self.push(Kind::Text(text), line);
        }
        self.advance(if trims { 4 } else { 2 });
        if self.rest().starts_with("/*") {
            self.comment()?;
        } else {
            self.push(Kind::Left, self.line);
            self.action()?;
        }
        Ok(true)
    }

    fn comment(&mut self) -> Result<()> {
        let Some(len) = self.rest().find("*/") else {
            return self.fail("a comment does not end; close it with `*/}}`");
        };
        self.advance(len + 2);
        if self.rest().starts_with("}}") {
            self.advance(2);
        } else if closes_with_trim(self.rest()) {
            self.advance(4);
            self.trim_start();
        } else {
            return self.fail("a comment must fill its braces; end it with `*/}}`");
        }
        Ok(())
    }

    fn trim_start(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(SPACES).len());
    }

    /// Everything up to and with the closing braces.
    fn action(&mut self) -> Result<()> {
        let mut n_open = 0_usize;
        loop {
            let rest = self.rest();
            let line = self.line;
            let trims = closes_with_trim(rest);
            if trims || rest.starts_with("}}") {
                if n_open > 0 {
                    return self.fail("a `(` is not closed; add `)`");
                }
                self.advance(if trims { 4 } else { 2 });
                self.push(Kind::Right, line);
                if trims {
                    self.trim_start();
                }
                return Ok(());
            }
            let Some(first) = rest.chars().next() else {
                return self.fail("an action does not end; close it with `}}`");
            };
            let kind = match first {
                c if SPACES.contains(&c) => {
                    self.space();
                    Kind::Space
                }
                '(' => {
                    n_open += 1;
                    self.advance(1);
                    Kind::Open
                }
                ')' if n_open == 0 => return self.fail("a `)` closes nothing; remove it"),
                ')' => {
                    n_open -= 1;
                    self.advance(1);
                    Kind::Close
                }
                '=' => {
                    self.advance(1);
                    Kind::Assign
                }
                ':' if rest.starts_with(":=") => {
                    self.advance(2);
                    Kind::Declare
                }
                '|' => {
                    self.advance(1);
                    Kind::Pipe
                }
                ',' => {
                    self.advance(1);
                    Kind::Comma
                }
                '"' => Kind::Quoted(self.quoted('"')?),
                '\'' => Kind::Char(self.quoted('\'')?),
                '`' => {
                    let Some(len) = rest[1..].find('`') else {
                        return self.fail("a text in back quotes does not end");
                    };
                    let text = self.advance(len + 2);
                    Kind::Raw(&text[1..=len])
                }
                '$' => Kind::Variable(self.name(1)?),
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    match self.name(1)? {
                        "." => Kind::Dot,
                        field => Kind::Field(&field[1..]),
                    }
                }
                '.' | '+' | '-' | '0'..='9' => Kind::Number(self.number()?),
                c if is_alphanumeric(c) => Kind::Word(self.name(0)?),
                c => return self.fail(format!("`{c}` means nothing in an action")),
            };
            self.push(kind, line);
        }
    }

    /// White space, except the last one of it where that belongs to a trim mark.
    fn space(&mut self) {
        let rest = self.rest();
        let len = rest.len() - rest.trim_start_matches(SPACES).len();
        if len > 1 && closes_with_trim(&rest[len - 1..]) {
            self.advance(len - 1);
        } else {
            self.advance(len);
        }
    }

    /// Text in quotes, which end in the same line.
    fn quoted(&mut self, quote: char) -> Result<&'a str> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => return Ok(self.advance(at + 1)),
                _ => {}
            }
        }
        self.fail(format!("a text does not end; close it with {quote}"))
    }

    /// A name behind `n_skip` bytes that belong to it.
    fn name(&mut self, n_skip: usize) -> Result<&'a str> {
        let rest = self.rest();
        let tail = rest[n_skip..].trim_start_matches(is_alphanumeric);
        let ends = tail.is_empty()
            || tail.starts_with("}}")
            || tail.starts_with(SPACES)
            || tail.starts_with(['.', ',', '|', ':', ')', '(']);
        if !ends {
            let word = &rest[..rest.len() - tail.len()];
            return self.fail(format!(
                "`{word}` is followed by `{}`; write a space between them",
                tail.chars().next().unwrap_or_default()
            ));
        }
        Ok(self.advance(rest.len() - tail.len()))
    }

    fn number(&mut self) -> Result<&'a str> {
        let rest = self.rest();
        let mut previous = ' ';
        let len = rest
            .find(|c: char| {
                let exponent_sign =
                    matches!(c, '+' | '-') && matches!(previous, ' ' | 'e' | 'E' | 'p' | 'P');
                let belongs = exponent_sign || c == '.' || is_alphanumeric(c);
                previous = c;
                !belongs
            })
            .unwrap_or(rest.len());
        Ok(self.advance(len))
    }
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn opens_with_trim(rest: &str) -> bool {
    rest.starts_with('-') && rest[1..].starts_with(SPACES)
}

fn closes_with_trim(rest: &str) -> bool {
    rest.starts_with(SPACES) && rest[1..].starts_with("-}}")
}
