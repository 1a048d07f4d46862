//! Words to the syntax tree. What Go refuses when it parses is refused here too: unknown functions and variables,
//! a constant behind a `|`, `break` outside of `range`.
use super::{
    constant,
    error::{GoTemplateError, Result},
    functions,
    lexer::{self, Kind, Token},
    tree::{Branch, Command, Node, Operand, Pipe, Tree},
};
use std::{mem, sync::Arc};

/// Deepest nesting of statements and parentheses.
const MAX_DEPTH: usize = 100;
/// Most variables in scope at one place; each use looks through them.
const MAX_VARIABLES: usize = 256;
const KEYWORDS: &[&str] = &[
    "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with",
];

/// Parses a template.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn parse(source: &str) -> Result<Tree> {
    let tokens = lexer::tokens(source)?;
    let last_line = 1 + source.bytes().filter(|b| *b == b'\n').count();
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        last_line,
        variables: vec!["$".into()],
        depth: 0,
        range_depth: 0,
        tree: Tree::default(),
    };
    let (root, end) = parser.list(true)?;
    if let Some(end) = end {
        return Err(GoTemplateError::new(
            end.line,
            format!("`{{{{ {} }}}}` closes nothing; remove it", end.word()),
        ));
    }
    parser.tree.root = root;
    Ok(parser.tree)
}

/// What ends a list.
struct Ending {
    /// `Some` for `{{ else … }}`, with the rest of its action still to be read.
    is_else: bool,
    line: usize,
}

impl Ending {
    fn word(&self) -> &'static str {
        if self.is_else { "else" } else { "end" }
    }
}

/// `if`, `range`, `with`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    Range,
    With,
}

impl Control {
    fn word(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::Range => "range",
            Self::With => "with",
        }
    }

    fn node(self, branch: Branch) -> Node {
        match self {
            Self::If => Node::If(branch),
            Self::Range => Node::Range(branch),
            Self::With => Node::With(branch),
        }
    }
}

struct Parser<'t, 's> {
    tokens: &'t [Token<'s>],
    at: usize,
    last_line: usize,
    /// In scope, with their `$`.
    variables: Vec<Arc<str>>,
    depth: usize,
    range_depth: usize,
    tree: Tree,
}

