//! A call, the tools that may be called, and what the families share to read one.
use serde_json::{Map, Value};

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Of the tool.
    pub name: String,
    /// In the order in which the model wrote them.
    pub arguments: Map<String, Value>,
}

/// The tools that were offered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools(Vec<(String, Value)>);

impl Tools {
    /// From a list of definitions `{function: {name, parameters}}`, or of the functions alone.
    pub(crate) fn new(definitions: &Value) -> Self {
        let definitions = definitions.as_array().map_or(&[][..], Vec::as_slice);
        let functions = definitions
            .iter()
            .map(|tool| tool.get("function").unwrap_or(tool));
        let named = functions.filter_map(|function| {
            let name = function["name"].as_str()?;
            Some((
                name.to_owned(),
                function["parameters"]["properties"].clone(),
            ))
        });
        Self(named.collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A call of one of them.
    pub(crate) fn call(&self, name: &str, arguments: Map<String, Value>) -> Option<ToolCall> {
        self.has(name).then(|| ToolCall {
            name: name.to_owned(),
            arguments,
        })
    }

    /// The value of an argument that a model wrote without quotes: text where the tool wants text, else JSON where it
    /// is JSON.
    pub(super) fn typed(&self, tool: &str, argument: &str, text: &str) -> Value {
        let properties = self.0.iter().find(|(name, _)| name == tool);
        let kind = properties.map_or(
            &Value::Null,
            |(_, properties)| &properties[argument]["type"],
        );
        let is_null = kind.is_array() && text.trim() == "null";
        if wants_text(kind) && !is_null {
            return text.into();
        }
        // Python's words for them are common
        let json = match text.trim() {
            "True" => "true",
            "False" => "false",
            "None" => "null",
            other => other,
        };
        serde_json::from_str(json).unwrap_or_else(|_| text.into())
    }

    /// The call that a JSON object describes: a name, and arguments as an object, as a text that holds one, or none.
    pub(super) fn call_in(&self, value: &Value) -> Option<ToolCall> {
        let object = value.as_object()?;
        if let Some(inner) = object.get("function").filter(|inner| inner.is_object()) {
            return self.call_in(inner);
        }
        let name = ["name", "tool_name", "function"]
            .iter()
            .find_map(|key| object.get(*key)?.as_str())?;
        let arguments = ["arguments", "parameters", "args"]
            .iter()
            .find_map(|key| object.get(*key));
        let arguments = match arguments {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(members)) => members.clone(),
            Some(Value::String(text)) => match serde_json::from_str(text).ok()? {
                Value::Object(members) => members,
                _ => return None,
            },
            Some(_) => return None,
        };
        self.call(name, arguments)
    }

    /// The calls that a JSON object, or a list of them, describes; `None` when one of them is none.
    pub(super) fn calls_in(&self, value: &Value) -> Option<Vec<ToolCall>> {
        match value {
            Value::Array(items) if !items.is_empty() => {
                items.iter().map(|item| self.call_in(item)).collect()
            }
            single => Some(vec![self.call_in(single)?]),
        }
    }
}

/// Whether a value of this `type` is a text.
pub(super) fn wants_text(kind: &Value) -> bool {
    match kind {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().all(|kind| kind == "string" || kind == "null"),
        _ => false,
    }
}

/// Generated text from an opening marker on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region<'a> {
    /// The marker that opened it.
    pub(super) marker: &'a str,
    /// What follows the marker, as far as it is generated.
    pub(super) text: &'a str,
    /// Nothing more will come.
    pub(super) at_end: bool,
}

/// What a region turned out to be. It is found out from the beginning of the text: once it is not [`Body::More`], more
/// text may not change it, or calls would depend on how the stream is cut.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// Not known before more text comes.
    More,
    /// Calls, in so many bytes behind the marker.
    Calls(Vec<ToolCall>, usize),
    /// No call: the marker is text.
    Text,
}

impl<'a> Region<'a> {
    /// The text up to `close`, and how many bytes it takes with it. At the end `close` may be missing: models stop
    /// there, and many tokenizers do not show it.
    pub(super) fn until(&self, close: &str) -> Option<(&'a str, usize)> {
        match self.text.find(close) {
            Some(at) => Some((&self.text[..at], at + close.len())),
            None if self.at_end => Some((self.text, self.text.len())),
            None => None,
        }
    }

    /// `len` bytes and whatever follows of white space and `close`.
    pub(super) fn with_close(&self, len: usize, close: &str) -> usize {
        let rest = &self.text[len..];
        let trimmed = rest.trim_start();
        match trimmed.strip_prefix(close) {
            Some(after) => self.text.len() - after.len(),
            None => len,
        }
    }

    /// Whether the bytes from `len` on may become `close` with more text.
    pub(super) fn may_close(&self, len: usize, close: &str) -> bool {
        let rest = self.text[len..].trim_start();
        !self.at_end && rest.len() < close.len() && close.starts_with(rest)
    }
}

/// A JSON value at the start of a text.
pub(super) enum JsonPrefix {
    /// The value and its length, white space in front included.
    Value(Value, usize),
    /// More text may complete it.
    Unfinished,
    /// No JSON.
    Invalid,
}

/// Reads the JSON value at the start of `text`.
pub(super) fn json_prefix(text: &str) -> JsonPrefix {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => JsonPrefix::Value(value, values.byte_offset()),
        Some(Err(error)) if !error.is_eof() => JsonPrefix::Invalid,
        Some(Err(_)) | None => JsonPrefix::Unfinished,
    }
}

/// The same for an object between two braces on each side, which is never JSON: some templates of Qwen2.5 show calls so
/// by mistake, and their models write what they were shown. At the end the outer brace may be missing.
pub(super) fn call_prefix(text: &str, at_end: bool) -> JsonPrefix {
    let trimmed = text.trim_start();
    let Some(inner) = trimmed.strip_prefix("{{") else {
        return json_prefix(text);
    };
    let inner_at = text.len() - inner.len() - 1;
    match json_prefix(&text[inner_at..]) {
        JsonPrefix::Value(value, len) => {
            let len = inner_at + len;
            let rest = &text[len..];
            let after = rest.trim_start();
            match after.strip_prefix('}') {
                Some(after) => JsonPrefix::Value(value, text.len() - after.len()),
                None if after.is_empty() && !at_end => JsonPrefix::Unfinished,
                None => JsonPrefix::Value(value, len),
            }
        }
        other => other,
    }
}
