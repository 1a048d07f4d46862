//! Messages and tools as the fields that Ollama's templates read.
//!
//! Order of members follows Ollama: fields of tools in a fixed order, properties and arguments sorted by name. Members
//! of a tool that Ollama would drop (`default`, `additionalProperties`, …) are kept, behind the known ones.
use super::value::{Object, Value};
use crate::Message;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Neighbours of one role become one message, tool results excepted.
pub(super) fn collated(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        match out.last_mut() {
            Some(last) if last.role == message.role && message.role != "tool" => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            _ => out.push(message.clone()),
        }
    }
    out
}

/// All system texts.
pub(super) fn system(messages: &[Message]) -> String {
    let system = messages.iter().filter(|m| m.role == "system");
    let texts: Vec<&str> = system.map(|m| m.content.as_str()).collect();
    texts.join("\n\n")
}

/// `.Messages`.
pub(super) fn messages(messages: &[Message]) -> Value {
    Value::list(messages.iter().map(message).collect())
}

fn message(message: &Message) -> Value {
    let optional = |text: &Option<String>| Value::text(text.as_deref().unwrap_or_default());
    let calls = message.tool_calls.as_ref().and_then(Json::as_array);
    let calls = calls.map_or(&[][..], Vec::as_slice);
    Object::structure([
        ("Role", Value::text(&message.role)),
        ("Content", Value::text(&message.content)),
        ("Thinking", optional(&message.thinking)),
        ("Images", Value::list(Vec::new())),
        (
            "ToolCalls",
            Value::list(calls.iter().enumerate().map(tool_call).collect()),
        ),
        ("ToolName", optional(&message.name)),
        ("ToolCallID", optional(&message.tool_call_id)),
    ])
    .into_value()
}

fn text_of(json: &Json) -> Value {
    Value::text(json.as_str().unwrap_or_default())
}

fn tool_call((at, call): (usize, &Json)) -> Value {
    let function = &call["function"];
    let arguments = match &function["arguments"] {
        // some clients send the text
        Json::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    let arguments = match arguments {
        Json::Object(members) => sorted(&Json::Object(members)),
        _ => Json::Object(Map::new()),
    };
    let fields = arguments.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| (Arc::from(name.as_str()), Value::from_json(value)));
    let fields = fields.collect();
    Object::structure([
        ("ID", text_of(&call["id"])),
        (
            "Function",
            Object::structure([
                (
                    "Index",
                    Value::Int(function["index"].as_i64().unwrap_or(at as i64)),
                ),
                ("Name", text_of(&function["name"])),
                (
                    "Arguments",
                    Object::map(fields).printing(arguments).into_value(),
                ),
            ])
            .into_value(),
        ),
    ])
    .into_value()
}

/// `.Tools`.
pub(super) fn tools(tools: Option<&Json>) -> Value {
    let tools = tools.and_then(Json::as_array);
    Value::json_list(tools.into_iter().flatten().map(tool).collect())
}

fn tool(tool: &Json) -> Value {
    let (function, function_json) = function(&tool["function"]);
    let kind = tool["type"].as_str().unwrap_or_default();
    let mut json = Map::new();
    json.insert("type".into(), kind.into());
    insert_some(&mut json, "items", &tool["items"]);
    json.insert("function".into(), function_json);
    keep_unknown(&mut json, tool);
    Object::structure([
        ("Type", Value::text(kind)),
        ("Items", Value::from_json(&tool["items"])),
        ("Function", function),
    ])
    .printing(json.into())
    .into_value()
}

fn function(function: &Json) -> (Value, Json) {
    let (parameters, parameters_json) = parameters(&function["parameters"]);
    let mut json = Map::new();
    for key in ["name", "description"] {
        json.insert(
            key.into(),
            function[key].as_str().unwrap_or_default().into(),
        );
    }
    json.insert("parameters".into(), parameters_json);
    keep_unknown(&mut json, function);
    let value = Object::structure([
        ("Name", text_of(&function["name"])),
        ("Description", text_of(&function["description"])),
        ("Parameters", parameters),
    ])
    .printing(json.clone().into())
    .into_value();
    (value, json.into())
}

