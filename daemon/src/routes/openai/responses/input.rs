//! Items of `/v1/responses` to messages as chat completions have them.

use crate::{
    error::ApiError,
    responses::Item,
    routes::{dialect::id, openai::messages, wishes::Ignored},
};
use serde_json::{Value, json};
use slm_api::{ollama, openai::ChatMessage};
use std::sync::Arc;

/// What OpenAI's servers did by themselves and told of: nothing for a model to read.
const OF_SERVERS: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "mcp_call",
];

/// What a request brings: each item with its type and an id. Those of servers' own tools are left out, and named.
///
/// # Errors
/// What is no text and no list of items.
pub(super) fn items(
    input: Option<Value>,
    ignored: &mut Ignored,
) -> Result<Vec<Arc<Item>>, ApiError> {
    let items = match input {
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
        Some(Value::Array(items)) if !items.is_empty() => items,
        Some(Value::Array(_)) | None => return Err(wrong("`input` is required")),
        Some(_) => return Err(wrong("invalid `input`: expected a text or a list of items")),
    };
    let read = items.into_iter().filter(|item| {
        let kind = item["type"].as_str().unwrap_or_default();
        let is_of_server = OF_SERVERS.contains(&kind);
        if is_of_server {
            ignored.add(&format!("item {kind}"));
        }
        !is_of_server
    });
    read.map(settled).collect()
}

fn wrong(text: impl Into<String>) -> ApiError {
    ApiError::bad_request(text).of_field("input")
}

fn settled(mut item: Value) -> Result<Arc<Item>, ApiError> {
    let Some(fields) = item.as_object_mut() else {
        return Err(wrong("invalid `input`: an item must be an object"));
    };
    let kind = fields.entry("type").or_insert_with(|| json!("message"));
    let prefix = match kind.as_str().unwrap_or_default() {
        "message" => "msg_",
        "function_call" => "fc_",
        "function_call_output" => "fco_",
        "reasoning" => "rs_",
        other => {
            return Err(wrong(format!(
                "items of type {other:?} are not supported; supported are \"message\", \"function_call\", \"function_call_output\" and \"reasoning\""
            )));
        }
    };
    fields.entry("id").or_insert_with(|| json!(id(prefix)));
    // as it is handed back
    if let Some(Value::String(text)) = fields.get("content") {
        let kind = match fields.get("role").and_then(Value::as_str) {
            Some("assistant") => "output_text",
            _ => "input_text",
        };
        let part = json!([{"type": kind, "text": text}]);
        fields.insert("content".to_owned(), part);
    }
    Ok(Item::new(item))
}

/// The conversation, with the instructions in front.
///
/// # Errors
/// An item that cannot be read.
pub(super) fn conversation(
    instructions: Option<&str>,
    items: &[Arc<Item>],
    model: &str,
) -> Result<Vec<ollama::Message>, ApiError> {
    let mut all: Vec<ChatMessage> = Vec::with_capacity(items.len() + 1);
    all.extend(instructions.map(|text| ChatMessage {
        role: "system".to_owned(),
        content: Some(json!(text)),
        ..ChatMessage::default()
    }));
    let mut thoughts: Option<String> = None;
    for item in items {
        let item = &item.value;
        match item["type"].as_str().unwrap_or_default() {
            "reasoning" => thoughts = text_of(item),
            "function_call" => {
                let message = turn(&mut all, &mut thoughts);
                message.tool_calls.get_or_insert_default().push(json!({
                    "id": text(item, "call_id")?, "type": "function",
                    "function": {"name": text(item, "name")?, "arguments": item["arguments"]},
                }));
            }
            "function_call_output" => all.push(ChatMessage {
                role: "tool".to_owned(),
                tool_call_id: Some(text(item, "call_id")?),
                content: Some(item["output"].clone()),
                ..ChatMessage::default()
            }),
            _ => {
                let role = text(item, "role")?;
                let is_assistants = role == "assistant";
                all.push(ChatMessage {
                    role,
                    content: Some(item["content"].clone()),
                    reasoning: thoughts.take_if(|_| is_assistants),
                    ..ChatMessage::default()
                });
            }
        }
    }
    messages::conversation(all, model).map_err(|error| error.of_field("input"))
}

/// The assistant's turn that a call belongs to: the last message, or a new one.
fn turn<'a>(all: &'a mut Vec<ChatMessage>, thoughts: &mut Option<String>) -> &'a mut ChatMessage {
    let goes_on = thoughts.is_none() && all.last().is_some_and(|m| m.role == "assistant");
    if !goes_on {
        all.push(ChatMessage {
            role: "assistant".to_owned(),
            reasoning: thoughts.take(),
            ..ChatMessage::default()
        });
    }
    let last = all.len() - 1;
    &mut all[last]
}

