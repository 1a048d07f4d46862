//! Gemma's own notation: `call:name{key:value,…}`, where texts stand between marks of their own. Gemma 4 puts it between
//! `<|tool_call>` and `<tool_call|>`, with `<|"|>` around texts; FunctionGemma between `<start_function_call>` and its end,
//! with `<escape>`.
use super::{Arguments, Body, Region, Shape, ToolCall, Tools, Values, families::Family};
use serde_json::{Map, Value};

pub(super) const GEMMA4: Family = Family {
    name: "gemma4",
    opens: &["<|tool_call>"],
    starts: &[],
    inner: &["<tool_call|>", "<|\"|>"],
    closers: &['>', '}'],
    body: |region, tools| calls(region, "<tool_call|>", "<|\"|>", tools),
    shape: Shape {
        open: "",
        call: "<|tool_call>call:$name{$arguments}<tool_call|>",
        between: Some(""),
        close: "",
        arguments: Arguments::Listed {
            one: "$key:$value",
            between: ",",
            values: Values::Marked("<|\"|>"),
        },
    },
};
pub(super) const FUNCTION_GEMMA: Family = Family {
    name: "function-gemma",
    opens: &["<start_function_call>"],
    starts: &[],
    inner: &["<end_function_call>", "<escape>"],
    closers: &['>', '}'],
    body: |region, tools| calls(region, "<end_function_call>", "<escape>", tools),
    shape: Shape {
        open: "",
        call: "<start_function_call>call:$name{$arguments}<end_function_call>",
        between: Some(""),
        close: "",
        arguments: Arguments::Listed {
            one: "$key:$value",
            between: ",",
            values: Values::Marked("<escape>"),
        },
    },
};
/// Deepest nesting of values.
const MAX_DEPTH: usize = 64;

fn calls(region: Region<'_>, close: &str, mark: &str, tools: &Tools) -> Body {
    let Some((inner, len)) = region.until(close) else {
        return Body::More;
    };
    let mut reader = Reader { rest: inner, mark };
    match reader.call() {
        Some(call) if tools.has(&call.name) && reader.rest.trim().is_empty() => {
            Body::Calls(vec![call], len)
        }
        _ => Body::Text,
    }
}

struct Reader<'a> {
    rest: &'a str,
    mark: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        let trimmed = self.rest.trim_start();
        self.rest = trimmed.strip_prefix(text).unwrap_or(trimmed);
        self.rest.len() < trimmed.len()
    }

    fn call(&mut self) -> Option<ToolCall> {
        if !self.take("call:") {
            return None;
        }
        let (name, _) = self.rest.split_once('{')?;
        let name = name.trim().to_owned();
        self.rest = &self.rest[self.rest.find('{')?..];
        match self.value(0)? {
            Value::Object(arguments) => Some(ToolCall { name, arguments }),
            _ => None,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mark = self.mark;
        if self.take(mark) {
            let (text, rest) = self.rest.split_once(mark)?;
            self.rest = rest;
            return Some(text.into());
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.value(depth + 1)?);
                if !self.take(",") && !self.rest.trim_start().starts_with(']') {
                    return None;
                }
            }
            return Some(items.into());
        }
        if self.take("{") {
            let mut members = Map::new();
            while !self.take("}") {
                let key = if self.rest.starts_with(mark) {
                    match self.value(depth + 1)? {
                        Value::String(key) => key,
                        _ => return None,
                    }
                } else {
                    let (key, _) = self.rest.split_once(':')?;
                    let key = key.to_owned();
                    self.rest = &self.rest[key.len()..];
                    key.trim().to_owned()
                };
                if !self.take(":") {
                    return None;
                }
                let value = self.value(depth + 1)?;
                members.insert(key, value);
                if !self.take(",") && !self.rest.trim_start().starts_with('}') {
                    return None;
                }
            }
            return Some(members.into());
        }
        let end = self.rest.find([',', '}', ']']).unwrap_or(self.rest.len());
        let word = self.rest[..end].trim();
        let value = serde_json::from_str(word).ok();
        self.rest = &self.rest[end..];
        // a text without marks around it, as weaker models write
        value.or_else(|| (!word.is_empty()).then(|| word.into()))
    }
}
