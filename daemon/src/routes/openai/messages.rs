//! Messages, tools and thinking in OpenAI's words to Ollama's, which the rest of the daemon reads.

use crate::{error::ApiError, inference::shown};
use serde_json::{Map, Value, json};
use slm_api::{
    ollama::{Message, Think},
    openai::ChatMessage,
};

/// The conversation. Developers speak as the system does; instructions at the beginning become one message, since many
/// templates know one only.
///
/// # Errors
/// A message that cannot be read.
pub(super) fn conversation(
    messages: Vec<ChatMessage>,
    model: &str,
) -> Result<Vec<Message>, ApiError> {
    let mut all: Vec<Message> = Vec::with_capacity(messages.len());
    for (index, wire) in messages.into_iter().enumerate() {
        let message = message(wire, &all, model)
            .map_err(|error| error.of_field(format!("messages[{index}]")))?;
        match all.as_mut_slice() {
            [first] if first.role == "system" && message.role == "system" => {
                first.content = format!("{}\n\n{}", first.content, message.content);
            }
            _ => all.push(message),
        }
    }
    Ok(all)
}

fn message(wire: ChatMessage, earlier: &[Message], model: &str) -> Result<Message, ApiError> {
    let role = match wire.role.to_lowercase().as_str() {
        "" => return Err(ApiError::bad_request("a message needs a `role`")),
        "developer" => "system".to_owned(),
        "function" => "tool".to_owned(),
        role => role.to_owned(),
    };
    let calls = wire.tool_calls.filter(|calls| !calls.is_empty());
    let content = match wire.content {
        Some(content) => text(content, model)?,
        None if calls.is_some() || wire.reasoning.is_some() => String::new(),
        None => {
            return Err(ApiError::bad_request(
                "invalid message content: a message without tool calls needs a text or a list of parts",
            ));
        }
    };
    let tool_calls = calls
        .map(|calls| calls.into_iter().map(call).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    let is_tool = role == "tool";
    let tool_name = wire.name.filter(|_| is_tool);
    let tool_name = tool_name.or_else(|| called(wire.tool_call_id.as_deref()?, earlier));
    Ok(Message {
        role,
        content,
        thinking: wire.reasoning,
        images: None,
        tool_calls,
        tool_name,
        tool_call_id: wire.tool_call_id,
    })
}

/// The text of a content: itself, or its parts in lines.
fn text(content: Value, model: &str) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        _ => {
            return Err(ApiError::bad_request(
                "invalid message content: expected a text or a list of parts",
            ));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        let kind = part["type"].as_str().unwrap_or_default();
        let text = match kind {
            "text" | "input_text" | "output_text" => &part["text"],
            "refusal" => &part["refusal"],
            "image_url" | "image" | "input_image" => {
                return Err(unsupported(model, "images"));
            }
            "input_audio" => return Err(unsupported(model, "audio")),
            "file" | "input_file" => return Err(unsupported(model, "files")),
            kind => {
                return Err(ApiError::bad_request(format!(
                    "invalid message content: unknown type of part {kind:?}"
                )));
            }
        };
        let Some(text) = text.as_str() else {
            return Err(ApiError::bad_request(format!(
                "invalid message content: a part of type {kind:?} needs its text"
            )));
        };
        texts.push(text.to_owned());
    }
    Ok(texts.join("\n"))
}

fn unsupported(model: &str, what: &str) -> ApiError {
    ApiError::bad_request(format!("\"{model}\" does not support {what}"))
}

/// A call with its arguments as an object.
fn call(mut call: Value) -> Result<Value, ApiError> {
    let invalid =
        || ApiError::bad_request("invalid tool call arguments: expected a JSON object in a string");
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else {
        return Err(ApiError::bad_request(
            "invalid tool call: it needs a `function`",
        ));
    };
    if !function.get("name").is_some_and(Value::is_string) {
        return Err(ApiError::bad_request(
            "invalid tool call: its function needs a `name`",
        ));
    }
    let arguments = match function.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| invalid())?,
        Some(_) => return Err(invalid()),
    };
    function.insert("arguments".to_owned(), Value::Object(arguments));
    Ok(call)
}