/// The thoughts of an item, or their summary.
fn text_of(item: &Value) -> Option<String> {
    let texts = |parts: &Value| {
        let parts = parts.as_array()?.iter();
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    texts(&item["content"]).or_else(|| texts(&item["summary"]))
}

fn text(item: &Value, field: &str) -> Result<String, ApiError> {
    let text = item[field].as_str().map(str::to_owned);
    text.ok_or_else(|| {
        let kind = item["type"].as_str().unwrap_or_default();
        wrong(format!("an item of type {kind:?} needs a `{field}`"))
    })
}

/// Tools as chat completions have them, those of a namespace under its name: `files.read`. Those that are no functions are
/// left out, and named.
///
/// # Errors
/// Functions without a name, and tools without a type.
pub(super) fn tools(
    tools: Option<&[Value]>,
    ignored: &mut Ignored,
) -> Result<Option<Vec<Value>>, ApiError> {
    let Some(tools) = tools else {
        return Ok(None);
    };
    let mut functions = Vec::new();
    add_tools(tools, "", ignored, &mut functions)?;
    Ok(Some(functions))
}

fn add_tools(
    tools: &[Value],
    namespace: &str,
    ignored: &mut Ignored,
    functions: &mut Vec<Value>,
) -> Result<(), ApiError> {
    for tool in tools {
        match tool["type"].as_str() {
            Some("namespace") => {
                let members = tool["tools"].as_array().map_or(&[][..], Vec::as_slice);
                let name = tool["name"].as_str().unwrap_or_default();
                add_tools(members, &qualified(namespace, name), ignored, functions)?;
            }
            Some("function") if tool["name"].is_string() => {
                functions.push(function(tool, namespace));
            }
            Some("function") | None => {
                let text = "only tools of the type `function`, with a name, are supported";
                return Err(ApiError::bad_request(text).of_field("tools"));
            }
            Some(kind) => ignored.add(&format!("tool {kind}")),
        }
    }
    Ok(())
}

fn function(tool: &Value, namespace: &str) -> Value {
    let mut function = tool.clone();
    if let Some(fields) = function.as_object_mut() {
        fields.remove("type");
        fields.retain(|_, value| !value.is_null());
        if let Some(Value::String(name)) = fields.get_mut("name") {
            *name = qualified(namespace, name);
        }
    }
    json!({"type": "function", "function": function})
}

/// A name with its namespace in front, unless that is there.
fn qualified(namespace: &str, name: &str) -> String {
    let rest = name.strip_prefix(namespace);
    match namespace.is_empty() || rest.is_some_and(|rest| rest.starts_with('.')) {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// `text.format` as `response_format` of chat completions.
pub(super) fn response_format(text: Option<&Value>) -> Option<Value> {
    let format = text?.get("format")?;
    match format["type"].as_str() {
        Some("json_schema") => {
            Some(json!({"type": "json_schema", "json_schema": {"schema": format["schema"]}}))
        }
        _ => Some(format.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: Value) -> Result<Vec<ollama::Message>, ApiError> {
        let items = items(Some(input), &mut Ignored::default())?;
        conversation(Some("be"), &items, "m")
    }

    #[test]
    fn calls_join_the_turn_that_they_belong_to_and_thoughts_come_along() {
        let all = parse(json!([
            {"role": "developer", "content": "kind"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"role": "assistant", "content": "so"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "2"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}]},
        ]))
        .unwrap();
        let said: Vec<_> = all
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str(), m.tool_name.as_deref()))
            .collect();
        assert_eq!(
            said,
            [
                ("system", "be\n\nkind", None),
                ("user", "hi", None),
                ("assistant", "so", None),
                ("tool", "2", Some("g")),
                ("tool", "1", Some("f"))
            ]
        );
        assert_eq!(all[2].thinking.as_deref(), Some("hm"));
        let calls = all[2].tool_calls.as_ref().unwrap();
        assert_eq!(calls[0]["function"]["arguments"], json!({"a": 1}));
        assert_eq!(calls.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (input, expected) in [
            (json!(5), "invalid `input`"),
            (json!([]), "`input` is required"),
            (json!(["a"]), "an item must be an object"),
            (json!([{"type": "computer_call"}]), "\"computer_call\""),
            (json!([{"content": "x"}]), "needs a `role`"),
            (
                json!([{"type": "function_call", "name": "f"}]),
                "needs a `call_id`",
            ),
            (
                json!([{"role": "user", "content": [{"type": "input_image"}]}]),
                "does not support images",
            ),
        ] {
            let error = parse(input).unwrap_err();
            assert!(error.message().contains(expected), "{}", error.message());
            assert_eq!(error.param(), Some("input"));
        }
    }

    #[test]
    fn tools_of_a_namespace_have_its_name_in_front() {
        let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {}});
        let inner = json!({"type": "namespace", "name": "deep", "tools": [tool("f")]});
        let members =
            json!([tool("read"), tool("files.write"), inner, {"type": "custom", "name": "c"}]);
        let namespace = json!({"type": "namespace", "name": "files", "tools": members});
        let mut ignored = Ignored::default();
        let all = tools(Some(&[namespace, tool("plain")]), &mut ignored).unwrap();
        let all = all.unwrap();
        let names: Vec<_> = all.iter().map(|tool| &tool["function"]["name"]).collect();
        assert_eq!(
            names,
            ["files.read", "files.write", "files.deep.f", "plain"]
        );
        assert_eq!(all[0]["function"]["parameters"], json!({}));
        assert_eq!(ignored.names(), "tool custom");
    }

    #[test]
    fn tools_and_formats_become_those_of_chats() {
        let tool = json!({"type": "function", "name": "f", "parameters": {}, "strict": true, "description": null});
        let function = json!({"name": "f", "parameters": {}, "strict": true});
        let mut ignored = Ignored::default();
        assert_eq!(
            tools(Some(&[tool, json!({"type": "web_search"})]), &mut ignored).unwrap(),
            Some(vec![json!({"type": "function", "function": function})])
        );
        assert_eq!(ignored.names(), "tool web_search");
        for nameless in [json!({"type": "function"}), json!({"name": "f"}), json!(1)] {
            assert!(tools(Some(&[nameless]), &mut ignored).is_err());
        }
        let input =
            json!([{"type": "web_search_call", "id": "ws_1"}, {"role": "user", "content": "x"}]);
        assert_eq!(items(Some(input), &mut ignored).unwrap().len(), 1);
        assert_eq!(ignored.names(), "tool web_search, item web_search_call");
        let format =
            json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}});
        assert_eq!(
            response_format(Some(&format)),
            Some(json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}))
        );
        assert_eq!(response_format(Some(&json!({}))), None);
    }
}
