//! Messages of blocks, and tools, to Ollama's, which the rest of the daemon reads. Blocks of kinds that are unknown here,
//! and tools that Anthropic's servers run themselves, are left out of account and named in the answer.

use crate::{error::ApiError, routes::wishes::Ignored};
use serde_json::{Value, json};
use slm_api::{anthropic::InputMessage, ollama::Message};

/// The conversation. What tools answered stands in messages of its own, before the rest of the message that has it.
///
/// # Errors
/// A message that cannot be read.
pub(super) fn conversation(
    system: Option<Value>,
    messages: Vec<InputMessage>,
    model: &str,
    ignored: &mut Ignored,
) -> Result<Vec<Message>, ApiError> {
    let mut all = Vec::with_capacity(messages.len() + 1);
    if let Some(system) = system {
        let text = text(&system, "system", model, ignored)?;
        if !text.is_empty() {
            all.push(said("system", text));
        }
    }
    for (index, message) in messages.into_iter().enumerate() {
        let place = format!("messages.{index}");
        add(message, &place, model, ignored, &mut all)?;
    }
    Ok(all)
}

fn said(role: &str, content: String) -> Message {
    Message {
        role: role.to_owned(),
        content,
        ..Message::default()
    }
}

fn add(
    message: InputMessage,
    place: &str,
    model: &str,
    ignored: &mut Ignored,
    all: &mut Vec<Message>,
) -> Result<(), ApiError> {
    let role = message.role.as_str();
    if !matches!(role, "user" | "assistant" | "system") {
        return Err(ApiError::bad_request(format!(
            "{place}.role: {role:?} is none of \"user\", \"assistant\" and \"system\""
        )));
    }
    let blocks = match message.content {
        Value::String(text) => {
            all.push(said(role, text));
            return Ok(());
        }
        Value::Array(blocks) => blocks,
        _ => {
            return Err(ApiError::bad_request(format!(
                "{place}.content: expected a text or a list of blocks"
            )));
        }
    };
    let (mut texts, mut thoughts) = (Vec::new(), Vec::new());
    let mut calls = Vec::new();
    let mut has_results = false;
    for (index, block) in blocks.iter().enumerate() {
        let place = format!("{place}.content.{index}");
        match block["type"].as_str().unwrap_or_default() {
            "tool_use" => calls.push(call(block, &place)?),
            "tool_result" => {
                all.push(result(block, &place, model, ignored, all)?);
                has_results = true;
            }
            "thinking" => thoughts.push(field(block, "thinking", &place)?),
            // readable by their makers only
            "redacted_thinking" | "server_tool_use" | "web_search_tool_result" => {}
            _ => texts.extend(block_text(block, &place, model, ignored)?),
        }
    }
    if has_results && texts.is_empty() && calls.is_empty() {
        return Ok(());
    }
    all.push(Message {
        thinking: (!thoughts.is_empty()).then(|| thoughts.join("\n")),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..said(role, texts.join("\n"))
    });
    Ok(())
}

fn call(block: &Value, place: &str) -> Result<Value, ApiError> {
    let id = field(block, "id", place)?;
    let name = field(block, "name", place)?;
    let input = match &block["input"] {
        Value::Null => json!({}),
        Value::Object(input) => json!(input),
        _ => {
            return Err(ApiError::bad_request(format!(
                "{place}.input: expected an object"
            )));
        }
    };
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": input}}))
}

/// What a tool answered, with the name that its call has.
fn result(
    block: &Value,
    place: &str,
    model: &str,
    ignored: &mut Ignored,
    earlier: &[Message],
) -> Result<Message, ApiError> {
    let id = field(block, "tool_use_id", place)?;
    let calls = earlier.iter().rev().filter_map(|m| m.tool_calls.as_ref());
    let call = calls.flatten().find(|call| call["id"] == id.as_str());
    let name = call.and_then(|call| call["function"]["name"].as_str());
    let content = match &block["content"] {
        Value::Null => String::new(),
        content => text(content, &format!("{place}.content"), model, ignored)?,
    };
    Ok(Message {
        tool_name: name.map(str::to_owned),
        tool_call_id: Some(id),
        ..said("tool", content)
    })
}

/// A text, or the texts of blocks, in lines.
fn text(
    content: &Value,
    place: &str,
    model: &str,
    ignored: &mut Ignored,
) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            let mut texts = Vec::with_capacity(blocks.len());
            for (index, block) in blocks.iter().enumerate() {
                let place = format!("{place}.{index}");
                texts.extend(block_text(block, &place, model, ignored)?);
            }
            Ok(texts.join("\n"))
        }
        _ => Err(ApiError::bad_request(format!(
            "{place}: expected a text or a list of blocks"
        ))),
    }
}

/// What a block says; nothing if it is of an unknown kind.
fn block_text(
    block: &Value,
    place: &str,
    model: &str,
    ignored: &mut Ignored,
) -> Result<Option<String>, ApiError> {
    match block["type"].as_str().unwrap_or_default() {
        "text" => field(block, "text", place).map(Some),
        "image" => Err(ApiError::bad_request(format!(
            "{place}: \"{model}\" does not support images"
        ))),
        "document" => Err(ApiError::bad_request(format!(
            "{place}: \"{model}\" does not support documents"
        ))),
        "" => Err(ApiError::bad_request(format!(
            "{place}.type: a text is required"
        ))),
        other => {
            ignored.add(&format!("block {other}"));
            Ok(None)
        }
    }
}

fn field(block: &Value, name: &str, place: &str) -> Result<String, ApiError> {
    let text = block[name].as_str().map(str::to_owned);
    text.ok_or_else(|| ApiError::bad_request(format!("{place}.{name}: a text is required")))
}