impl<'s> Parser<'_, 's> {
    fn peek(&self) -> Option<&Kind<'s>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    /// The next word that is no space, looked at only.
    fn peek_word(&mut self) -> Option<&Kind<'s>> {
        while self.peek() == Some(&Kind::Space) {
            self.at += 1;
        }
        self.peek()
    }

    fn line(&self) -> usize {
        let token = self.tokens.get(self.at);
        token.map_or(self.last_line, |token| token.line)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(GoTemplateError::new(self.line(), message))
    }

    fn unexpected<T>(&self, context: &str) -> Result<T> {
        match self.peek() {
            Some(kind) => self.fail(format!("unexpected {} in {context}", kind.describe())),
            None => self.fail(format!("the template ends within {context}")),
        }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!(
                "statements and parentheses are nested deeper than {MAX_DEPTH}"
            ));
        }
        Ok(())
    }

    fn right_brace(&mut self, context: &str) -> Result<()> {
        match self.peek_word() {
            Some(Kind::Right) => {
                self.at += 1;
                Ok(())
            }
            _ => self.unexpected(context),
        }
    }

    /// Nodes up to an `end` or `else`, or to the end of the template (`None`).
    fn list(&mut self, is_top: bool) -> Result<(Vec<Node>, Option<Ending>)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        let ending = loop {
            let line = self.line();
            match self.peek() {
                None => break None,
                Some(Kind::Text(text)) => {
                    nodes.push(Node::Text((*text).to_owned()));
                    self.at += 1;
                }
                _ => {
                    // the lexer puts nothing but text outside of braces
                    self.at += 1;
                    let word = match self.peek_word() {
                        Some(Kind::Word(word)) => *word,
                        _ => "",
                    };
                    match word {
                        "end" => {
                            self.at += 1;
                            self.right_brace("`end`")?;
                            break Some(Ending {
                                is_else: false,
                                line,
                            });
                        }
                        "else" => {
                            self.at += 1;
                            break Some(Ending {
                                is_else: true,
                                line,
                            });
                        }
                        "define" => {
                            if !is_top {
                                return self
                                    .fail("`define` must stand outside of other statements");
                            }
                            self.at += 1;
                            self.define(line)?;
                        }
                        _ => nodes.push(self.action(word, line)?),
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, ending))
    }

    /// An action whose opening braces are read.
    fn action(&mut self, word: &str, line: usize) -> Result<Node> {
        let control = match word {
            "if" => Control::If,
            "range" => Control::Range,
            "with" => Control::With,
            "break" | "continue" => {
                if self.range_depth == 0 {
                    return self.fail(format!("`{word}` stands outside of `range`"));
                }
                self.at += 1;
                self.right_brace(&format!("`{word}`"))?;
                return Ok(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                });
            }
            "template" | "block" => {
                self.at += 1;
                return self.template(word == "block", line);
            }
            _ => return Ok(Node::Action(self.pipeline("an action", Kind::Right)?)),
        };
        self.at += 1;
        self.control(control)
    }

    fn control(&mut self, control: Control) -> Result<Node> {
        self.deeper()?;
        let line = self.line();
        let n_variables = self.variables.len();
        let pipe = self.pipeline(&format!("`{}`", control.word()), Kind::Right)?;
        if pipe.variables.len() > 1 && control != Control::Range {
            return self.fail(format!("`{}` takes one variable", control.word()));
        }
        self.range_depth += usize::from(control == Control::Range);
        let (list, ending) = self.list(false)?;
        self.range_depth -= usize::from(control == Control::Range);
        let else_list = match ending {
            None => return self.unclosed(control.word(), line),
            Some(ending) if !ending.is_else => None,
            Some(_) => Some(self.else_list(control, line)?),
        };
        self.variables.truncate(n_variables);
        self.depth -= 1;
        Ok(control.node(Branch {
            pipe,
            list,
            else_list,
        }))
    }

    /// What follows `else`, whose word is read.
    fn else_list(&mut self, control: Control, line: usize) -> Result<Vec<Node>> {
        let next = match self.peek_word() {
            Some(Kind::Word(word)) => *word,
            _ => "",
        };
        // `else if` and `else with` share the `end` of what they belong to
        if control != Control::Range && next == control.word() {
            self.at += 1;
            return Ok(vec![self.control(control)?]);
        }
        self.right_brace("`else`")?;
        match self.list(false)? {
            (_, None) => self.unclosed(control.word(), line),
            (_, Some(ending)) if ending.is_else => {
                self.fail("expected `end`, found a second `else`")
            }
            (list, Some(_)) => Ok(list),
        }
    }

    fn unclosed<T>(&self, word: &str, line: usize) -> Result<T> {
        Err(GoTemplateError::new(
            line,
            format!("`{word}` is not closed; add `{{{{ end }}}}`"),
        ))
    }

    fn name(&mut self, context: &str) -> Result<String> {
        let name = match self.peek_word() {
            Some(Kind::Quoted(text)) => constant::unquote(text),
            Some(Kind::Raw(text)) => Some((*text).to_owned()),
            _ => return self.unexpected(context),
        };
        let Some(name) = name else {
            return self.unexpected(context);
        };
        self.at += 1;
        Ok(name)
    }

    fn define(&mut self, line: usize) -> Result<()> {
        let name = self.name("`define`")?;
        self.right_brace("`define`")?;
        self.body(name, "define", line)
    }

    /// The body of `define` or `block`, which sees no variables of its surroundings.
    fn body(&mut self, name: String, word: &str, line: usize) -> Result<()> {
        let variables = mem::replace(&mut self.variables, vec!["$".into()]);
        let range_depth = mem::take(&mut self.range_depth);
        let (list, ending) = self.list(false)?;
        if ending.is_none_or(|ending| ending.is_else) {
            return self.unclosed(word, line);
        }
        self.variables = variables;
        self.range_depth = range_depth;
        // an empty definition does not replace one with a content
        let is_empty = list
            .iter()
            .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        if !is_empty || !self.tree.defined.contains_key(&name) {
            self.tree.defined.insert(name, list);
        }
        Ok(())
    }

    fn template(&mut self, is_block: bool, line: usize) -> Result<Node> {
        let word = if is_block { "block" } else { "template" };
        let context = format!("`{word}`");
        let name = self.name(&context)?;
        let pipe = match self.peek_word() {
            Some(Kind::Right) if !is_block => {
                self.at += 1;
                None
            }
            _ => Some(self.pipeline(&context, Kind::Right)?),
        };
        if is_block {
            self.deeper()?;
            self.body(name.clone(), word, line)?;
            self.depth -= 1;
        }
        Ok(Node::Template { name, pipe, line })
    }

    /// Declarations and commands up to `end`, which is read too.
    fn pipeline(&mut self, context: &str, end: Kind<'_>) -> Result<Pipe> {
        self.deeper()?;
        self.peek_word();
        let line = self.line();
        let (variables, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            match self.peek_word() {
                Some(kind) if *kind == end => {
                    self.at += 1;
                    break;
                }
                Some(
                    Kind::Word(_)
                    | Kind::Field(_)
                    | Kind::Variable(_)
                    | Kind::Quoted(_)
                    | Kind::Raw(_)
                    | Kind::Char(_)
                    | Kind::Number(_)
                    | Kind::Dot
                    | Kind::Open,
                ) => {
                    let command = self.command(context)?;
                    if !commands.is_empty() && command.operands[0].is_constant() {
                        return self.fail(format!(
                            "a constant in {context} cannot take the value before it; put a function there"
                        ));
                    }
                    commands.push(command);
                }
                _ => return self.unexpected(context),
            }
        }
        if commands.is_empty() {
            return Err(GoTemplateError::new(
                line,
                format!("{context} has no value; write one into the braces"),
            ));
        }
        self.depth -= 1;
        Ok(Pipe {
            line,
            variables,
            assigns,
            commands,
        })
    }

    /// `$a :=`, `$a =`, and for `range` `$i, $a :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<Arc<str>>, bool)> {
        let start = self.at;
        let mut names: Vec<Arc<str>> = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek_word() {
            names.push((*name).into());
            self.at += 1;
            match self.peek_word() {
                Some(Kind::Comma) if context == "`range`" && names.len() < 2 => self.at += 1,
                Some(Kind::Comma) => {
                    return self.fail(format!("too many variables in {context}"));
                }
                Some(Kind::Declare) => {
                    self.at += 1;
                    if self.variables.len() + names.len() > MAX_VARIABLES {
                        return self
                            .fail(format!("more than {MAX_VARIABLES} variables are in scope"));
                    }
                    self.variables.extend(names.iter().cloned());
                    return Ok((names, false));
                }
                Some(Kind::Assign) => {
                    self.at += 1;
                    if let Some(unknown) = names.iter().find(|n| !self.variables.contains(n)) {
                        return self.fail(format!(
                            "undefined variable `{unknown}`; declare it with `:=`"
                        ));
                    }
                    return Ok((names, true));
                }
                _ if names.len() > 1 => return self.unexpected(context),
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    /// Operands up to a `|`, which is read, or the end of the pipeline, which is not.
    fn command(&mut self, context: &str) -> Result<Command> {
        let mut operands = Vec::new();
        loop {
            self.peek_word();
            if let Some(operand) = self.operand(context)? {
                operands.push(operand);
            }
            match self.peek() {
                Some(Kind::Space) => self.at += 1,
                Some(Kind::Right | Kind::Close) => break,
                Some(Kind::Pipe) => {
                    self.at += 1;
                    break;
                }
                _ => return self.unexpected(context),
            }
        }
        if operands.is_empty() {
            return self.fail(format!("{context} has an empty command"));
        }
        Ok(Command { operands })
    }

    fn operand(&mut self, context: &str) -> Result<Option<Operand>> {
        let Some(term) = self.term(context)? else {
            return Ok(None);
        };
        let mut fields: Vec<Arc<str>> = Vec::new();
        while let Some(Kind::Field(name)) = self.peek() {
            fields.push((*name).into());
            self.at += 1;
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        Ok(Some(match term {
            Operand::Field(mut first) => {
                first.extend(fields);
                Operand::Field(first)
            }
            Operand::Variable(name, _) => Operand::Variable(name, fields),
            constant if constant.is_constant() => {
                return self.fail(format!("unexpected `.` after a constant in {context}"));
            }
            other => Operand::Chain(Box::new(other), fields),
        }))
    }

    fn term(&mut self, context: &str) -> Result<Option<Operand>> {
        let Some(kind) = self.peek().cloned() else {
            return Ok(None);
        };
        let wrong = |what: &str| format!("{} is no {what}", kind.describe());
        let operand = match kind {
            Kind::Word("true") => Operand::Bool(true),
            Kind::Word("false") => Operand::Bool(false),
            Kind::Word("nil") => Operand::Nil,
            Kind::Word(word) if KEYWORDS.contains(&word) => return self.unexpected(context),
            Kind::Word(word) => {
                if !functions::exists(word) {
                    return self.fail(format!("there is no function `{word}`"));
                }
                Operand::Function(word.into())
            }
            Kind::Dot => Operand::Dot,
            Kind::Field(name) => Operand::Field(vec![name.into()]),
            Kind::Variable(name) => {
                if !self.variables.iter().any(|known| **known == *name) {
                    return self.fail(format!("undefined variable `{name}`; declare it with `:=`"));
                }
                Operand::Variable(name.into(), Vec::new())
            }
            Kind::Quoted(text) => match constant::unquote(text) {
                Some(text) => Operand::Text(text.into()),
                None => return self.fail(wrong("text: an escape in it is not known")),
            },
            Kind::Raw(text) => Operand::Text(text.replace('\r', "").into()),
            Kind::Char(text) => match constant::character(text) {
                Some(value) => Operand::Int(value),
                None => return self.fail(wrong("character")),
            },
            Kind::Number(text) => match constant::number(text) {
                Some(number) => number,
                None => return self.fail(wrong("number")),
            },
            Kind::Open => {
                self.at += 1;
                let pipe = self.pipeline("parentheses", Kind::Close)?;
                return Ok(Some(Operand::Pipe(Box::new(pipe))));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(operand))
    }
}

impl Operand {
    /// Whether it stands for itself: it takes no arguments and no field can be read from it.
    pub(super) fn is_constant(&self) -> bool {
        matches!(
            self,
            Self::Dot | Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_)
        )
    }
}
