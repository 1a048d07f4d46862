//! Calls in sections: between the marks of one call stand its name, a mark, and the arguments as JSON.
//!
//! DeepSeek: `name<｜tool▁sep｜>{…}` (V3.1), or `function<｜tool▁sep｜>name` and the arguments in a fence of JSON (V3, R1 and
//! what was distilled from it). Kimi K2: `functions.name:0<|tool_call_argument_begin|>{…}`.
use super::{Body, Region, Shape, ToolCall, Tools, families::Family};

pub(super) const FAMILY: Family = Family {
    name: "deepseek",
    opens: &[DEEPSEEK.all_begin, DEEPSEEK.begin],
    starts: &[],
    inner: &[DEEPSEEK.separator, DEEPSEEK.end, DEEPSEEK.all_end],
    closers: &['>'],
    body: |region, tools| body(region, &DEEPSEEK, tools),
    shape: Shape::json(
        DEEPSEEK.all_begin,
        "<｜tool▁call▁begin｜>$name<｜tool▁sep｜>$arguments<｜tool▁call▁end｜>",
        "",
        DEEPSEEK.all_end,
    ),
};
/// V3 and R1.
pub(super) const DEEPSEEK3: Family = Family {
    shape: Shape::json(
        DEEPSEEK.all_begin,
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>$name\n```json\n$arguments\n```<｜tool▁call▁end｜>",
        "\n",
        DEEPSEEK.all_end,
    ),
    ..FAMILY
};
pub(super) const KIMI: Family = Family {
    name: "kimi",
    opens: &[KIMI_MARKS.all_begin, KIMI_MARKS.begin],
    starts: &[],
    inner: &[KIMI_MARKS.separator, KIMI_MARKS.end, KIMI_MARKS.all_end],
    closers: &['>'],
    body: |region, tools| body(region, &KIMI_MARKS, tools),
    shape: Shape::json(
        KIMI_MARKS.all_begin,
        "<|tool_call_begin|>functions.$name:$n<|tool_call_argument_begin|>$arguments<|tool_call_end|>",
        "",
        KIMI_MARKS.all_end,
    ),
};

/// What stands around all calls, around one, and between name and arguments.
struct Marks {
    all_begin: &'static str,
    all_end: &'static str,
    begin: &'static str,
    end: &'static str,
    separator: &'static str,
}

const DEEPSEEK: Marks = Marks {
    all_begin: "<｜tool▁calls▁begin｜>",
    all_end: "<｜tool▁calls▁end｜>",
    begin: "<｜tool▁call▁begin｜>",
    end: "<｜tool▁call▁end｜>",
    separator: "<｜tool▁sep｜>",
};
const KIMI_MARKS: Marks = Marks {
    all_begin: "<|tool_calls_section_begin|>",
    all_end: "<|tool_calls_section_end|>",
    begin: "<|tool_call_begin|>",
    end: "<|tool_call_end|>",
    separator: "<|tool_call_argument_begin|>",
};

fn body(region: Region<'_>, marks: &Marks, tools: &Tools) -> Body {
    let is_all = region.marker == marks.all_begin;
    let Some((inner, len)) = region.until(if is_all { marks.all_end } else { marks.end }) else {
        return Body::More;
    };
    let calls = if is_all {
        let each = inner.split(marks.begin).skip(1);
        each.map(|call| {
            let call = call.split(marks.end).next().unwrap_or_default();
            read(call, marks, tools)
        })
        .collect()
    } else {
        read(inner, marks, tools).map(|call| vec![call])
    };
    match calls {
        Some(calls) => Body::Calls(calls, len),
        None => Body::Text,
    }
}

fn read(call: &str, marks: &Marks, tools: &Tools) -> Option<ToolCall> {
    let (first, second) = call.split_once(marks.separator)?;
    let (name, json) = if second.trim_start().starts_with('{') {
        (first, second)
    } else {
        let (name, fence) = second.split_once("```json")?;
        (name, fence.split("```").next()?)
    };
    match serde_json::from_str(json.trim()).ok()? {
        serde_json::Value::Object(arguments) => tools.call(name_of(name.trim(), tools), arguments),
        _ => None,
    }
}

/// The tool in an identifier like `functions.name:0`.
fn name_of<'a>(id: &'a str, tools: &Tools) -> &'a str {
    if tools.has(id) {
        return id;
    }
    let name = id.strip_prefix("functions.").unwrap_or(id);
    match name.rsplit_once(':') {
        Some((name, index)) if index.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    }
}
