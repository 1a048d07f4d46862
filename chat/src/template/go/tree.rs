//! The syntax tree, open to whoever wants to know what a template does without running it.
//!
//! Comments are gone, white space is trimmed as the marks say, constants are values. `else if` is an `if` within the
//! else list, as in Go.
use std::{collections::BTreeMap, sync::Arc};

/// A parsed template and the templates that it defines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// The text itself.
    pub root: Vec<Node>,
    /// `define` and `block`, by name.
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Text as it is, never empty.
    Text(String),
    /// `{{ pipeline }}`: printed, unless it declares or assigns.
    Action(Pipe),
    /// `{{ if }}`.
    If(Branch),
    /// `{{ range }}`.
    Range(Branch),
    /// `{{ with }}`.
    With(Branch),
    /// `{{ template "name" pipeline }}`.
    Template {
        /// Which.
        name: String,
        /// Its dot.
        pipe: Option<Pipe>,
        /// Where.
        line: usize,
    },
    /// `{{ break }}`.
    Break,
    /// `{{ continue }}`.
    Continue,
}

/// What `if`, `range` and `with` have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The condition, or what to range over.
    pub pipe: Pipe,
    /// For a true condition, or for each item.
    pub list: Vec<Node>,
    /// `{{ else }}`.
    pub else_list: Option<Vec<Node>>,
}

/// Commands, each with the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipe {
    /// Where it begins.
    pub line: usize,
    /// Variables that take the value, with their `$`.
    pub variables: Vec<Arc<str>>,
    /// `=` rather than `:=`.
    pub assigns: bool,
    /// At least one.
    pub commands: Vec<Command>,
}

/// A function or value and its arguments; at least one operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The words.
    pub operands: Vec<Operand>,
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// `1`, `0x1f`, `'a'`
    Int(i64),
    /// `1.5`
    Float(f64),
    /// `"text"`, or text in back quotes
    Text(Arc<str>),
    /// `.A.B`
    Field(Vec<Arc<str>>),
    /// `$x.A.B`; the name has its `$`
    Variable(Arc<str>, Vec<Arc<str>>),
    /// `len`
    Function(Arc<str>),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B`
    Chain(Box<Operand>, Vec<Arc<str>>),
}

impl Pipe {
    /// Calls `see` for each operand, those in parentheses too.
    pub fn for_each_operand<'a>(&'a self, see: &mut impl FnMut(&'a Operand)) {
        for operand in self.commands.iter().flat_map(|c| &c.operands) {
            operand.for_each(see);
        }
    }

    /// Whether a field of this name is read anywhere in it.
    pub fn mentions(&self, field: &str) -> bool {
        let mut found = false;
        self.for_each_operand(&mut |operand| {
            found |= operand.fields().iter().any(|name| &**name == field);
        });
        found
    }
}

impl Operand {
    fn for_each<'a>(&'a self, see: &mut impl FnMut(&'a Operand)) {
        see(self);
        match self {
            Self::Pipe(pipe) => pipe.for_each_operand(see),
            Self::Chain(inner, _) => inner.for_each(see),
            _ => {}
        }
    }

    /// The fields that it reads itself.
    pub fn fields(&self) -> &[Arc<str>] {
        match self {
            Self::Field(fields) | Self::Variable(_, fields) | Self::Chain(_, fields) => fields,
            _ => &[],
        }
    }
}

impl Node {
    /// The pipeline in its braces.
    pub fn pipe(&self) -> Option<&Pipe> {
        match self {
            Self::Action(pipe) => Some(pipe),
            Self::If(branch) | Self::Range(branch) | Self::With(branch) => Some(&branch.pipe),
            Self::Template { pipe, .. } => pipe.as_ref(),
            Self::Text(_) | Self::Break | Self::Continue => None,
        }
    }

    /// The lists within it.
    pub fn lists(&self) -> impl Iterator<Item = &[Node]> {
        let branch = match self {
            Self::If(branch) | Self::Range(branch) | Self::With(branch) => Some(branch),
            _ => None,
        };
        branch.into_iter().flat_map(|branch| {
            std::iter::once(branch.list.as_slice()).chain(branch.else_list.as_deref())
        })
    }
}

impl Tree {
    /// Whether a field of this name is read anywhere.
    pub fn mentions(&self, field: &str) -> bool {
        fn any(nodes: &[Node], field: &str) -> bool {
            nodes.iter().any(|node| {
                node.pipe().is_some_and(|pipe| pipe.mentions(field))
                    || node.lists().any(|list| any(list, field))
            })
        }
        any(&self.root, field) || self.defined.values().any(|list| any(list, field))
    }
}
