//! Granite 3 and Phi-4-mini: `<|tool_call|>[{"name": …, "arguments": {…}}, …]`, closed or not, and `functools[…]`.
use super::{
    Body, Region, Shape, Tools,
    call::{JsonPrefix, json_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "list",
    opens: &["<|tool_call|>", "<tool_call>", "functools"],
    starts: &[],
    inner: &["<|/tool_call|>", "</tool_call>"],
    closers: &[']', '}', '>'],
    body,
    shape: Shape::json("<|tool_call|>[", CALL, ", ", "]"),
};
/// Phi-4-mini of other templates.
pub(super) const FUNCTOOLS: Family = Family {
    shape: Shape::json("functools[", CALL, ", ", "]"),
    ..FAMILY
};
const CALL: &str = "{\"name\": \"$name\", \"arguments\": $arguments}";

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let close = match region.marker {
        "<|tool_call|>" => "<|/tool_call|>",
        "<tool_call>" => "</tool_call>",
        _ => "",
    };
    match json_prefix(region.text) {
        JsonPrefix::Value(value, len) => match tools.calls_in(&value) {
            Some(_) if !close.is_empty() && region.may_close(len, close) => Body::More,
            Some(calls) => Body::Calls(calls, region.with_close(len, close)),
            None => Body::Text,
        },
        JsonPrefix::Unfinished => Body::More,
        JsonPrefix::Invalid => Body::Text,
    }
}
