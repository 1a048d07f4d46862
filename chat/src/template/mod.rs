//! Chat templates: Jinja as Hugging Face models carry it, or Go's language as Ollama's models do, rendered to prompt text.
//!
//! [`ChatTemplate::jinja`] compiles a template once and probes it with tiny conversations, to know what it can do
//! ([`ChatTemplate::supports_tools`], [`ChatTemplate::thinking_tags`]) and what must be rewritten for it: a system
//! message for a template without that role, tool arguments for one that wants them as text, thoughts under the name that it
//! reads. [`ChatTemplate::go`] reads the same from the template's tree. [`ChatTemplate::parse`] tells the languages apart.
//!
//! Bounds per rendering in Jinja: [`FUEL`] of work and memory, [`MAX_OUTPUT_BYTES`] of text. The engine charges for
//! instructions and for what they make, not for all that they look at; [`bounds`] walks through the values that are
//! compared, hashed, sorted or written out, refuses long ones and charges for the others, and [`rewrite`] puts it where the
//! template does so. [`go`] has bounds of the same kind.

mod begun;
mod bounds;
mod environment;
pub mod go;
mod json;
mod normalize;
#[cfg(test)]
mod python_tests;
mod rewrite;
#[cfg(test)]
mod tests;

pub use begun::is_begun;

use crate::{Message, PromptInput, ThinkingTags, ToolSyntax};
use go::GoTemplate;
use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, value::Serde};
use std::io;

/// Work that one rendering may do: about one per instruction, and one per 64 bytes of text that it makes.
const FUEL: u64 = 4_000_000;
/// Work that one rendering of a probe may do: its conversation is tiny, and loading a model waits for several of them.
const PROBE_FUEL: u64 = FUEL / 16;
/// Longest prompt text that a template may make.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Longest template source.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// The name under which the one template of an environment is known.
const NAME: &str = "chat";
/// The texts of the messages with a blank line between them.
const PLAIN: &str = "{% for message in messages %}{{ message.content }}{{ '' if loop.last else '\n\n' }}{% endfor %}";

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It does not parse.
    #[error("the chat template does not parse: {0}")]
    Syntax(String),
    /// The template itself refuses these messages (`raise_exception`), or rendering fails.
    #[error("the chat template cannot render these messages: {0}")]
    Render(String),
}

/// A compiled chat template. Immutable; share it behind an `Arc`.
#[derive(Debug)]
pub struct ChatTemplate {
    language: Language,
    traits: normalize::Traits,
    thinking_tags: Option<ThinkingTags>,
    tool_syntax: ToolSyntax,
}

