//! Rewrites a Jinja template so that the values which the engine does unbounded work with pass the filters of
//! [`super::bounds`] first. Works on the words of the language, in one pass, and leaves everything else as it is.
use super::bounds::{BOUNDED, ORDERED, STORED, SUMMAND};
use minijinja::{
    machinery::{Span, Token, tokenize},
    syntax::SyntaxConfig,
};

/// Words of one expression or statement: the compiler goes as deep as an expression is long.
const MAX_WORDS: usize = 4096;
/// `elif`s of a template: the parser goes as deep as there are in a row.
const MAX_BRANCHES: usize = 512;
/// Longest constant that is compared without being paid for.
const MAX_CONSTANT_BYTES: usize = 256;

/// Filters that look at no more than the top level of their input, and pay for that.
const SHALLOW: &[&str] = &[
    "abs",
    "attr",
    "bool",
    "count",
    "d",
    "default",
    "first",
    "float",
    "int",
    "last",
    "length",
    "list",
    "round",
    "tojson",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
];
/// Filters that may give back a view of their input.
const VIEWS: &[&str] = &["reverse"];
/// Filters that compare the items of their input with each other.
const ORDERING: &[&str] = &["dictsort", "groupby", "max", "min", "sort", "sum", "unique"];

/// `source` with the filters put in; what cannot be cut into words stays as it is, since it does not compile either.
///
/// # Errors
/// The line of an expression, or of a chain of `elif`s, that is longer than any template needs.
pub(super) fn bounded(source: &str, syntax: SyntaxConfig) -> Result<String, usize> {
    let Ok(tokens) = tokenize(source, false, syntax).collect::<Result<Vec<_>, _>>() else {
        return Ok(source.to_owned());
    };
    let mut words = Words::default();
    for (token, span) in &tokens {
        words.take(token, *span);
        if words.n_words > MAX_WORDS || words.n_branches > MAX_BRANCHES {
            return Err(usize::from(span.start_line));
        }
    }
    words.end_all();
    let mut marks = words.marks;
    marks.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(source.len() + 12 * marks.len());
    let mut from = 0;
    for (at, mark) in marks {
        out.push_str(&source[from..at]);
        match mark {
            Mark::Open => out.push_str("(("),
            Mark::Close(filter) => out.extend([")|", filter, " )"]),
            Mark::Filter(filter) => out.extend(["|", filter, " "]),
        }
        from = at;
    }
    out.push_str(&source[from..]);
    Ok(out)
}