/// The function of the latest call with this id.
fn called(id: &str, earlier: &[Message]) -> Option<String> {
    let calls = earlier.iter().rev().filter_map(|m| m.tool_calls.as_ref());
    let call = calls.flatten().find(|call| call["id"] == id)?;
    Some(call["function"]["name"].as_str()?.to_owned())
}

/// The tools that the model may call.
///
/// # Errors
/// Tools other than functions.
pub(super) fn tools(tools: Option<Vec<Value>>) -> Result<Option<Vec<Value>>, ApiError> {
    for tool in tools.iter().flatten() {
        if tool["type"] != "function" || !tool["function"]["name"].is_string() {
            let text = "only tools of the type `function`, with a name, are supported";
            return Err(ApiError::bad_request(text).of_field("tools"));
        }
    }
    Ok(tools)
}

/// Whether and how much to think.
///
/// # Errors
/// An unknown effort.
pub(super) fn think(effort: Option<&str>) -> Result<Option<Think>, ApiError> {
    let level = |level: &str| Some(Think::Level(level.to_owned()));
    Ok(match effort {
        None | Some("") => None,
        Some("none") => Some(Think::Switch(false)),
        Some("minimal") => level("low"),
        Some(same @ ("low" | "medium" | "high" | "max")) => level(same),
        Some("xhigh" | "ultra") => level("max"),
        Some(other) => {
            let text = format!(
                "invalid reasoning effort {other:?}: expected \"none\", \"minimal\", \"low\", \"medium\", \"high\" or \"xhigh\""
            );
            return Err(ApiError::bad_request(text).of_field("reasoning_effort"));
        }
    })
}

/// What an answer must look like, in Ollama's words: `"json"` or a schema. `json_schema` is llama.cpp's way of saying so.
///
/// # Errors
/// An unknown type, a schema that is missing, or both ways at once.
pub(super) fn format(
    response_format: Option<&Value>,
    json_schema: Option<&Value>,
) -> Result<Option<Value>, ApiError> {
    let format = match response_format {
        None | Some(Value::Null) => None,
        Some(wanted) => of_response_format(wanted)?,
    };
    let schema = json_schema.filter(|schema| !schema.is_null());
    match (format, schema) {
        (format, None) => Ok(format),
        (None, Some(Value::Object(schema))) => Ok(Some(of_schema(schema))),
        (None, Some(_)) => {
            let text = "`json_schema` must be a JSON schema, which is an object";
            Err(ApiError::bad_request(text).of_field("json_schema"))
        }
        (Some(_), Some(_)) => {
            let text = "`response_format` and `json_schema` exclude each other; leave one out";
            Err(ApiError::bad_request(text).of_field("json_schema"))
        }
    }
}

/// A schema that says nothing is one of any object.
fn of_schema(schema: &Map<String, Value>) -> Value {
    match schema.is_empty() {
        true => json!("json"),
        false => Value::Object(schema.clone()),
    }
}

