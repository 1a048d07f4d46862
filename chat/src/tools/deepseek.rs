//! DeepSeek: between `<｜tool▁call▁begin｜>` and its end, `name<｜tool▁sep｜>{…}` (V3.1), or `function<｜tool▁sep｜>name` and
//! the arguments in a fence of JSON (V3, R1 and what was distilled from it).
use super::{Body, Region, ToolCall, Tools, families::Family};

pub(super) const FAMILY: Family = Family {
    name: "deepseek",
    opens: &["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
    starts: &[],
    closers: &['>'],
    body,
};
const ALL_END: &str = "<｜tool▁calls▁end｜>";
const BEGIN: &str = "<｜tool▁call▁begin｜>";
const END: &str = "<｜tool▁call▁end｜>";

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let is_all = region.marker != BEGIN;
    let Some((inner, len)) = region.until(if is_all { ALL_END } else { END }) else {
        return Body::More;
    };
    let calls = if is_all {
        let each = inner.split(BEGIN).skip(1);
        each.map(|call| read(call.split(END).next().unwrap_or_default(), tools))
            .collect()
    } else {
        read(inner, tools).map(|call| vec![call])
    };
    match calls {
        Some(calls) => Body::Calls(calls, len),
        None => Body::Text,
    }
}

fn read(call: &str, tools: &Tools) -> Option<ToolCall> {
    let (first, second) = call.split_once("<｜tool▁sep｜>")?;
    let (name, json) = if second.trim_start().starts_with('{') {
        (first, second)
    } else {
        let (name, fence) = second.split_once("```json")?;
        (name, fence.split("```").next()?)
    };
    match serde_json::from_str(json.trim()).ok()? {
        serde_json::Value::Object(arguments) => tools.call(name.trim(), arguments),
        _ => None,
    }
}
