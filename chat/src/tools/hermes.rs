//! Hermes, Qwen2.5, Qwen3, Granite 4, SmolLM3, Ernie: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`. One block may
//! hold several objects, or a list of them: so write Hunyuan, Apriel and MiniMax M1 in `<tool_calls>`, Nemotron Nano 2 in
//! `<TOOLCALL>`. Qwen2.5 and its coders often leave the tags away, or write the object in a code fence or in the tags
//! of the list of tools: at the start of a message these are calls as well.
use super::{
    Body, Region, Shape, Tools, bare_json,
    call::{JsonPrefix, call_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "hermes",
    opens: &["<tool_call>"],
    starts: &["{", "```json", "<tools>"],
    inner: &["</tool_call>", "</tools>"],
    closers: &['>', '}', '{', '`'],
    body: |region, tools| match region.marker {
        "<tool_call>" => body(region, "</tool_call>", tools),
        "<tools>" => body(region, "</tools>", tools),
        _ => bare_json::body(region, tools),
    },
    shape: Shape::json(
        "",
        "<tool_call>\n{\"name\": \"$name\", \"arguments\": $arguments}\n</tool_call>",
        "\n",
        "",
    ),
};
pub(super) const TOOL_CALLS: Family = Family {
    name: "tool-calls",
    opens: &["<tool_calls>"],
    starts: &[],
    inner: &["</tool_calls>"],
    closers: &['>', '}', '{', ']'],
    body: |region, tools| body(region, "</tool_calls>", tools),
    shape: Shape::json(
        "<tool_calls>[",
        "{\"name\": \"$name\", \"arguments\": $arguments}",
        ", ",
        "]</tool_calls>",
    ),
};
pub(super) const NEMOTRON: Family = Family {
    name: "nemotron",
    opens: &["<TOOLCALL>"],
    starts: &[],
    inner: &["</TOOLCALL>"],
    closers: &['>', '}', '{', ']'],
    body: |region, tools| body(region, "</TOOLCALL>", tools),
    shape: Shape::json(
        "<TOOLCALL>[",
        "{\"name\": \"$name\", \"arguments\": $arguments}",
        ", ",
        "]</TOOLCALL>",
    ),
};

fn body(region: Region<'_>, close: &str, tools: &Tools) -> Body {
    let mut calls = Vec::new();
    let mut len = 0;
    loop {
        let rest = &region.text[len..];
        if rest.trim_start().starts_with(close) {
            return Body::Calls(calls, region.with_close(len, close));
        }
        if region.may_close(len, close) {
            return Body::More;
        }
        // a number would be complete or not by what the next chunk brings
        if !calls.is_empty() && !rest.trim_start().starts_with(['{', '[']) {
            return Body::Calls(calls, len); // the closing tag is missing
        }
        match call_prefix(rest, region.at_end) {
            JsonPrefix::Value(value, value_len) => {
                let Some(more) = tools.calls_in(&value) else {
                    return Body::Text;
                };
                calls.extend(more);
                len += value_len;
            }
            JsonPrefix::Unfinished if !region.at_end => return Body::More,
            _ if !calls.is_empty() => return Body::Calls(calls, len),
            _ => return Body::Text,
        }
    }
}
