//! From bytes to instructions: encodings, comments, quotes, line numbers. What a word means is the parser's matter.
use super::{ModelfileError, Place};

/// No Modelfile that a person or a tool writes is larger.
const MAX_BYTES: usize = 16 << 20;

/// One instruction as it stands in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Where the keyword, the key and the value begin.
    pub(super) at: Place,
    pub(super) key_at: Place,
    pub(super) value_at: Place,
    /// The keyword in lower case.
    pub(super) keyword: String,
    /// For `PARAMETER` and `MESSAGE`: the word before the value.
    pub(super) key: String,
    /// The value without its quotes.
    pub(super) value: String,
}

/// Turns UTF-8 (with or without BOM) or UTF-16 (with BOM) into text.
pub(super) fn decode(bytes: &[u8]) -> Result<String, ModelfileError> {
    if bytes.len() > MAX_BYTES {
        let n_bytes = bytes.len();
        let problem = format!("the Modelfile has {n_bytes} bytes, at most {MAX_BYTES} are read");
        return Err(ModelfileError {
            place: None,
            problem,
        });
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => decode_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => decode_utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => decode_utf8(rest),
        _ => decode_utf8(bytes),
    }
}

fn decode_utf8(bytes: &[u8]) -> Result<String, ModelfileError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Err(ModelfileError {
                place: Some(end_of(&before)),
                problem: "not UTF-8 text: save the Modelfile as UTF-8".to_owned(),
            })
        }
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ModelfileError> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(decoded.map_err(|_| not_utf16(&text))?);
    }
    if !odd.is_empty() {
        return Err(not_utf16(&text));
    }
    Ok(text)
}

fn not_utf16(before: &str) -> ModelfileError {
    ModelfileError {
        place: Some(end_of(before)),
        problem: "not UTF-16 text: save the Modelfile as UTF-8".to_owned(),
    }
}

/// The place behind `text`, which begins the file.
fn end_of(text: &str) -> Place {
    Place {
        line: 1 + text.matches('\n').count(),
        column: column_behind(text),
    }
}

fn column_behind(text: &str) -> usize {
    let line = text.rsplit('\n').next().unwrap_or_default();
    1 + line.chars().count()
}

/// Cuts `text` into instructions, one at a time.
pub(super) struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text,
            line: 1,
        }
    }

    /// Where `rest` begins.
    fn place(&self) -> Place {
        let before = &self.text[..self.text.len() - self.rest.len()];
        Place {
            line: self.line,
            column: column_behind(before),
        }
    }

    /// The next instruction, or `None` at the end. `check` judges the keyword (in lower case) before its value is read,
    /// so that a wrong word is reported rather than its quotes, and says whether a key stands before the value.
    pub(super) fn next(
        &mut self,
        check: impl Fn(&str) -> Result<bool, String>,
    ) -> Result<Option<Instruction>, ModelfileError> {
        loop {
            self.skip_blanks();
            match self.rest.chars().next() {
                None => return Ok(None),
                Some('\n') => self.skip_line(),
                Some('#') => self.skip_line(),
                Some(_) => break,
            }
        }
        let at = self.place();
        let keyword = self.word().to_ascii_lowercase();
        let has_key = check(&keyword).or_else(|problem| error(at, problem))?;
        self.skip_blanks();
        let key_at = self.place();
        let key = if has_key { self.word() } else { "" }.to_owned();
        self.skip_blanks();
        if self.rest.is_empty() || self.rest.starts_with('\n') {
            let example = if has_key {
                "a name and a value"
            } else {
                "a value"
            };
            let keyword = keyword.to_uppercase();
            let problem = format!("{keyword} needs {example} on the same line");
            return error(self.place(), problem);
        }
        let value_at = self.place();
        let value = self.value()?;
        Ok(Some(Instruction {
            at,
            key_at,
            value_at,
            keyword,
            key,
            value,
        }))
    }

    /// Everything up to the next blank or line end.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(char::is_whitespace);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(is_blank);
    }

    fn skip_line(&mut self) {
        let _ = self.take_line();
    }

    /// The text up to the line end, which is skipped.
    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.advance(self.rest.len() - rest.len());
        line
    }

    fn advance(&mut self, n_bytes: usize) {
        let (skipped, rest) = self.rest.split_at(n_bytes);
        self.line += skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }

    fn value(&mut self) -> Result<String, ModelfileError> {
        if let Some(text) = self.rest.strip_prefix("\"\"\"") {
            let Some(len) = find_closing_triple(text) else {
                return error(
                    self.place(),
                    "unexpected EOF: the text after \"\"\" has no closing \"\"\"",
                );
            };
            self.advance(3 + len + 3);
            self.skip_line();
            return Ok(text[..len].to_owned());
        }
        if let Some(text) = self.rest.strip_prefix('"') {
            let Some(len) = text.find('"') else {
                return error(
                    self.place(),
                    "unexpected EOF: the text after \" has no closing \"",
                );
            };
            self.advance(1 + len + 1);
            if !rest_of_line(self.rest).trim().is_empty() {
                self.skip_blanks();
                return error(
                    self.place(),
                    "text after the closing quote: put text that contains \" between \"\"\" and \"\"\"",
                );
            }
            self.skip_line();
            return Ok(text[..len].to_owned());
        }
        Ok(self.take_line().trim().to_owned())
    }
}

fn error<T>(place: Place, problem: impl Into<String>) -> Result<T, ModelfileError> {
    Err(ModelfileError {
        place: Some(place),
        problem: problem.into(),
    })
}

/// Blanks within a line.
fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

fn rest_of_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Where the last `"""` of the first line that ends with one begins; quotes before it, or amid a line, are text.
fn find_closing_triple(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(inner) = line.trim_end().strip_suffix("\"\"\"") {
            return Some(start + inner.len());
        }
        start += line.len();
    }
    None
}
