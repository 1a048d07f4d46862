//! The message itself is the call: `{"name": …, "parameters": {…}}`. Llama 3 may put `<|python_tag|>` in front, and
//! several calls follow each other with `;` or a line break. Also the fallback for models without markers.
use super::{
    Body, Region, Shape, Tools,
    call::{JsonPrefix, call_prefix, json_prefix},
    families::Family,
    python,
};

pub(super) const LLAMA3: Family = Family {
    name: "llama3",
    opens: &["<|python_tag|>"],
    starts: &["{", "["],
    inner: &[],
    closers: &['}', ']', ')', '>'],
    body,
    shape: Shape::json(
        "",
        "{\"name\": \"$name\", \"parameters\": $arguments}",
        "; ",
        "",
    ),
};
pub(super) const ANY: Family = Family {
    name: "json",
    opens: &[],
    starts: &["{", "[", "```json"],
    inner: &[],
    closers: &['}', ']', '`'],
    body,
    shape: Shape::json(
        "",
        "{\"name\": \"$name\", \"arguments\": $arguments}",
        "\n",
        "",
    ),
};

pub(super) fn body(region: Region<'_>, tools: &Tools) -> Body {
    match region.marker {
        "<|python_tag|>" if region.text.trim_start().starts_with(['{', '[']) => {
            match json_prefix(region.text) {
                JsonPrefix::Value(value, len) => match tools.calls_in(&value) {
                    Some(calls) => Body::Calls(calls, len),
                    None => Body::Text,
                },
                JsonPrefix::Unfinished => Body::More,
                JsonPrefix::Invalid => Body::Text,
            }
        }
        "<|python_tag|>" => python_call(region, tools),
        "```json" => {
            let Some((json, len)) = region.until("```") else {
                return Body::More;
            };
            let calls = match call_prefix(json, true) {
                JsonPrefix::Value(value, end) if json[end..].trim().is_empty() => {
                    tools.calls_in(&value)
                }
                _ => None,
            };
            calls.map_or(Body::Text, |calls| Body::Calls(calls, len))
        }
        brace => {
            // the brace belongs to the value
            let text = format!("{brace}{}", region.text);
            match call_prefix(&text, region.at_end) {
                JsonPrefix::Value(value, len) => match tools.calls_in(&value) {
                    Some(calls) => Body::Calls(calls, len - brace.len()),
                    None => Body::Text,
                },
                JsonPrefix::Unfinished => Body::More,
                JsonPrefix::Invalid => Body::Text,
            }
        }
    }
}

/// `name.call(key="value")`, as Llama 3.1 writes calls of its built-in tools.
fn python_call(region: Region<'_>, tools: &Tools) -> Body {
    match python::call(region.text) {
        python::Parsed::Done(call, len) => {
            let name = call.name.strip_suffix(".call").unwrap_or(&call.name);
            match tools.call(name, call.arguments) {
                Some(call) => Body::Calls(vec![call], len),
                None => Body::Text,
            }
        }
        python::Parsed::Unfinished => Body::More,
        python::Parsed::Invalid => Body::Text,
    }
}
