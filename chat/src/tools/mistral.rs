//! Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, and since Small 3.2 `[TOOL_CALLS]name[ARGS]{…}` with a
//! `[CALL_ID]id` between them in some.
use super::{
    Body, Region, Shape, Tools,
    call::{JsonPrefix, json_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    opens: &["[TOOL_CALLS]"],
    starts: &[],
    inner: &[CALL_ID, ARGS],
    closers: &['}', ']'],
    body,
    shape: Shape::json(
        "[TOOL_CALLS][",
        "{\"name\": \"$name\", \"arguments\": $arguments}",
        ", ",
        "]",
    ),
};
/// Since Small 3.2.
pub(super) const NAMED: Family = Family {
    shape: Shape::json("", "[TOOL_CALLS]$name[ARGS]$arguments", "", ""),
    ..FAMILY
};
const CALL_ID: &str = "[CALL_ID]";
const ARGS: &str = "[ARGS]";

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let text = region.text.trim_start();
    if text.is_empty() {
        return Body::More;
    }
    if text.starts_with(['[', '{']) {
        return match json_prefix(text) {
            JsonPrefix::Value(value, len) => match tools.calls_in(&value) {
                Some(calls) => Body::Calls(calls, region.text.len() - text.len() + len),
                None => Body::Text,
            },
            JsonPrefix::Unfinished => Body::More,
            JsonPrefix::Invalid => Body::Text,
        };
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let tail = text.trim_start_matches(is_name);
    let name = &text[..text.len() - tail.len()];
    if name.is_empty() {
        return Body::Text;
    }
    if let Some(json) = tail.strip_prefix(ARGS) {
        return arguments(region, name, json, tools);
    }
    if let Some(id) = tail.strip_prefix(CALL_ID) {
        return match id.split_once(ARGS) {
            Some((_, json)) => arguments(region, name, json, tools),
            None => Body::More,
        };
    }
    // a tokenizer that hides `[ARGS]` leaves the name and the arguments side by side
    if tail.starts_with('{') {
        return arguments(region, name, tail, tools);
    }
    match [ARGS, CALL_ID].iter().any(|mark| mark.starts_with(tail)) {
        true => Body::More,
        false => Body::Text,
    }
}

fn arguments(region: Region<'_>, name: &str, json: &str, tools: &Tools) -> Body {
    match json_prefix(json) {
        JsonPrefix::Value(serde_json::Value::Object(arguments), len) => {
            match tools.call(name, arguments) {
                Some(call) => Body::Calls(vec![call], region.text.len() - json.len() + len),
                None => Body::Text,
            }
        }
        JsonPrefix::Unfinished => Body::More,
        _ => Body::Text,
    }
}