fn parameters(parameters: &Json) -> (Value, Json) {
    let mut json = Map::new();
    let kind = parameters["type"].as_str().unwrap_or_default();
    json.insert("type".into(), kind.into());
    insert_some(&mut json, "$defs", &parameters["$defs"]);
    insert_some(&mut json, "items", &parameters["items"]);
    insert_filled(&mut json, "required", &parameters["required"]);
    let mut members: Vec<(&String, &Json)> = Vec::new();
    members.extend(parameters["properties"].as_object().into_iter().flatten());
    members.sort_by_key(|(name, _)| name.as_str());
    let mut fields = Vec::with_capacity(members.len());
    let mut properties = Map::new();
    for (name, member) in members {
        let (value, json) = property(member);
        fields.push((Arc::from(name.as_str()), value));
        properties.insert(name.clone(), json);
    }
    let properties = match &parameters["properties"] {
        Json::Object(_) => Json::Object(properties),
        _ => Json::Null,
    };
    json.insert("properties".into(), properties.clone());
    keep_unknown(&mut json, parameters);
    let value = Object::structure([
        ("Type", Value::text(kind)),
        ("Defs", Value::from_json(&parameters["$defs"])),
        ("Items", Value::from_json(&parameters["items"])),
        ("Required", Value::from_json(&parameters["required"])),
        (
            "Properties",
            Object::map(fields).printing(properties).into_value(),
        ),
    ])
    .printing(json.clone().into())
    .into_value();
    (value, json.into())
}

/// One property of the parameters. Its own properties keep their order.
fn property(property: &Json) -> (Value, Json) {
    let mut json = Map::new();
    let options = property["anyOf"].as_array();
    let (options, options_json): (Vec<Value>, Vec<Json>) =
        options.into_iter().flatten().map(self::property).unzip();
    if !options_json.is_empty() {
        json.insert("anyOf".into(), options_json.into());
    }
    // a list of one type is that type
    let kind = match &property["type"] {
        Json::Array(names) if names.len() == 1 => &names[0],
        other => other,
    };
    insert_filled(&mut json, "type", kind);
    insert_some(&mut json, "items", &property["items"]);
    insert_filled(&mut json, "description", &property["description"]);
    insert_filled(&mut json, "enum", &property["enum"]);
    let mut fields = Vec::new();
    if let Some(members) = property["properties"].as_object() {
        let mut inner = Map::new();
        for (name, member) in members {
            let (value, json) = self::property(member);
            fields.push((Arc::from(name.as_str()), value));
            inner.insert(name.clone(), json);
        }
        json.insert("properties".into(), inner.into());
    }
    insert_filled(&mut json, "required", &property["required"]);
    keep_unknown(&mut json, property);
    let value = Object::structure([
        ("AnyOf", Value::list(options)),
        (
            "Type",
            match kind {
                Json::Null => Value::text(""),
                other => Value::from_json(other),
            },
        ),
        ("Items", Value::from_json(&property["items"])),
        ("Description", text_of(&property["description"])),
        ("Enum", Value::from_json(&property["enum"])),
        ("Properties", Object::map(fields).into_value()),
        ("Required", Value::from_json(&property["required"])),
    ])
    .printing(json.clone().into())
    .into_value();
    (value, json.into())
}

fn insert_some(json: &mut Map<String, Json>, key: &str, value: &Json) {
    if !value.is_null() {
        json.insert(key.into(), sorted(value));
    }
}

fn insert_filled(json: &mut Map<String, Json>, key: &str, value: &Json) {
    let is_empty = match value {
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        other => other.is_null(),
    };
    if !is_empty {
        json.insert(key.into(), sorted(value));
    }
}

/// Members that the fixed fields do not cover.
fn keep_unknown(json: &mut Map<String, Json>, source: &Json) {
    const KNOWN: &[&str] = &[
        "$defs",
        "anyOf",
        "description",
        "enum",
        "function",
        "items",
        "name",
        "parameters",
        "properties",
        "required",
        "type",
    ];
    for (name, value) in source.as_object().into_iter().flatten() {
        if !KNOWN.contains(&name.as_str()) {
            json.insert(name.clone(), sorted(value));
        }
    }
}

/// Maps by name at every level, as Go writes what has no type of its own.
fn sorted(json: &Json) -> Json {
    match json {
        Json::Array(items) => items.iter().map(sorted).collect(),
        Json::Object(members) => {
            let mut members: Vec<(&String, &Json)> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            let members = members.into_iter();
            Json::Object(
                members
                    .map(|(name, value)| (name.clone(), sorted(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}
