//! Messages to prompt text, and generated text back to content, thinking and tool calls. Text only: no I/O, no weights.
//!
//! [`ChatTemplate`] renders a conversation with the template that a model carries, in Jinja or in Go's language;
//! [`AnswerParser`] takes apart what the model then says. Templates come from strangers: time, memory and output are
//! bounded.

mod answer;
mod harmony;
mod markers;
mod message;
mod template;
pub mod thinking;
pub mod tools;

pub use answer::{Answer, AnswerParser};
pub use message::{Message, PromptInput};
pub use template::{ChatTemplate, TemplateError, go, is_begun};
pub use thinking::{Split, ThinkingSplitter, ThinkingTags};
pub use tools::{CallForm, FormError, MayCall, ToolCall, ToolCallParser, ToolSyntax, UnmarkedCall};
