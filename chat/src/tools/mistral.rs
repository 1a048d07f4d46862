//! Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, and since Small 3.2 `[TOOL_CALLS]name[ARGS]{…}` with a
//! `[CALL_ID]id` between them in some.
use super::{
    Body, Region, Tools,
    call::{JsonPrefix, json_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    opens: &["[TOOL_CALLS]"],
    starts: &[],
    inner: &["[CALL_ID]", ARGS],
    closers: &['}', ']'],
    body,
};
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
    let Some(at) = tail.find(ARGS) else {
        return if tail.is_empty() || tail.starts_with('[') || tail.starts_with('{') {
            without_marker(region, name, tail, tools)
        } else {
            Body::Text
        };
    };
    if !(at == 0 || tail.starts_with("[CALL_ID]")) {
        return Body::Text;
    }
    arguments(region, name, &tail[at + ARGS.len()..], tools)
}

/// A tokenizer that hides `[ARGS]` leaves the name and the arguments side by side.
fn without_marker(region: Region<'_>, name: &str, tail: &str, tools: &Tools) -> Body {
    if tail.starts_with('{') {
        return arguments(region, name, tail, tools);
    }
    Body::More
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