fn of_response_format(wanted: &Value) -> Result<Option<Value>, ApiError> {
    let wrong = |text: String| Err(ApiError::bad_request(text).of_field("response_format"));
    match wanted["type"].as_str() {
        Some("text") => Ok(None),
        // a schema beside it is llama.cpp's
        Some("json_object") => Ok(Some(match &wanted["schema"] {
            Value::Object(schema) => of_schema(schema),
            _ => json!("json"),
        })),
        Some("json_schema") => match &wanted["json_schema"]["schema"] {
            Value::Object(schema) => Ok(Some(Value::Object(schema.clone()))),
            _ => wrong("`response_format` needs a `json_schema` with a `schema`".to_owned()),
        },
        _ => wrong(format!(
            "invalid type {} of `response_format`: expected \"text\", \"json_object\" or \"json_schema\"",
            shown(&wanted["type"])
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(messages: Value) -> Result<Vec<Message>, ApiError> {
        let messages = serde_json::from_value(messages).unwrap();
        conversation(messages, "m")
    }

    #[test]
    fn instructions_at_the_beginning_are_one_message() {
        let all = parse(json!([
            {"role": "developer", "content": "a"},
            {"role": "system", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "d"},
        ]))
        .unwrap();
        let pairs: Vec<_> = all
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("system", "a\n\nb\nc"), ("user", "hi"), ("system", "d")]
        );
    }

    #[test]
    fn calls_have_arguments_as_objects_and_answers_the_names_of_their_tools() {
        let all = parse(json!([
            {"role": "assistant", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
        ]))
        .unwrap();
        let calls = all[0].tool_calls.as_ref().unwrap();
        assert_eq!(
            calls[0]["function"]["arguments"].to_string(),
            "{\"b\":1,\"a\":2}"
        );
        assert_eq!(calls[1]["function"]["arguments"], json!({}));
        let tools: Vec<_> = all[1..]
            .iter()
            .map(|m| {
                (
                    m.tool_name.as_deref(),
                    m.tool_call_id.as_deref(),
                    m.content.as_str(),
                )
            })
            .collect();
        assert_eq!(
            tools,
            [(Some("f"), Some("c1"), "1"), (Some("g"), Some("c2"), "2")]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_message() {
        #[track_caller]
        fn check(message: Value, expected: &str) {
            let user = json!({"role": "user", "content": "x"});
            let error = parse(json!([user, message])).unwrap_err();
            assert!(error.message().contains(expected), "{}", error.message());
            assert_eq!(error.param(), Some("messages[1]"));
        }
        check(json!({"role": "user"}), "invalid message content");
        check(json!({"content": "x"}), "needs a `role`");
        check(
            json!({"role": "user", "content": 5}),
            "invalid message content",
        );
        let image =
            json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
        check(
            json!({"role": "user", "content": image}),
            "\"m\" does not support images",
        );
        let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{"}}]);
        check(
            json!({"role": "assistant", "tool_calls": call}),
            "invalid tool call arguments",
        );
        let call = json!([{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]);
        check(
            json!({"role": "assistant", "tool_calls": call}),
            "invalid tool call arguments",
        );
    }

    #[test]
    fn efforts_tools_and_formats_are_translated() {
        assert_eq!(think(Some("none")).unwrap(), Some(Think::Switch(false)));
        assert_eq!(
            think(Some("minimal")).unwrap(),
            Some(Think::Level("low".into()))
        );
        assert_eq!(
            think(Some("xhigh")).unwrap(),
            Some(Think::Level("max".into()))
        );
        assert_eq!(
            think(Some("much")).unwrap_err().param(),
            Some("reasoning_effort")
        );
        let tool = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(tools(Some(vec![tool.clone()])).unwrap(), Some(vec![tool]));
        assert!(tools(Some(vec![json!({"type": "web_search"})])).is_err());
        assert_eq!(format(Some(&json!({"type": "text"})), None).unwrap(), None);
        assert_eq!(
            format(Some(&json!({"type": "json_object"})), None).unwrap(),
            Some(json!("json"))
        );
        let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
        assert_eq!(
            format(Some(&schema), None).unwrap(),
            Some(json!({"type": "object"}))
        );
        assert!(format(Some(&json!({"type": "xml"})), None).is_err());
        let array = json!({"type": "array"});
        let beside = json!({"type": "json_object", "schema": array});
        for (format_, schema, expected) in [
            (Some(&beside), None, array.clone()),
            (None, Some(&array), array.clone()),
            (None, Some(&json!({})), json!("json")),
        ] {
            assert_eq!(format(format_, schema).unwrap(), Some(expected));
        }
        assert_eq!(
            format(Some(&json!(null)), Some(&json!(null))).unwrap(),
            None
        );
        assert!(format(Some(&beside), Some(&array)).is_err());
        assert!(format(None, Some(&json!("json"))).is_err());
    }
}