/// The tools that the model may call.
///
/// # Errors
/// One without a name.
pub(super) fn tools(
    tools: Option<Vec<Value>>,
    ignored: &mut Ignored,
) -> Result<Vec<Value>, ApiError> {
    let all = tools.unwrap_or_default().into_iter().enumerate();
    let own = all.filter(|(_, tool)| match tool["type"].as_str() {
        None | Some("custom") => true,
        // of a kind that Anthropic's models have learnt
        Some(kind) => {
            ignored.add(&format!("tool {kind}"));
            false
        }
    });
    let tools = own.map(|(index, tool)| {
        let place = format!("tools.{index}");
        let mut function = json!({"name": field(&tool, "name", &place)?});
        if let Value::String(text) = &tool["description"] {
            function["description"] = json!(text);
        }
        function["parameters"] = match &tool["input_schema"] {
            Value::Null => json!({"type": "object", "properties": {}}),
            schema => schema.clone(),
        };
        if tool["strict"] == true {
            function["strict"] = json!(true);
        }
        Ok(json!({"type": "function", "function": function}))
    });
    tools.collect()
}

/// Which of the tools to call, in OpenAI's words, and whether several calls may come at once.
///
/// # Errors
/// An unknown choice.
pub(super) fn tool_choice(choice: &Value) -> Result<(Value, Option<bool>), ApiError> {
    let parallel = (choice["disable_parallel_tool_use"] == true).then_some(false);
    let choice = match choice["type"].as_str().unwrap_or_default() {
        same @ ("auto" | "none") => json!(same),
        "any" => json!("required"),
        "tool" => {
            json!({"type": "function", "function": {"name": field(choice, "name", "tool_choice")?}})
        }
        other => {
            return Err(ApiError::bad_request(format!(
                "tool_choice.type: {other:?} is none of \"auto\", \"any\", \"tool\" and \"none\""
            )));
        }
    };
    Ok((choice, parallel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(messages: Value) -> Result<Vec<Message>, ApiError> {
        let messages = serde_json::from_value(messages).unwrap();
        conversation(None, messages, "m", &mut Ignored::default())
    }

    #[test]
    fn results_come_before_the_text_and_have_their_tools_names() {
        let all = parse(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "b"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"b": 1, "a": 2}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "c"},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]}]},
            {"role": "system", "content": "d"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]},
        ]))
        .unwrap();
        let pairs: Vec<_> = all
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("user", "a"),
                ("assistant", "b"),
                ("tool", "42"),
                ("user", "c"),
                ("system", "d"),
                ("tool", "")
            ]
        );
        assert_eq!(all[1].thinking.as_deref(), Some("hm"));
        assert_eq!(
            json!(all[1].tool_calls),
            json!([{"id": "t1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}])
        );
        assert_eq!(
            (all[2].tool_name.as_deref(), all[2].tool_call_id.as_deref()),
            (Some("f"), Some("t1"))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        #[track_caller]
        fn check(content: Value, expected: &str) {
            let error = parse(json!([{"role": "user", "content": content}])).unwrap_err();
            assert_eq!(error.message(), expected);
        }
        check(
            json!(5),
            "messages.0.content: expected a text or a list of blocks",
        );
        check(
            json!([{"type": "image", "source": {}}]),
            "messages.0.content.0: \"m\" does not support images",
        );
        check(
            json!([{"type": "text"}]),
            "messages.0.content.0.text: a text is required",
        );
        check(
            json!([{"type": "tool_use", "id": "x"}]),
            "messages.0.content.0.name: a text is required",
        );
        check(
            json!([{"typ": "odd"}]),
            "messages.0.content.0.type: a text is required",
        );
        let error = parse(json!([{"role": "boss", "content": "x"}])).unwrap_err();
        assert!(error.message().starts_with("messages.0.role: \"boss\""));
    }

    #[test]
    fn blocks_of_unknown_kinds_are_left_out_and_named() {
        let content = json!([
            {"type": "odd", "text": "?"},
            {"type": "text", "text": "a"},
            {"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "search_result", "source": "s"}, {"type": "text", "text": "b"}]},
        ]);
        let messages = serde_json::from_value(json!([{"role": "user", "content": content}]));
        let mut ignored = Ignored::default();
        let all = conversation(None, messages.unwrap(), "m", &mut ignored).unwrap();
        let texts: Vec<&str> = all.iter().map(|message| &*message.content).collect();
        assert_eq!(texts, ["b", "a"]);
        assert_eq!(ignored.names(), "block odd, block search_result");
    }

    #[test]
    fn tools_become_functions_and_choices_openais() {
        let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}});
        let function = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
        let expected = json!({"type": "function", "function": function});
        let search = json!({"type": "web_search_20250305", "name": "web_search"});
        let mut ignored = Ignored::default();
        let own = tools(Some(vec![search, tool]), &mut ignored).unwrap();
        assert_eq!(own, [expected]);
        assert_eq!(ignored.names(), "tool web_search_20250305");
        assert!(tools(Some(vec![json!({"type": "custom"})]), &mut ignored).is_err());
        let choice = |choice: Value| tool_choice(&choice);
        assert_eq!(
            choice(json!({"type": "auto"})).unwrap(),
            (json!("auto"), None)
        );
        let single = json!({"type": "any", "disable_parallel_tool_use": true});
        assert_eq!(choice(single).unwrap(), (json!("required"), Some(false)));
        let one = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(
            choice(json!({"type": "tool", "name": "f"})).unwrap(),
            (one, None)
        );
        assert!(choice(json!({"type": "tool"})).is_err());
        assert!(choice(json!({"type": "some"})).is_err());
    }
}