#[derive(Debug)]
enum Language {
    Jinja(Box<Environment<'static>>),
    Go(Box<GoTemplate>),
}

impl ChatTemplate {
    /// Compiles a template in the language that it is written in.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if is_go(source) {
            Self::go(source)
        } else {
            Self::jinja(source)
        }
    }

    /// Compiles a Jinja template as Hugging Face models carry it.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn jinja(source: &str) -> Result<Self, TemplateError> {
        let mut template = Self::compile(source)?;
        template.thinking_tags = ThinkingTags::of_template(source);
        template.set_fuel(PROBE_FUEL);
        normalize::Traits::probe(&mut template);
        template.set_fuel(FUEL);
        Ok(template)
    }

    /// Parses a Go template as Ollama's models carry it.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn go(source: &str) -> Result<Self, TemplateError> {
        check_length(source)?;
        let template =
            GoTemplate::parse(source).map_err(|error| TemplateError::Syntax(described(&error)))?;
        Ok(Self {
            traits: normalize::Traits::of_go(&template),
            thinking_tags: ThinkingTags::inferred(template.thinking_tags(), source),
            tool_syntax: ToolSyntax::of_template(source),
            language: Language::Go(Box::new(template)),
        })
    }

    /// For models without a template: the texts of the messages, one after another.
    pub fn plain() -> Self {
        let mut template = Self::compile(PLAIN).expect("a constant that the tests render");
        template.traits.system_role = true;
        template
    }

    /// The prompt text.
    ///
    /// # Errors
    /// [`TemplateError::Render`].
    pub fn render(&self, input: &PromptInput<'_>) -> Result<String, TemplateError> {
        if let Language::Go(template) = &self.language {
            // templates in Jinja take thoughts out of earlier answers themselves
            let reads_thoughts = self.thinking_tags.is_some();
            let tags = self.thinking_tags.as_ref().or(input.thinking_tags);
            let apart = tags.and_then(|tags| tags.apart(input.messages, reads_thoughts));
            let input = PromptInput {
                messages: apart.as_deref().unwrap_or(input.messages),
                think_level: self.think_level(input),
                ..input.clone()
            };
            return template
                .render(&input)
                .map_err(|error| TemplateError::Render(described(&error)));
        }
        match self.traits.rewrite(input.messages) {
            Some(messages) => self.render_as_is(&PromptInput {
                messages: &messages,
                ..input.clone()
            }),
            None => self.render_as_is(input),
        }
    }

    /// Whether the template does something with `tools`.
    pub fn supports_tools(&self) -> bool {
        self.traits.tools
    }

    /// Whether the template knows reasoning blocks.
    pub fn supports_thinking(&self) -> bool {
        self.thinking_tags.is_some()
    }

    /// Whether the template shows earlier calls of tools, so that a conversation can go on after one.
    pub fn supports_tool_calls(&self) -> bool {
        match &self.language {
            Language::Jinja(_) => self.traits.tools,
            Language::Go(template) => template.tree().mentions("ToolCalls"),
        }
    }

    /// Whether the template can ask for text between a prompt and a suffix.
    pub fn supports_insert(&self) -> bool {
        matches!(&self.language, Language::Go(template) if template.supports_insert())
    }

    /// What stands around reasoning in the text of a model with this template.
    pub fn thinking_tags(&self) -> Option<&ThinkingTags> {
        self.thinking_tags.as_ref()
    }

    /// How a model with this template writes calls of tools.
    pub fn tool_syntax(&self) -> ToolSyntax {
        self.tool_syntax
    }

    fn compile(source: &str) -> Result<Self, TemplateError> {
        check_length(source)?;
        let mut environment = environment::new(FUEL);
        let prepared = environment::without_generation_tags(source);
        let prepared =
            rewrite::bounded(&prepared, environment.syntax().clone()).map_err(|line| {
                TemplateError::Syntax(format!(
                    "an expression or a chain of `elif` is too long; cut it in pieces (line {line} of the template)"
                ))
            })?;
        environment
            .add_template_owned(NAME, prepared)
            .map_err(|error| TemplateError::Syntax(describe(&error)))?;
        Ok(Self {
            language: Language::Jinja(Box::new(environment)),
            traits: normalize::Traits::default(),
            thinking_tags: None,
            tool_syntax: ToolSyntax::of_template(source),
        })
    }

    fn set_fuel(&mut self, fuel: u64) {
        if let Language::Jinja(environment) = &mut self.language {
            environment.set_fuel(Some(fuel));
        }
    }

    fn render_as_is(&self, input: &PromptInput<'_>) -> Result<String, TemplateError> {
        let Language::Jinja(environment) = &self.language else {
            return self.render(input);
        };
        let mut output = BoundedOutput(Vec::new());
        environment
            .get_template(NAME)
            .and_then(|template| {
                let context = self.context(environment, input)?;
                template.render_captured_to(context, &mut output)?;
                Ok(())
            })
            .map_err(|error| TemplateError::Render(describe(&error)))?;
        String::from_utf8(output.0).map_err(|_| TemplateError::Render("not UTF-8".into()))
    }

    /// The level that this family understands: gpt-oss knows nothing above `high`.
    fn think_level<'a>(&self, input: &PromptInput<'a>) -> Option<&'a str> {
        let is_harmony = self
            .thinking_tags
            .as_ref()
            .is_some_and(ThinkingTags::is_harmony);
        input.think_level.map(|level| {
            if is_harmony && level == "max" {
                "high"
            } else {
                level
            }
        })
    }

    /// The variables of a rendering. What is absent stays undefined: templates ask `is defined`.
    fn context(
        &self,
        environment: &Environment<'_>,
        input: &PromptInput<'_>,
    ) -> Result<Value, JinjaError> {
        let mut variables = std::collections::BTreeMap::from([
            ("messages", self.messages(environment, input)?),
            (
                "add_generation_prompt",
                Value::from(input.add_generation_prompt),
            ),
            ("bos_token", Value::from(input.bos_token)),
            ("eos_token", Value::from(input.eos_token)),
            // as the reference does: always there, `None` when there are none
            (
                "tools",
                input
                    .tools
                    .map_or(Value::from(()), |tools| Value::from(Serde(tools))),
            ),
        ]);
        if let Some(enable_thinking) = input.enable_thinking {
            variables.insert("enable_thinking", Value::from(enable_thinking));
            // its name in Granite 3 and DeepSeek V3.1
            variables.insert("thinking", Value::from(enable_thinking));
            if !enable_thinking {
                // Seed-OSS counts tokens
                variables.insert("thinking_budget", Value::from(0));
            }
        }
        if let Some(level) = self.think_level(input) {
            variables.insert("reasoning_effort", Value::from(level));
        }
        Ok(Value::from(variables))
    }

    /// The messages under the names that this template reads.
    fn messages(
        &self,
        environment: &Environment<'_>,
        input: &PromptInput<'_>,
    ) -> Result<Value, JinjaError> {
        let tools = input.tools.filter(|_| self.traits.tools_in_system);
        if self.traits.thinking_key.is_none() && tools.is_none() {
            return Ok(Value::from(Serde(input.messages)));
        }
        let invalid = |error: serde_json::Error| {
            JinjaError::new(ErrorKind::BadSerialization, error.to_string())
        };
        let messages = input.messages.iter().map(serde_json::to_value);
        let mut messages: Vec<_> = messages.collect::<Result<_, _>>().map_err(invalid)?;
        if let Some(key) = self.traits.thinking_key {
            for fields in messages.iter_mut().filter_map(|m| m.as_object_mut()) {
                if let Some(thinking) = fields.remove("reasoning_content") {
                    fields.insert(key.to_owned(), thinking);
                }
            }
        }
        if let Some(tools) = tools {
            let functions = tools.as_array().into_iter().flatten();
            let functions = functions.map(|tool| tool.get("function").unwrap_or(tool));
            let functions: Vec<_> = functions.collect();
            let text = environment.render_str(
                "{{ functions | tojson }}",
                std::collections::BTreeMap::from([("functions", Value::from(Serde(functions)))]),
            )?;
            if messages.first().is_none_or(|m| m["role"] != "system") {
                messages.insert(0, serde_json::json!({"role": "system", "content": ""}));
            }
            messages[0]["tools"] = text.into();
        }
        Ok(Value::from(Serde(messages)))
    }
}

