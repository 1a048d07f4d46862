//! From text to nodes: the syntax of llama.cpp's `grammars/README.md` and of its parser, mistakes with their place.

use super::{
    characters::Ranges,
    mistake,
    nodes::{Node, NodeId, Nodes, RuleId},
};
use crate::TokenId;
use rustc_hash::FxHashMap;

/// Groups in each other; what follows one item of `*`, `+`, `?` and `{}`.
const MAX_LEVELS: usize = 50;
const MAX_SUFFIXES: usize = 8;
const MAX_RULES: usize = 2000;
const MAX_NODES: usize = 50_000;
/// Most times that something must be there, as in llama.cpp.
const MAX_LEAST: u32 = 2000;

/// Letters, digits and `-`.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// The nodes of a grammar, and the one that it begins with.
///
/// # Errors
/// The first mistake.
pub(super) fn parse(
    text: &str,
    token: &dyn Fn(&str) -> Option<TokenId>,
) -> Result<(Nodes, NodeId), String> {
    let mut parser = Parser {
        text,
        at: 0,
        token,
        nodes: Nodes::default(),
        numbers: FxHashMap::default(),
        rules: Vec::new(),
    };
    parser.grammar()
}

/// A rule as far as it is known: where it was first spoken of, and what it says.
struct Known {
    at: usize,
    body: Option<NodeId>,
}

struct Parser<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
    token: &'a dyn Fn(&str) -> Option<TokenId>,
    nodes: Nodes,
    numbers: FxHashMap<&'a str, RuleId>,
    rules: Vec<Known>,
}

impl<'a> Parser<'a> {
    fn grammar(&mut self) -> Result<(Nodes, NodeId), String> {
        self.space(true);
        while self.peek().is_some() {
            self.rule()?;
        }
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.names = vec![String::new(); self.rules.len()];
        for (name, &rule) in &self.numbers {
            nodes.names[rule] = (*name).to_owned();
        }
        for (rule, known) in self.rules.iter().enumerate() {
            let body = known.body.ok_or_else(|| {
                let name = &nodes.names[rule];
                self.mistake(known.at, &format!("there is no rule `{name}`"))
            })?;
            nodes.rules.push(body);
        }
        let root = self
            .numbers
            .get("root")
            .ok_or("there is no rule `root`, which says what the whole answer must be")?;
        let root = nodes.add(Node::Rule { rule: *root, at: 0 });
        Ok((nodes, root))
    }

    fn rule(&mut self) -> Result<(), String> {
        let at = self.at;
        let name = self.name();
        if name.is_empty() {
            return Err(self.mistake(
                at,
                "here begins no rule; one is `name ::= …`, its name of letters, digits and `-`",
            ));
        }
        let rule = self.number(name, at)?;
        self.space(false);
        if !self.takes("::=") {
            return Err(self.mistake(self.at, "`::=` must follow the name of a rule"));
        }
        self.space(true);
        let body = self.alternatives(0)?;
        // as in llama.cpp, the last one counts
        self.rules[rule].body = Some(body);
        match self.peek() {
            None => {}
            Some('\r' | '\n') => self.space(true),
            Some(')') => return Err(self.mistake(self.at, "no group is open that `)` closes")),
            Some(_) => {
                return Err(self.mistake(self.at, "this is no part of a rule"));
            }
        }
        Ok(())
    }

    fn number(&mut self, name: &'a str, at: usize) -> Result<RuleId, String> {
        if let Some(&rule) = self.numbers.get(name) {
            return Ok(rule);
        }
        if self.rules.len() == MAX_RULES {
            return Err(self.mistake(at, &format!("at most {MAX_RULES} rules are taken")));
        }
        self.rules.push(Known { at, body: None });
        self.numbers.insert(name, self.rules.len() - 1);
        Ok(self.rules.len() - 1)
    }

    /// Alternatives; in a group, on a level above none, lines may end anywhere.
    fn alternatives(&mut self, level: usize) -> Result<NodeId, String> {
        let mut options = vec![self.sequence(level)?];
        while self.takes("|") {
            self.space(true);
            options.push(self.sequence(level)?);
        }
        match options.len() {
            1 => Ok(options[0]),
            _ => self.add(Node::OneOf(options)),
        }
    }

