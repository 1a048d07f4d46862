//! Takes tool calls out of generated text as it streams.
//!
//! [`ToolSyntax::of_template`] says how a model writes its calls, from the markers in its template; [`ToolCallParser`]
//! finds them in the text. Chunks may split a marker anywhere: what may yet become one is held back. What only looks like
//! a call (not the expected form, or the name of a tool that was not offered) is passed on as text, unharmed, and so
//! is a call that the end of the text cuts off. White space between calls is dropped.
//!
//! Not here: what a call does, and the identifiers that an API gives it.

mod bare_json;
mod call;
mod cohere;
mod deepseek;
mod families;
mod gemma;
mod glm;
mod hermes;
mod list;
mod mistral;
mod parser;
mod python;
mod qwen_coder;
#[cfg(test)]
mod tests;

pub use call::ToolCall;
pub use families::ToolSyntax;
pub use parser::{ToolCallParser, ToolSplit};

use call::{Body, Region, Tools};