#[derive(Clone, Copy)]
enum Mark {
    Open,
    Close(&'static str),
    /// One more filter behind the last word.
    Filter(&'static str),
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Bracket {
    /// None: the statement itself.
    #[default]
    Outside,
    /// Of an expression, or of a tuple.
    Paren,
    /// Of arguments that a filter or a method gets which compares them.
    Arguments,
    /// Of other arguments, or of parameters.
    Call,
    List,
    Subscript,
    Map,
}

/// Words joined by operators that bind more than `+`, `~` and comparisons.
#[derive(Clone, Copy)]
struct Operand {
    start: usize,
    end: usize,
    is_constant: bool,
    is_product: bool,
    is_added: bool,
}

/// What lies within one pair of brackets, or outside of them.
#[derive(Default)]
struct Level {
    bracket: Bracket,
    /// Where the bracket begins, or the value whose subscript it is.
    start: usize,
    /// How many words that are no constants came before.
    n_variables: usize,
    has_comma: bool,
    has_colon: bool,
    is_empty: bool,
    /// The operands of the expression so far, since the last word that binds less than comparisons.
    operands: Vec<Operand>,
    /// Whether an operator among them looks at whole values: a comparison or `~`.
    is_deep: bool,
    has_minus: bool,
    has_tilde: bool,
    has_in: bool,
    /// Where the operand begins that is being read, and what is known of it.
    operand: Option<usize>,
    n_words: usize,
    n_constants: usize,
    is_product: bool,
    is_added: bool,
    /// Where the value begins that a dot, a subscript or a call may follow.
    value: Option<usize>,
    /// How many marks there were before the expression.
    n_marks: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    /// The beginning of a statement, whose name follows.
    Statement,
    /// The name of a statement.
    Name,
    /// Something that an operand can end with.
    Value,
    /// The name of a filter, or of a method that compares its arguments.
    Filter,
    Dot,
    Pipe,
    /// `is`, or `is not`: the name of a test follows.
    Is,
    #[default]
    Other,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Statement {
    #[default]
    Other,
    /// Before `in`.
    For,
    /// Before `=`.
    Set,
    /// Behind `=`.
    SetName,
    /// Behind `=`, where a namespace is written to.
    SetField,
    Call,
    Filter,
}

/// Finds the places of the marks.
#[derive(Default)]
struct Words {
    /// One for each open bracket, and one for outside of them.
    levels: Vec<Level>,
    /// Where the last word ended.
    end: usize,
    /// Where the value ended that a filter is applied to.
    before_pipe: Option<usize>,
    last: Last,
    statement: Statement,
    /// Whether the target of a `set` has a dot.
    is_field: bool,
    /// Whether the expression that ends is followed by a colon.
    is_key: bool,
    n_words: usize,
    n_branches: usize,
    n_variables: usize,
    /// How many marks there were before the statement.
    n_marks_before: usize,
    marks: Vec<(usize, Mark)>,
}

impl Words {
    fn take(&mut self, token: &Token<'_>, span: Span) {
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let is_behind_value = matches!(self.last, Last::Value | Last::Filter);
        self.n_words += 1;
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
                self.end_operand();
                self.level().is_added = true;
                if let Some(operand) = self.level().operands.last_mut() {
                    operand.is_added = true;
                }
            }
            Token::Minus if is_behind_value => {
                self.end_operand();
                self.level().has_minus = true;
            }
            Token::Tilde => {
                self.end_operand();
                let level = self.level();
                level.is_deep = true;
                level.has_tilde = true;
            }
            Token::Eq | Token::Ne | Token::Gt | Token::Gte | Token::Lt | Token::Lte => {
                self.end_operand();
                self.level().is_deep = true;
            }
            Token::Assign => self.assign(),
            Token::Comma => {
                self.level().has_comma = true;
                self.end_expression();
            }
            Token::Colon => {
                self.is_key = true;
                self.end_expression();
                self.is_key = false;
                self.level().has_colon = true;
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.open(token, start, is_behind_value);
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.close(end);
                last = Last::Value;
            }
            Token::Ident(name) => last = self.name(name, start),
            Token::Dot => {
                self.is_field |= self.statement == Statement::Set;
                last = Last::Dot;
            }
            Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_) => {
                self.begin(start);
                let level = self.level();
                level.n_words += 1;
                if end - start <= MAX_CONSTANT_BYTES {
                    level.n_constants += 1;
                }
                last = Last::Value;
            }
            Token::Pipe => {
                self.before_pipe = is_behind_value.then_some(self.end);
                last = Last::Pipe;
            }
            Token::Mul => {
                let level = self.level();
                level.is_product = true;
                level.value = None;
                level.n_words += 1;
            }
            // binds more than `+`, or is the sign of what follows
            _ => {
                let level = self.level();
                level.operand.get_or_insert(start);
                level.value = None;
                level.n_words += 1;
            }
        }
        self.last = last;
        self.end = end;
    }

    fn name(&mut self, name: &str, start: usize) -> Last {
        match self.last {
            Last::Statement => {
                self.n_branches += usize::from(name == "elif");
                self.statement = match name {
                    "for" => Statement::For,
                    "set" => Statement::Set,
                    "call" => Statement::Call,
                    "filter" => Statement::Filter,
                    _ => Statement::Other,
                };
                return if self.statement == Statement::Filter {
                    Last::Pipe
                } else {
                    Last::Name
                };
            }
            Last::Pipe => {
                self.filter(name);
                return Last::Filter;
            }
            Last::Dot | Last::Is => {}
            _ => match name {
                "and" | "or" | "if" | "else" | "recursive" => {
                    self.end_expression();
                    return Last::Other;
                }
                "in" if self.statement == Statement::For && self.levels.len() < 2 => {
                    self.marks.truncate(self.n_marks_before);
                    self.statement = Statement::Other;
                    self.levels.clear();
                    return Last::Other;
                }
                "in" => {
                    self.end_operand();
                    let level = self.level();
                    level.is_deep = true;
                    level.has_in = true;
                    return Last::Other;
                }
                // `a not in b`
                "not" if matches!(self.last, Last::Value | Last::Filter) => {
                    self.end_operand();
                    return Last::Other;
                }
                "not" => {
                    self.end_expression();
                    return Last::Other;
                }
                _ => {}
            },
        }
        self.n_variables += 1;
        let is_method = self.last == Last::Dot;
        let is_constant =
            !is_method && matches!(name, "true" | "false" | "none" | "True" | "False" | "None");
        if is_constant {
            self.n_variables -= 1;
        }
        self.begin(start);
        let level = self.level();
        level.n_words += 1;
        level.n_constants += usize::from(is_constant);
        match (name, self.last) {
            ("is", Last::Value | Last::Filter) | ("not", Last::Is) => Last::Is,
            ("changed", Last::Dot) => Last::Filter,
            _ => Last::Value,
        }
    }

    /// A filter is applied to what was read.
    fn filter(&mut self, name: &str) {
        self.n_variables += 1;
        let end = std::mem::take(&mut self.before_pipe);
        let level = self.level();
        level.n_words += 1;
        if level.n_words == 2 && level.n_constants == 1 {
            return;
        }
        let filter = match name {
            _ if SHALLOW.contains(&name) => return,
            _ if VIEWS.contains(&name) => SUMMAND,
            _ if ORDERING.contains(&name) => ORDERED,
            _ => BOUNDED,
        };
        if let Some(end) = end {
            self.marks.push((end, Mark::Filter(filter)));
        }
    }

    fn open(&mut self, token: &Token<'_>, start: usize, is_behind_value: bool) {
        let bracket = match token {
            Token::ParenOpen if self.last == Last::Filter => Bracket::Arguments,
            Token::ParenOpen if is_behind_value => Bracket::Call,
            Token::ParenOpen if self.last == Last::Name && self.statement == Statement::Call => {
                Bracket::Call
            }
            Token::ParenOpen => Bracket::Paren,
            Token::BracketOpen if is_behind_value => Bracket::Subscript,
            Token::BracketOpen => Bracket::List,
            _ => Bracket::Map,
        };
        if matches!(bracket, Bracket::Paren | Bracket::List | Bracket::Map) {
            self.begin(start);
        }
        let n_variables = self.n_variables;
        let level = self.level();
        level.n_words += 1;
        let start = match bracket {
            Bracket::Subscript => level.value.unwrap_or(start),
            _ => start,
        };
        let n_marks = self.marks.len();
        self.levels.push(Level {
            bracket,
            start,
            n_variables,
            is_empty: true,
            n_marks,
            ..Level::default()
        });
    }

    fn close(&mut self, end: usize) {
        self.end_expression();
        let Some(level) = self.levels.pop() else {
            return;
        };
        let is_constant = level.n_variables == self.n_variables;
        let filter = match level.bracket {
            Bracket::Paren if level.has_comma || level.is_empty => BOUNDED,
            Bracket::List | Bracket::Map => BOUNDED,
            Bracket::Subscript if level.has_colon => SUMMAND,
            _ => return,
        };
        // a constant is as long as the source says
        if filter == SUMMAND || !is_constant {
            self.n_variables += 1;
            self.marks.push((level.start, Mark::Open));
            self.marks.push((end, Mark::Close(filter)));
        }
    }

    /// What was read was no value, but a target or the name of an argument.
    fn assign(&mut self) {
        let n_marks = if self.levels.len() < 2 && self.statement == Statement::Set {
            self.statement = if self.is_field {
                Statement::SetField
            } else {
                Statement::SetName
            };
            self.levels.clear();
            0
        } else {
            self.level().n_marks
        };
        let n_marks = n_marks.max(self.n_marks_before);
        self.marks.truncate(n_marks);
        let n_marks = self.marks.len();
        let level = self.level();
        level.operands.clear();
        level.operand = None;
        level.value = None;
        level.n_words = 0;
        level.n_constants = 0;
        level.is_product = false;
        level.n_marks = n_marks;
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level {
                n_marks: self.marks.len(),
                ..Level::default()
            });
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// A word that an operand may begin with.
    fn begin(&mut self, start: usize) {
        let is_within = self.last == Last::Dot;
        let level = self.level();
        level.is_empty = false;
        level.operand.get_or_insert(start);
        if !is_within {
            level.value = Some(start);
        }
    }

    fn end_operand(&mut self) {
        let end = self.end;
        let level = self.level();
        let operand = level.operand.take().map(|start| Operand {
            start,
            end,
            is_constant: level.n_words == 1 && level.n_constants == 1,
            is_product: level.is_product,
            is_added: level.is_added,
        });
        level.operands.extend(operand);
        level.n_words = 0;
        level.n_constants = 0;
        level.is_product = false;
        level.is_added = false;
        level.value = None;
    }

    /// Marks the operands of an expression, now that all its operators are known.
    fn end_expression(&mut self) {
        self.end_operand();
        let is_key = self.is_key;
        let is_set = matches!(self.statement, Statement::SetName | Statement::SetField);
        let stores = self.statement == Statement::SetField && self.levels.len() < 2;
        let level = self.level();
        let operands = std::mem::take(&mut level.operands);
        // what `-` gives is a number
        let is_asked = !level.has_minus
            && match level.bracket {
                Bracket::Arguments | Bracket::Subscript => true,
                // a key, which is hashed; the other is looked at with the whole
                Bracket::Map => is_key,
                Bracket::Outside => is_set && level.has_comma,
                _ => false,
            };
        let is_cheap = match operands.as_slice() {
            [first, _] if level.has_in => first.is_constant,
            [first, second] => !level.has_tilde && (first.is_constant || second.is_constant),
            _ => false,
        };
        let is_deep = (level.is_deep && !is_cheap) || is_asked;
        level.is_deep = false;
        level.has_minus = false;
        level.has_tilde = false;
        level.has_in = false;
        let is_single = operands.len() == 1;
        for operand in operands {
            let filter = match operand {
                Operand {
                    is_constant: true, ..
                } => continue,
                _ if is_deep || operand.is_product => BOUNDED,
                Operand { is_added: true, .. } => SUMMAND,
                _ if stores && is_single => STORED,
                _ => continue,
            };
            self.marks.push((operand.start, Mark::Open));
            self.marks.push((operand.end, Mark::Close(filter)));
        }
        let n_marks = self.marks.len();
        self.level().n_marks = n_marks;
    }

    /// The end of a statement or an expression, however many brackets are open.
    fn end_all(&mut self) {
        while self.levels.len() > 1 {
            self.end_expression();
            self.levels.pop();
        }
        self.end_expression();
        self.levels.clear();
        self.statement = Statement::Other;
        self.is_field = false;
        self.n_words = 0;
        self.n_marks_before = self.marks.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<` stands for two opening brackets, `'` for the end of an operand of `+`, `!` for that of a value that is walked through.
    #[track_caller]
    fn check(source: &str, expected: &str) {
        let mut short = bounded(source, SyntaxConfig::default()).unwrap();
        for (filter, letter) in [
            (SUMMAND, "'"),
            (BOUNDED, "!"),
            (ORDERED, "?"),
            (STORED, "="),
        ] {
            short = short.replace(&format!(")|{filter} )"), letter);
            short = short.replace(&format!("|{filter} "), &format!(">{letter}"));
        }
        assert_eq!(short.replace("((", "<"), expected);
    }

    #[test]
    fn operands_reach_as_far_as_they_bind() {
        check("a + b {{ x }} {# + #}", "a + b {{ x }} {# + #}");
        check("{{a+b+c}}", "{{<a'+<b'+<c'}}");
        check("{{ -a * b + c / 2 }}", "{{ <-a * b! + <c / 2' }}");
        check("{{ a - b + c - -d }}", "{{ a - <b' + <c' - -d }}");
        check("{{ a ~ 'x' + b.c }}", "{{ <a! ~ 'x' + <b.c! }}");
        check(
            "{{ x[a + 1].y(b, c + 'd') + e }}",
            "{{ <x[<a! + 1].y(b, <c' + 'd')' + <e' }}",
        );
        check("{{ a if b else c + d }}", "{{ a if b else <c' + <d' }}");
        check("{{ a + b is not none }}", "{{ <a' + <b is not none' }}");
        check("{% for x in a + b if x %}", "{% for x in <a' + <b' if x %}");
        check("{{ (a + (b)) + \"+\" }}", "{{ <<(a' + <(b)')' + \"+\" }}");
        check(
            "{% raw %}{{ a + b }}{% endraw %}",
            "{% raw %}{{ a + b }}{% endraw %}",
        );
        check("{%+ if a %}+{% endif +%}", "{%+ if a %}+{% endif +%}");
        check("{{ é + 'ü' }}", "{{ é + 'ü' }}"); // no word of the language
    }

    #[test]
    fn comparisons_with_constants_are_cheap() {
        check("{% if a.b == 'c' %}", "{% if a.b == 'c' %}");
        check("{% if a == b and c %}", "{% if <a! == <b! and c %}");
        check("{{ not a == b != 1 }}", "{{ not <a! == <b! != 1 }}");
        check(
            "{{ 'a' in b or 'a' not in b }}",
            "{{ 'a' in b or 'a' not in b }}",
        );
        check("{{ a|f not in 'b' }}", "{{ <a>!|f! not in 'b' }}");
    }

    #[test]
    fn what_makes_or_reads_whole_values_is_marked() {
        check(
            "{{ [a, 'b'] }}{{ ['b', 1] }}",
            "{{ <[a, 'b']! }}{{ ['b', 1] }}",
        );
        check("{{ {a: b, 'c': []} }}", "{{ <{<a!: b, 'c': []}! }}");
        check("{{ (a, b)[0](c, d) }}", "{{ <(a, b)![0](c, d) }}");
        check("{{ -x.y[1:][::2] }}", "{{ -<<x.y[1:]'[::2]' }}");
        check(
            "{{ a|length }}{{ 'a'|upper }}",
            "{{ a|length }}{{ 'a'|upper }}",
        );
        check(
            "{{ a|upper|replace(b, 'c')|sort }}",
            "{{ a>!|upper>!|replace<(b!, 'c')>?|sort }}",
        );
        check("{{ a is f(b) and a[b] }}", "{{ a is f(b) and a[<b!] }}");
        check(
            "{% filter f(a) %}{% set x | f(a) %}",
            "{% filter f<(a!) %}{% set x>! | f<(a!) %}",
        );
    }

    #[test]
    fn targets_and_parameters_stay() {
        for source in [
            "{% for (a, b), c in d %}",
            "{% for a in b if c in 'x' recursive %}",
            "{% set (a, b), c = d %}",
            "{% set a = b %}",
            "{% with a = b, (c, d) = e %}",
            "{% macro m(a, b=1) %}",
            "{% call(a, b) m(c, d=e) %}",
        ] {
            let same = source.replace("c in 'x'", "<c! in 'x'");
            check(source, &same);
        }
        check("{% set a.b = c %}", "{% set a.b = <c= %}");
        check("{% set a.b = c, d %}", "{% set a.b = <c!, <d! %}");
        check("{{ f(a=(b, c)) }}", "{{ f(a=<(b, c)!) }}");
    }

    #[test]
    fn an_expression_has_a_greatest_length() {
        let long = format!("\n{{{{ 0{} }}}}", " + 0".repeat(MAX_WORDS));
        assert_eq!(bounded(&long, SyntaxConfig::default()), Err(2));
    }
}