    fn sequence(&mut self, level: usize) -> Result<NodeId, String> {
        let mut items = Vec::new();
        let mut n_suffixes = 0;
        while let Some(next) = self.peek() {
            if let Some((least, most)) = self.suffix(next, level)? {
                let Some(item) = items.pop() else {
                    return Err(self.mistake(self.at, "there is nothing to repeat"));
                };
                n_suffixes += 1;
                if n_suffixes > MAX_SUFFIXES {
                    let what = format!("at most {MAX_SUFFIXES} repetitions of one thing are taken");
                    return Err(self.mistake(self.at, &what));
                }
                items.push(match (least, most) {
                    (1, Some(1)) => item,
                    (_, Some(0)) => self.add(Node::All(Vec::new()))?,
                    _ => self.add(Node::Repeat {
                        of: item,
                        least,
                        most,
                    })?,
                });
                self.space(level > 0);
                continue;
            }
            let item = match next {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.at += 1;
                    let set = self.nodes.sets.add(Ranges::new(), true);
                    self.add(Node::Chars(set))?
                }
                '<' | '!' => self.token()?,
                '(' => self.group(level)?,
                c if is_of_name(c) => {
                    let at = self.at;
                    let name = self.name();
                    let rule = self.number(name, at)?;
                    self.add(Node::Rule { rule, at })?
                }
                _ => break,
            };
            items.push(item);
            n_suffixes = 0;
            self.space(level > 0);
        }
        match items.len() {
            1 => Ok(items[0]),
            _ => self.add(Node::All(items)),
        }
    }

    fn group(&mut self, level: usize) -> Result<NodeId, String> {
        let at = self.at;
        if level == MAX_LEVELS {
            let what = format!("groups may lie {MAX_LEVELS} levels in each other");
            return Err(self.mistake(at, &what));
        }
        self.at += 1;
        self.space(true);
        let group = self.alternatives(level + 1)?;
        match self.takes(")") {
            true => Ok(group),
            false if self.peek().is_none() => {
                Err(self.mistake(at, "the group that begins here is not closed"))
            }
            false => Err(self.mistake(self.at, "this is no part of a group; `)` closes it")),
        }
    }

    /// How often what stands before may be there, where that is said here.
    fn suffix(&mut self, next: char, level: usize) -> Result<Option<(u32, Option<u32>)>, String> {
        let times = match next {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            '{' => return self.times(level > 0).map(Some),
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(times))
    }

    /// `{m}`, `{m,}`, `{m,n}`, and `{,n}`, which llama.cpp does not take.
    fn times(&mut self, in_group: bool) -> Result<(u32, Option<u32>), String> {
        let at = self.at;
        self.at += 1;
        self.space(in_group);
        let first = self.count()?;
        self.space(in_group);
        let is_range = self.takes(",");
        self.space(in_group);
        let last = if is_range { self.count()? } else { first };
        self.space(in_group);
        if !self.takes("}") || (first.is_none() && last.is_none()) {
            let what = "how often is written as `{m}`, `{m,}`, `{m,n}` or `{,n}`";
            return Err(self.mistake(at, what));
        }
        let least = first.unwrap_or(0);
        if least > MAX_LEAST {
            let what = format!("at most {MAX_LEAST} times may be asked for");
            return Err(self.mistake(at, &what));
        }
        if last.is_some_and(|last| last < least) {
            return Err(self.mistake(at, "the most is less than the least"));
        }
        Ok((least, last))
    }

    fn count(&mut self) -> Result<Option<u32>, String> {
        let at = self.at;
        let digits = self.run(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Ok(None);
        }
        let too_large = |_| self.mistake(at, "this number is too large");
        digits.parse().map(Some).map_err(too_large)
    }

    fn literal(&mut self) -> Result<NodeId, String> {
        let start = self.at;
        self.at += 1;
        let mut characters = Vec::new();
        while !self.takes("\"") {
            let at = self.at;
            let code = self.character(start, "text")?;
            if char::from_u32(code).is_none() {
                return Err(self.mistake(at, "this is the number of no character"));
            }
            let set = self.nodes.sets.add(vec![(code, code)], false);
            characters.push(self.add(Node::Chars(set))?);
        }
        match characters.len() {
            1 => Ok(characters[0]),
            _ => self.add(Node::All(characters)),
        }
    }

    fn class(&mut self) -> Result<NodeId, String> {
        let start = self.at;
        self.at += 1;
        let is_negated = self.takes("^");
        let mut ranges = Ranges::new();
        while !self.takes("]") {
            let at = self.at;
            let first = self.character(start, "class")?;
            let rest = &self.text[self.at..];
            let last = match rest.starts_with('-') && !rest.starts_with("-]") {
                true => {
                    self.at += 1;
                    self.character(start, "class")?
                }
                false => first,
            };
            if last < first {
                return Err(self.mistake(at, "this range ends before it begins"));
            }
            ranges.push((first, last.min(char::MAX.into())));
        }
        if ranges.is_empty() {
            return Err(self.mistake(start, "a class must name a character; any is `.`"));
        }
        let set = self.nodes.sets.add(ranges, is_negated);
        if self.nodes.sets.ranges(set).is_empty() {
            return Err(self.mistake(start, "no character is in this class"));
        }
        self.add(Node::Chars(set))
    }

    /// A character's number: as it stands there, or escaped.
    fn character(&mut self, start: usize, of: &str) -> Result<u32, String> {
        let at = self.at;
        let unclosed =
            |here: &Self| here.mistake(start, &format!("the {of} that begins here is not closed"));
        let first = self.peek().ok_or_else(|| unclosed(self))?;
        self.at += first.len_utf8();
        if first != '\\' {
            return Ok(first.into());
        }
        let escape = self.peek().ok_or_else(|| unclosed(self))?;
        self.at += escape.len_utf8();
        let n_digits = match escape {
            'n' => return Ok('\n'.into()),
            'r' => return Ok('\r'.into()),
            't' => return Ok('\t'.into()),
            '\\' | '"' | '[' | ']' | '-' => return Ok(escape.into()),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => {
                let what = format!("`\\{}` is no escape", escape.escape_debug());
                return Err(self.mistake(at, &what));
            }
        };
        let text = self.text;
        let digits = text.get(self.at..self.at + n_digits);
        let is_hex = |digits: &&str| digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = digits
            .filter(is_hex)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += n_digits;
        code.ok_or_else(|| {
            let what = format!("`\\{escape}` takes {n_digits} hexadecimal digits");
            self.mistake(at, &what)
        })
    }

    /// `<[5]>`, `<text>`, and with `!` ahead every other token.
    fn token(&mut self) -> Result<NodeId, String> {
        let is_negated = self.takes("!");
        let start = self.at;
        let inside = self.text[start..].strip_prefix('<');
        let Some((inside, _)) = inside.and_then(|rest| rest.split_once('>')) else {
            let what = "a token is written as `<text>` or `<[number]>`";
            return Err(self.mistake(start, what));
        };
        self.at += inside.len() + 2;
        let number = inside
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let id = match number {
            Some(number) => number.parse().ok(),
            None => (self.token)(&self.text[start..self.at]),
        };
        let id = id.ok_or_else(|| {
            let what = format!("`<{}>` is no token of this model", inside.escape_debug());
            self.mistake(start, &what)
        })?;
        self.add(Node::Token { id, is_negated })
    }

    /// Skips blanks and comments, and lines' ends where they may be.
    fn space(&mut self, with_lines: bool) {
        loop {
            self.run(|c| c == ' ' || c == '\t' || with_lines && (c == '\r' || c == '\n'));
            if self.peek() != Some('#') {
                return;
            }
            self.run(|c| c != '\r' && c != '\n');
        }
    }

    fn name(&mut self) -> &'a str {
        self.run(is_of_name)
    }

    /// The characters from here on that are such ones.
    fn run(&mut self, is_such: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !is_such(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn takes(&mut self, mark: &str) -> bool {
        let is_here = self.text[self.at..].starts_with(mark);
        if is_here {
            self.at += mark.len();
        }
        is_here
    }

    fn add(&mut self, node: Node) -> Result<NodeId, String> {
        if self.nodes.all.len() == MAX_NODES {
            let what =
                format!("the grammar is too large: {MAX_NODES} characters and signs are taken");
            return Err(self.mistake(self.at, &what));
        }
        Ok(self.nodes.add(node))
    }

    fn mistake(&self, at: usize, what: &str) -> String {
        mistake(self.text, at, what)
    }
}
