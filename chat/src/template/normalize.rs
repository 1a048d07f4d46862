//! What a template can do, found by rendering tiny conversations, and messages rewritten for what it cannot.
use super::{ChatTemplate, go::GoTemplate, probe_user};
use crate::{Message, PromptInput};
use serde_json::{Value, json};

const SYSTEM_TEXT: &str = "probe-system-text";
const TOOL_NAME: &str = "probe_tool_name";
const THINKING_TEXT: &str = "probe-thinking-text";
const ARGUMENT_TEXT: &str = "probe-argument";

/// Names under which templates read earlier thoughts.
const THINKING_KEYS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// Capabilities of one template.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    /// A system message shows up in the prompt.
    pub(super) system_role: bool,
    /// Definitions of tools show up in the prompt.
    pub(super) tools: bool,
    /// They show up only as JSON text in the system message.
    pub(super) tools_in_system: bool,
    /// Where it reads earlier thoughts, if not under the usual name.
    pub(super) thinking_key: Option<&'static str>,
    /// Arguments of earlier tool calls must be JSON text: an object fails.
    arguments_as_text: bool,
    /// A message with calls may have thoughts or text, not both.
    thoughts_or_text: bool,
}

impl Traits {
    pub(super) fn of_go(template: &GoTemplate) -> Self {
        Self {
            system_role: true,
            tools: template.supports_tools(),
            ..Self::default()
        }
    }

    /// Finds out what a template in Jinja can do, and notes it there.
    pub(super) fn probe(template: &mut ChatTemplate) {
        for key in THINKING_KEYS {
            template.traits.thinking_key = Some(key).filter(|key| *key != THINKING_KEYS[0]);
            if with_thoughts(template, "").is_some_and(|prompt| prompt.contains(THINKING_TEXT)) {
                template.traits.thoughts_or_text =
                    with_thoughts(template, "probe-content").is_none();
                break;
            }
            template.traits.thinking_key = None;
        }
        let found = Self::of_jinja(template);
        template.traits = found;
        if !found.tools {
            template.traits.tools_in_system = true;
            let found = Self::of_jinja(template);
            template.traits.tools = found.tools;
            template.traits.tools_in_system = found.tools;
        }
    }

    fn of_jinja(template: &ChatTemplate) -> Self {
        let system = Message::new("system", SYSTEM_TEXT);
        let definition = json!([{
            "type": "function",
            "function": {
                "name": TOOL_NAME,
                "description": "probe",
                "parameters": {
                    "type": "object",
                    "properties": {"probe": {"type": "string", "description": "probe"}},
                    "required": ["probe"]
                }
            }
        }]);
        let shows = |messages: &[Message], tools: Option<&Value>, text: &str| {
            template
                .render_as_is(&PromptInput {
                    messages,
                    tools,
                    add_generation_prompt: true,
                    ..PromptInput::default()
                })
                .is_ok_and(|prompt| prompt.contains(text))
        };
        let called_with = |arguments: Value| {
            let call = Message {
                tool_calls: Some(json!([{
                    "id": "call_probe1",
                    "type": "function",
                    "function": {"name": TOOL_NAME, "arguments": arguments}
                }])),
                ..Message::new("assistant", "")
            };
            shows(&[probe_user(), call], Some(&definition), ARGUMENT_TEXT)
        };
        Self {
            // a template that renders not even the simplest conversation says nothing about roles
            system_role: shows(&[system.clone(), probe_user()], None, SYSTEM_TEXT)
                || !shows(&[probe_user()], None, ""),
            tools: shows(&[probe_user()], Some(&definition), TOOL_NAME)
                || shows(&[system, probe_user()], Some(&definition), TOOL_NAME),
            arguments_as_text: !called_with(json!({"probe": ARGUMENT_TEXT}))
                && called_with(json!(format!("{{\"probe\": \"{ARGUMENT_TEXT}\"}}"))),
            ..template.traits
        }
    }

    /// The messages as this template understands them; `None` when they can stay as they are.
    pub(super) fn rewrite(self, messages: &[Message]) -> Option<Vec<Message>> {
        let has_system = messages.iter().any(|message| message.role == "system");
        let has_calls = messages.iter().any(|message| message.tool_calls.is_some());
        let move_system = has_system && !self.system_role;
        let write_arguments = has_calls && self.arguments_as_text;
        let drop_text = has_calls && self.thoughts_or_text;
        if !move_system && !write_arguments && !drop_text {
            return None;
        }
        let mut messages = messages.to_vec();
        if drop_text {
            let both = |m: &&mut Message| m.tool_calls.is_some() && m.thinking.is_some();
            messages
                .iter_mut()
                .filter(both)
                .for_each(|message| message.content.clear());
        }
        if write_arguments {
            messages.iter_mut().for_each(arguments_to_text);
        }
        if move_system {
            messages = system_into_user(messages);
        }
        Some(messages)
    }
}

/// A prompt with thoughts and this text before a call; `None` when the template refuses.
fn with_thoughts(template: &ChatTemplate, content: &str) -> Option<String> {
    let call = Message {
        thinking: Some(THINKING_TEXT.into()),
        tool_calls: Some(json!([{
            "id": "call_probe1",
            "type": "function",
            "function": {"name": TOOL_NAME, "arguments": {"probe": ARGUMENT_TEXT}}
        }])),
        ..Message::new("assistant", content)
    };
    let prompt = template.render_as_is(&PromptInput {
        messages: &[probe_user(), call],
        add_generation_prompt: true,
        ..PromptInput::default()
    });
    prompt.ok()
}

fn arguments_to_text(message: &mut Message) {
    let Some(Value::Array(calls)) = &mut message.tool_calls else {
        return;
    };
    for call in calls {
        if let Some(arguments) = call.pointer_mut("/function/arguments")
            && !arguments.is_string()
        {
            *arguments = Value::String(arguments.to_string());
        }
    }
}

/// Each system text goes in front of the next user message, or becomes one where none follows.
fn system_into_user(messages: Vec<Message>) -> Vec<Message> {
    let mut out = Vec::with_capacity(messages.len());
    let mut pending: Vec<String> = Vec::new();
    for mut message in messages {
        if message.role == "system" {
            pending.push(message.content);
            continue;
        }
        if message.role == "user" && !pending.is_empty() {
            pending.push(message.content);
            message.content = std::mem::take(&mut pending).join("\n\n");
        }
        out.push(message);
    }
    if !pending.is_empty() {
        out.push(Message::new("user", pending.join("\n\n")));
    }
    out
}
