//! Takes tool calls out of generated text as it streams.
//!
//! [`ToolSyntax::of_template`] says how a model writes its calls, from the markers in its template; [`ToolCallParser`]
//! finds them in the text. Chunks may split a marker anywhere: what may yet become one is held back. What only looks like
//! a call (not the expected form, or the name of a tool that was not offered) is passed on as text, unharmed. White space
//! between calls is dropped.
//!
//! Where the text ends within a call, it is one if its arguments are complete, and text if they are not. Closing marks
//! behind the arguments may be missing: models stop there, and many tokenizers do not show them.
//!
//! Not here: what a call does, and the identifiers that an API gives it.

mod bare_json;
mod call;
mod cohere;
mod families;
mod form;
#[cfg(test)]
mod form_tests;
mod gemma;
mod glm;
mod hermes;
mod list;
mod mistral;
mod parser;
mod python;
mod qwen_coder;
mod sections;
mod tagged;
#[cfg(test)]
mod tests;

pub use call::ToolCall;
pub use families::ToolSyntax;
pub use form::{CallForm, FormError, MayCall, UnmarkedCall};
pub use parser::{ToolCallParser, ToolSplit};

pub(crate) use call::Tools;
use call::{Body, Region};
use form::{Arguments, Shape, Values};
