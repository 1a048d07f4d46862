//! Go's template language, as Ollama's models and Modelfiles use it.
//!
//! [`GoTemplate`] parses a template to an open [`Tree`](tree::Tree) and renders conversations with it. The tree matters:
//! from it follows whether a template reads messages or one exchange at a time, where the answer begins (everything
//! behind `.Response` is left out), which tags stand around thoughts, and what announces a tool call.
//!
//! The language is Go's `text/template` without methods and functions as values: text, trim marks, comments,
//! pipelines, variables, `if`, `range`, `with`, `else`, `break`, `continue`, `define`, `template`, `block`, and all
//! functions of Go and of Ollama. What a template does is compared with Go itself in the tests. Differences that are
//! meant: a tool, its function and its parameters print as JSON wherever they stand; whole numbers keep all their digits
//! in JSON; a text is never cut within a character; JSON bodies keep members that Ollama does not know.
//!
//! Templates come from strangers: source, nesting, work, and output are bounded.

mod constant;
mod data;
mod error;
mod eval;
mod format;
mod functions;
mod infer;
mod json;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
pub mod tree;
mod value;

pub use error::GoTemplateError;

use crate::{Message, PromptInput};
use eval::Fuel;
use tree::{Node, Tree};
use value::{Object, Value};

/// Longest prompt text that a template may make.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// A parsed template. Immutable.
#[derive(Clone, Debug)]
pub struct GoTemplate {
    tree: Tree,
    /// The root up to and with the first `.Response`, for the exchange that is still open.
    open_root: Vec<Node>,
    reads_messages: bool,
}

impl GoTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(source: &str) -> Result<Self, GoTemplateError> {
        let mut tree = parser::parse(source)?;
        let reads_messages = tree.mentions("Messages");
        if !reads_messages && !tree.mentions("Response") {
            tree.root.extend(parser::parse("{{ .Response }}")?.root);
        }
        let mut open_root = tree.root.clone();
        cut_after_response(&mut open_root);
        Ok(Self {
            tree,
            open_root,
            reads_messages,
        })
    }

    /// The syntax tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether it renders tool definitions.
    pub fn supports_tools(&self) -> bool {
        self.tree.mentions("Tools")
    }

    /// Whether it renders text to be inserted between a prompt and a suffix.
    pub fn supports_insert(&self) -> bool {
        self.tree.mentions("Suffix")
    }

    /// Opening and closing tag around thoughts, if it renders thoughts.
    pub fn thinking_tags(&self) -> Option<(String, String)> {
        infer::thinking_tags(&self.tree)
    }

    /// What announces a tool call, if anything does.
    pub fn tool_tag(&self) -> Option<String> {
        infer::tool_tag(&self.tree)
    }

    /// The prompt text of a conversation.
    ///
    /// # Errors
    /// What Go would complain about, and an exhausted budget.
    pub fn render(&self, input: &PromptInput<'_>) -> Result<String, GoTemplateError> {
        let mut out = String::new();
        let mut fuel = Fuel::full();
        if let Some(suffix) = input.suffix {
            let prompt = input.messages.last().map_or("", |m| m.content.as_str());
            let fields = [("Prompt", prompt), ("Suffix", suffix), ("Response", "")];
            let data = root(input, fields.map(|(name, text)| (name, Value::text(text))));
            eval::render(&self.tree, &self.tree.root, &data, &mut fuel, &mut out)?;
            return Ok(out);
        }
        let system = data::system(input.messages);
        let messages = data::collated(input.messages);
        if self.reads_messages {
            let data = root(
                input,
                [
                    ("System", Value::text(&system)),
                    ("Messages", data::messages(&messages)),
                    ("Tools", data::tools(input.tools)),
                    ("Response", Value::text("")),
                ],
            );
            eval::render(&self.tree, &self.tree.root, &data, &mut fuel, &mut out)?;
        } else {
            self.exchanges(input, &messages, &mut fuel, &mut out)?;
        }
        Ok(out)
    }

    /// For templates that know one exchange only: they run once for each, and the last one stays open.
    fn exchanges(
        &self,
        input: &PromptInput<'_>,
        messages: &[Message],
        fuel: &mut Fuel,
        out: &mut String,
    ) -> Result<(), GoTemplateError> {
        let mut exchange = Exchange::default();
        for message in messages {
            let text = message.content.as_str();
            let is_complete = match message.role.as_str() {
                "system" => !exchange.prompt.is_empty() || !exchange.response.is_empty(),
                "user" => !exchange.response.is_empty(),
                _ => false,
            };
            if is_complete {
                let data = std::mem::take(&mut exchange).data(input);
                eval::render(&self.tree, &self.tree.root, &data, fuel, out)?;
            }
            match message.role.as_str() {
                "system" => exchange.system = text,
                "user" => exchange.prompt = text,
                "assistant" => exchange.response = text,
                _ => {}
            }
        }
        eval::render(
            &self.tree,
            &self.open_root,
            &exchange.data(input),
            fuel,
            out,
        )
    }
}

#[derive(Default)]
struct Exchange<'a> {
    system: &'a str,
    prompt: &'a str,
    response: &'a str,
}

impl Exchange<'_> {
    fn data(self, input: &PromptInput<'_>) -> Value {
        root(
            input,
            [
                ("System", Value::text(self.system)),
                ("Prompt", Value::text(self.prompt)),
                ("Response", Value::text(self.response)),
            ],
        )
    }
}

/// The dot of a template: `fields` and what is always there.
fn root<const N: usize>(input: &PromptInput<'_>, fields: [(&str, Value); N]) -> Value {
    // as in the reference, thinking without a level is of the middle one
    let default_level = match input.enable_thinking {
        Some(true) => "medium",
        _ => "",
    };
    let level = input.think_level.unwrap_or(default_level);
    let mut all: Vec<_> = fields.map(|(name, value)| (name.into(), value)).into();
    all.extend([
        (
            "Think".into(),
            Value::Bool(input.enable_thinking.unwrap_or(false)),
        ),
        ("ThinkLevel".into(), Value::text(level)),
        (
            "IsThinkSet".into(),
            Value::Bool(input.enable_thinking.is_some()),
        ),
    ]);
    Object::map(all).into_value()
}

/// Removes everything behind the first action that reads `.Response`; whether there is one.
fn cut_after_response(list: &mut Vec<Node>) -> bool {
    for at in 0..list.len() {
        let is_cut = match &mut list[at] {
            Node::Action(pipe) => pipe.mentions("Response"),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                cut_after_response(&mut branch.list)
                    || branch.else_list.as_mut().is_some_and(cut_after_response)
            }
            _ => false,
        };
        if is_cut {
            list.truncate(at + 1);
            return true;
        }
    }
    false
}