fn check_length(source: &str) -> Result<(), TemplateError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(TemplateError::Syntax(format!(
            "it is {} bytes long, more than {MAX_SOURCE_BYTES}",
            source.len()
        )));
    }
    Ok(())
}

/// Whether a template is written in Go's language rather than in Jinja: it names fields with a leading dot, or uses
/// statements inside of `{{ }}`.
fn is_go(source: &str) -> bool {
    const STATEMENTS: &[&str] = &[
        "if", "else", "end", "range", "with", "define", "template", "block", "break", "continue",
    ];
    source.split("{{").skip(1).any(|action| {
        let action = action.split("}}").next().unwrap_or_default();
        let action = action.trim_start_matches('-').trim_start();
        let word = action
            .split(|c: char| c.is_whitespace() || c == '-')
            .next()
            .unwrap_or_default();
        action.starts_with(['.', '$'])
            || action.starts_with("/*")
            || STATEMENTS.contains(&word)
            || action.contains(" .")
            || action.contains(" $")
    }) && !source.contains("{%")
}

/// Text that a template may have chosen, fit for an error: one line of at most 500 characters that can be printed.
fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 500;
    let mut chars = text.chars();
    let printable = chars
        .by_ref()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = printable.collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

fn described(error: &go::GoTemplateError) -> String {
    let message = one_line(&error.message);
    go::GoTemplateError {
        message,
        ..error.clone()
    }
    .to_string()
}

/// The innermost words of an error, with the line of the template.
fn describe(error: &JinjaError) -> String {
    let mut text = match error.kind() {
        ErrorKind::OutOfFuel => "it did not end within its budget of work".to_owned(),
        ErrorKind::WriteFailure => format!("its text is longer than {MAX_OUTPUT_BYTES} bytes"),
        _ => error
            .detail()
            .map_or_else(|| error.kind().to_string(), one_line),
    };
    if let Some(line) = error.line() {
        text.push_str(&format!(" (line {line} of the template)"));
    }
    text
}

/// Takes at most [`MAX_OUTPUT_BYTES`].
struct BoundedOutput(Vec<u8>);

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One user message, for probes.
fn probe_user() -> Message {
    Message::new("user", "probe-user")
}
