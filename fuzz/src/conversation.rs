//! The conversations that templates are rendered with and the tools that calls may name.
use serde_json::{Value, json};
use slm_chat::{Message, PromptInput};
use std::sync::LazyLock;

/// Definitions of three tools.
pub static TOOLS: LazyLock<Value> = LazyLock::new(|| {
    json!([
        {"type": "function", "function": {"name": "get_weather", "description": "Looks <outside> & tells", "parameters": {
            "type": "object", "required": ["city"], "properties": {
                "city": {"type": "string", "description": "Where"},
                "days": {"type": "integer"},
                "zip": {"type": ["string", "null"], "enum": ["a", "b"]},
                "any": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]}}}}},
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {
            "a": {"type": "number"}, "b": {"type": "number"}, "why": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "now"}}
    ])
});

/// Every role, a thought, a call and its result.
static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let call = Message {
        thinking: Some("It rains, I think.".into()),
        tool_calls: Some(json!([{"id": "call_1", "type": "function", "function": {
            "name": "get_weather", "arguments": {"city": "Größe \"<&>\"", "days": 3, "list": [1.5, null, true]}}}])),
        ..Message::new("assistant", "Let me see.\n")
    };
    let result = Message {
        name: Some("get_weather".into()),
        tool_call_id: Some("call_1".into()),
        ..Message::new("tool", "{\"rain\": true}")
    };
    vec![
        Message::new("system", "Be brief."),
        Message::new("user", " Will it rain in 北京? "),
        call,
        result,
        Message::new("assistant", "<think>hm</think>Yes."),
        Message::new("user", "And tomorrow?"),
    ]
});

/// One exchange alone; the whole conversation with tools; a gap to be filled.
pub fn inputs() -> [PromptInput<'static>; 3] {
    let plain = PromptInput {
        messages: &MESSAGES[..2],
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        ..PromptInput::default()
    };
    let full = PromptInput {
        messages: &MESSAGES,
        tools: Some(&TOOLS),
        enable_thinking: Some(true),
        think_level: Some("high"),
        ..plain.clone()
    };
    let gap = PromptInput {
        suffix: Some("}\n"),
        ..plain.clone()
    };
    [plain, full, gap]
}
