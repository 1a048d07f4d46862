//! Command R7B and A: `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`. Command R and R+ put the
//! same list into a fence of JSON behind `Action:`.
use super::{
    Body, Region, Shape, Tools,
    call::{JsonPrefix, json_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "cohere",
    opens: &["<|START_ACTION|>"],
    starts: &[],
    inner: &[END_ACTION],
    closers: &['>'],
    body: |region, tools| list(region, 0, END_ACTION, tools),
    shape: Shape::json(
        "<|START_ACTION|>[\n    ",
        "{\"tool_call_id\": \"$n\", \"tool_name\": \"$name\", \"parameters\": $arguments}",
        ",\n    ",
        "\n]<|END_ACTION|>",
    ),
};
pub(super) const ACTION: Family = Family {
    name: "action",
    opens: &["Action:"],
    starts: &[],
    inner: &[],
    closers: &['`', ']', '}'],
    body: fence,
    shape: Shape::json(
        "Action:```json\n[\n",
        "    {\n        \"tool_name\": \"$name\",\n        \"parameters\": $arguments\n    }",
        ",\n",
        "\n]\n```",
    ),
};
const END_ACTION: &str = "<|END_ACTION|>";
const FENCE: &str = "```json";
const FENCE_END: &str = "```";

fn fence(region: Region<'_>, tools: &Tools) -> Body {
    let text = region.text.trim_start();
    if FENCE.starts_with(text) {
        return Body::More;
    }
    match text.strip_prefix(FENCE) {
        Some(json) => list(region, region.text.len() - json.len(), FENCE_END, tools),
        None => Body::Text,
    }
}

/// The list that begins at `start`, up to `close`.
fn list(region: Region<'_>, start: usize, close: &str, tools: &Tools) -> Body {
    match json_prefix(&region.text[start..]) {
        JsonPrefix::Value(value, len) => match tools.calls_in(&value) {
            Some(_) if region.may_close(start + len, close) => Body::More,
            Some(calls) => Body::Calls(calls, region.with_close(start + len, close)),
            None => Body::Text,
        },
        JsonPrefix::Unfinished => Body::More,
        JsonPrefix::Invalid => Body::Text,
    }
}
