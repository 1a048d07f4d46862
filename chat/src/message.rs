//! What a template is rendered with.
use crate::ThinkingTags;
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

impl Message {
    /// A message with nothing but text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            ..Self::default()
        }
    }
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
    /// `enable_thinking` or `thinking`, `.Think`, where the template reads it; `None` leaves it undefined.
    pub enable_thinking: Option<bool>,
    /// `low`, `medium`, `high`, …, for templates that know levels.
    pub think_level: Option<&'a str>,
    /// What stands around the model's thoughts, where the template does not say so itself.
    pub thinking_tags: Option<&'a ThinkingTags>,
    /// Text after the gap that the model is to fill; the last message is the text before it.
    pub suffix: Option<&'a str>,
    /// Text of the BOS token, "" when there is none.
    pub bos_token: &'a str,
    /// Text of the EOS token.
    pub eos_token: &'a str,
}
