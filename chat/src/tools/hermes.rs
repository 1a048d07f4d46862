//! Hermes, Qwen2.5, Qwen3, Granite 4, SmolLM3: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`. One block may
//! hold several objects.
use super::{
    Body, Region, Tools,
    call::{JsonPrefix, json_prefix},
    families::Family,
};

pub(super) const FAMILY: Family = Family {
    name: "hermes",
    opens: &["<tool_call>"],
    starts: &[],
    closers: &['>', '}', '{'],
    body,
};
const CLOSE: &str = "</tool_call>";

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let mut calls = Vec::new();
    let mut len = 0;
    loop {
        let rest = &region.text[len..];
        if rest.trim_start().starts_with(CLOSE) {
            return Body::Calls(calls, region.with_close(len, CLOSE));
        }
        if region.may_close(len, CLOSE) {
            return Body::More;
        }
        // a number would be complete or not by what the next chunk brings
        if !calls.is_empty() && !rest.trim_start().starts_with(['{', '[']) {
            return Body::Calls(calls, len); // the closing tag is missing
        }
        match json_prefix(rest) {
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
