//! Bounds lists that a Jinja template adds up.
//!
//! The engine pays for `a + b` of two lists after it has made the sum: `x + x`, 33 times, is 2³³ places in memory before
//! the budget is asked. [`bounded`] therefore sends each operand of a `+` through the filter [`NAME`], which refuses lists
//! that are too long and charges for the others. Anything but a list passes it unchanged.
use minijinja::{
    Error, ErrorKind, State, Value,
    machinery::{Span, Token, tokenize},
    syntax::SyntaxConfig,
    value::ValueKind,
};

/// The filter's name.
pub(super) const NAME: &str = "summand";
/// Longest list that is added to another.
const MAX_ITEMS: usize = 1 << 16;
/// Items of a list for one unit of work.
const ITEMS_PER_FUEL: usize = 32;

/// The filter.
pub(super) fn summand(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(value);
    }
    // one whose length is not known is never made as a whole
    let Some(len) = value.len() else {
        return Ok(value);
    };
    if len > MAX_ITEMS {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a list of {len} items is too long for `+`; {MAX_ITEMS} is the most"),
        ));
    }
    state.consume_fuel((len / ITEMS_PER_FUEL) as u64)?;
    if value.kind() == ValueKind::Seq {
        return Ok(value);
    }
    // a view of a view of a view … would take longer and longer to walk through
    let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
    Ok(Value::from(items))
}

/// `source` with every operand of a `+` as `(operand)|summand`. What cannot be cut into words stays as it is: it does not
/// compile either.
pub(super) fn bounded(source: &str, syntax: SyntaxConfig) -> String {
    let Ok(tokens) = tokenize(source, false, syntax).collect::<Result<Vec<_>, _>>() else {
        return source.to_owned();
    };
    let mut operands = Operands::default();
    for (token, span) in &tokens {
        operands.take(token, *span);
    }
    operands.end_all();
    let mut marks = operands.marks;
    marks.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(source.len() + 12 * marks.len());
    let mut from = 0;
    for (at, mark) in marks {
        out.push_str(&source[from..at]);
        match mark {
            Mark::Open => out.push('('),
            Mark::Close => {
                out.push_str(")|");
                out.push_str(NAME);
                out.push(' ');
            }
        }
        from = at;
    }
    out.push_str(&source[from..]);
    out
}

#[derive(Clone, Copy)]
enum Mark {
    Open,
    Close,
}

/// What lies between two words that bind less than `+`, within one pair of brackets.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Where the operand begins that is being read.
    start: Option<usize>,
    /// It follows a `+`.
    is_added: bool,
}

/// Finds the operands of each `+` in one pass.
#[derive(Default)]
struct Operands {
    /// One for each open bracket, and one for outside of them.
    levels: Vec<Level>,
    /// Where the last word ended.
    end: usize,
    /// What the last word was.
    last: Last,
    marks: Vec<(usize, Mark)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    /// The beginning of a statement, whose name follows.
    Statement,
    /// Something that an operand can end with.
    Value,
    Dot,
    /// `is`, or `is not`: the name of a test follows.
    Is,
    #[default]
    Other,
}

impl Operands {
    fn take(&mut self, token: &Token<'_>, span: Span) {
        let start = span.start_offset as usize;
        let is_value = self.last == Last::Value;
        let mut last = Last::Other;
        match token {
            Token::TemplateData(_)
            | Token::VariableStart
            | Token::VariableEnd
            | Token::BlockStart
            | Token::BlockEnd => {
                self.end_all();
                if matches!(token, Token::BlockStart) {
                    last = Last::Statement;
                }
            }
            Token::Plus => {
                self.end_operand(true);
                self.level().is_added = true;
            }
            Token::Minus if is_value => self.end_operand(false),
            Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte
            | Token::Assign
            | Token::Comma
            | Token::Colon => self.end_operand(false),
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.level().start.get_or_insert(start);
                self.levels.push(Level::default());
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.end_operand(false);
                self.levels.pop();
                last = Last::Value;
            }
            Token::Ident(_) if self.last == Last::Statement => self.end_operand(false),
            Token::Ident("and" | "or" | "not" | "in" | "if" | "else" | "recursive")
                if !matches!(self.last, Last::Dot | Last::Is) =>
            {
                self.end_operand(false);
            }
            Token::Ident(name) => {
                self.level().start.get_or_insert(start);
                last = match (*name, self.last) {
                    ("is", Last::Value) | ("not", Last::Is) => Last::Is,
                    _ => Last::Value,
                };
            }
            Token::Dot => last = Last::Dot,
            Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_) => {
                self.level().start.get_or_insert(start);
                last = Last::Value;
            }
            // binds more than `+`, or is the sign of what follows
            _ => {
                self.level().start.get_or_insert(start);
            }
        }
        self.last = last;
        self.end = span.end_offset as usize;
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// Marks the operand if a `+` stands before or behind it.
    fn end_operand(&mut self, is_followed: bool) {
        let end = self.end;
        let level = std::mem::take(self.level());
        if let Some(start) = level.start
            && (level.is_added || is_followed)
        {
            self.marks.push((start, Mark::Open));
            self.marks.push((end, Mark::Close));
        }
    }

    /// The end of an expression, however many brackets are open.
    fn end_all(&mut self) {
        self.end_operand(false);
        self.levels.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let short = bounded(source, SyntaxConfig::default()).replace(&format!("|{NAME} "), "'");
        assert_eq!(short, expected);
    }

    #[test]
    fn operands_reach_as_far_as_they_bind() {
        check("a + b {{ x }} {# + #}", "a + b {{ x }} {# + #}");
        check("{{ a + b }}", "{{ (a)' + (b)' }}");
        check("{{a+b+c}}", "{{(a)'+(b)'+(c)'}}");
        check(
            "{%- set x = -a * b ~ c + d|f(1) -%}",
            "{%- set x = (-a * b ~ c)' + (d|f(1))' -%}",
        );
        check("{{ a - b + c - -d }}", "{{ a - (b)' + (c)' - -d }}");
        check(
            "{{ x[a + 1].y(b, c + 'd') + e }}",
            "{{ (x[(a)' + (1)'].y(b, (c)' + ('d')'))' + (e)' }}",
        );
        check(
            "{% if not a + b == c + d and e %}",
            "{% if not (a)' + (b)' == (c)' + (d)' and e %}",
        );
        check(
            "{% for x in a + b if x %}",
            "{% for x in (a)' + (b)' if x %}",
        );
        check(
            "{% for x in [a] + b recursive %}",
            "{% for x in ([a])' + (b)' recursive %}",
        );
        check("{{ a if b else c + d }}", "{{ a if b else (c)' + (d)' }}");
        check("{{ a + b is not none }}", "{{ (a)' + (b is not none)' }}");
        check(
            "{{ {'k': a + b}.if + c.not }}",
            "{{ ({'k': (a)' + (b)'}.if)' + (c.not)' }}",
        );
        check(
            "{{ (a + (b)) + \"+\" }}",
            "{{ (((a)' + ((b))'))' + (\"+\")' }}",
        );
        check(
            "{% raw %}{{ a + b }}{% endraw %}",
            "{% raw %}{{ a + b }}{% endraw %}",
        );
        check("{%+ if a %}+{% endif +%}", "{%+ if a %}+{% endif +%}");
        check("{{ é + 'ü' }}", "{{ é + 'ü' }}"); // no word of the language
    }
}
