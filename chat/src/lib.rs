//! Messages to prompt text, and generated text back to content and thinking. Text only: no I/O, no weights.
//!
//! [`ChatTemplate`] renders a conversation with the Jinja template that a model carries; [`ThinkingSplitter`] takes the
//! reasoning out of what the model then says. Templates come from strangers: time, memory and output are bounded.

mod message;
mod template;
pub mod thinking;

pub use message::{Message, PromptInput};
pub use template::{ChatTemplate, TemplateError, go};
pub use thinking::{Split, ThinkingSplitter, ThinkingTags};
