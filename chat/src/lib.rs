//! Messages to prompt text, and generated text back to content and thinking. Text only: no I/O, no weights.

use serde_json::Value;

/// One message of a conversation, whatever dialect it came in. Field names are what templates read.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what the template knows.
    pub role: String,
    /// Text.
    pub content: String,
    /// Earlier reasoning; templates read it as `reasoning_content`.
    #[serde(rename = "reasoning_content", skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Earlier tool calls: a list of `{id?, type: "function", function: {name, arguments: object}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// For role `tool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For role `tool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct PromptInput<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Tool definitions: a JSON list, or `None`.
    pub tools: Option<&'a Value>,
    /// Ask for the assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// `enable_thinking`, where the template reads it; `None` leaves it undefined.
    pub enable_thinking: Option<bool>,
    /// Text of the BOS token, "" when there is none.
    pub bos_token: &'a str,
    /// Text of the EOS token.
    pub eos_token: &'a str,
}

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

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {}

impl ChatTemplate {
    /// Compiles a Jinja template as Hugging Face models carry it.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn jinja(_source: &str) -> Result<Self, TemplateError> {
        todo!()
    }
    /// For models without a template: the texts of the messages, one after another.
    pub fn plain() -> Self {
        todo!()
    }
    /// The prompt text.
    ///
    /// # Errors
    /// [`TemplateError::Render`].
    pub fn render(&self, _input: &PromptInput<'_>) -> Result<String, TemplateError> {
        todo!()
    }
    /// Whether the template does something with `tools`.
    pub fn supports_tools(&self) -> bool {
        todo!()
    }
    /// Whether the template knows reasoning blocks.
    pub fn supports_thinking(&self) -> bool {
        todo!()
    }
}
