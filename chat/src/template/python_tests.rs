//! Rendered text equals that of Python's jinja2 in the set-up of transformers, for the templates of real families.
//!
//! The expected texts were made by `tests/data/templates/jinja/render.py`, which says how.
use super::*;
use serde_json::Value as Json;
use std::path::PathBuf;

fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/templates/jinja")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn render(source: &str, conversation: &Json, tools: &Json) -> Result<String, TemplateError> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let messages = conversation["messages"].as_array().unwrap().iter();
    let messages: Vec<Message> = messages
        .map(|message| Message {
            role: text(&message["role"]).unwrap(),
            content: text(&message["content"]).unwrap(),
            thinking: text(&message["reasoning_content"]),
            tool_calls: message.get("tool_calls").cloned(),
            name: text(&message["name"]),
            tool_call_id: text(&message["tool_call_id"]),
        })
        .collect();
    // nothing is rewritten for the template's sake but where it looks: Python does not do that either
    ChatTemplate::jinja(source)?.render_as_is(&PromptInput {
        messages: &messages,
        tools: conversation.get("tools").map(|_| tools),
        add_generation_prompt: conversation["add_generation_prompt"]
            .as_bool()
            .unwrap_or(true),
        enable_thinking: conversation["enable_thinking"].as_bool(),
        think_level: conversation["reasoning_effort"].as_str(),
        bos_token: "<s>",
        eos_token: "</s>",
        ..PromptInput::default()
    })
}

/// `<<format>>` becomes that date.
fn with_dates(text: &str, now: &jiff::Zoned) -> String {
    let mut parts = text.split("<<");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(">>") {
            Some((format, rest)) if format.starts_with('%') => {
                out += &now.strftime(format).to_string();
                out += rest;
            }
            _ => {
                out += "<<";
                out += part;
            }
        }
    }
    out
}

#[test]
fn everything_renders_as_python_renders_it() {
    let conversations: Json = serde_json::from_str(&data("conversations.json")).unwrap();
    let expected: Json = serde_json::from_str(&data("expected.json")).unwrap();
    let (mut wrong, mut n_equal) = (Vec::new(), 0);
    for (key, expected_text) in expected.as_object().unwrap() {
        let Some((file, conversation)) = key.split_once('/') else {
            continue;
        };
        let source = data(&format!("{file}.jinja"));
        let before = jiff::Zoned::now();
        let found = render(&source, &conversations[conversation], &expected["tools"]);
        // midnight may fall between
        let is_right = match (&found, expected_text.as_str()) {
            (Ok(found), Some(text)) => [before, jiff::Zoned::now()]
                .iter()
                .any(|now| *found == with_dates(text, now)),
            (Err(_), None) => true,
            _ => false,
        };
        n_equal += usize::from(is_right && found.is_ok());
        if !is_right {
            wrong.push(format!(
                "{key}\n  expected {expected_text:?}\n  found    {found:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(n_equal >= 190, "only {n_equal} are compared");
}
