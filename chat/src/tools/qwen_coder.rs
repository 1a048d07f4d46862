//! Qwen3-Coder, Qwen3.5, Nemotron 3: `<tool_call><function=name><parameter=key>` value `</parameter>…</function></tool_call>`.
//! The outer tag is often left out. Values stand as they are, with a line break at both ends. Seed-OSS has
//! `<seed:tool_call>` around the same.
use super::{Arguments, Body, Region, Shape, Tools, Values, families::Family};
use serde_json::Map;

pub(super) const FAMILY: Family = Family {
    name: "qwen-coder",
    opens: &["<tool_call>", FUNCTION],
    starts: &[],
    inner: &["</tool_call>"],
    closers: &['>'],
    body: |region, tools| body(region, "</tool_call>", tools),
    shape: Shape {
        open: "",
        call: "<tool_call>\n<function=$name>\n$arguments</function>\n</tool_call>",
        between: Some("\n"),
        close: "",
        arguments: Arguments::Listed {
            one: "<parameter=$key>\n$value\n</parameter>\n",
            between: "",
            values: Values::Bare(PARAMETER_END),
        },
    },
};
pub(super) const SEED: Family = Family {
    name: "seed",
    opens: &["<seed:tool_call>", FUNCTION],
    starts: &[],
    inner: &["</seed:tool_call>"],
    closers: &['>'],
    body: |region, tools| body(region, "</seed:tool_call>", tools),
    shape: Shape {
        open: "",
        call: "<seed:tool_call>\n<function=$name>\n$arguments</function>\n</seed:tool_call>",
        between: Some("\n"),
        close: "",
        arguments: Arguments::Listed {
            one: "<parameter=$key>$value</parameter>\n",
            between: "",
            values: Values::Bare(PARAMETER_END),
        },
    },
};
const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";

fn body(region: Region<'_>, close: &str, tools: &Tools) -> Body {
    let mut text = region.text;
    if region.marker != FUNCTION {
        let trimmed = text.trim_start();
        if trimmed.len() < FUNCTION.len() && FUNCTION.starts_with(trimmed) {
            return Body::More;
        }
        match trimmed.strip_prefix(FUNCTION) {
            Some(rest) => text = rest,
            None => return Body::Text,
        }
    }
    let Some(end) = text.find(['>', '\n']) else {
        return Body::More;
    };
    let Some(mut rest) = text[end..].strip_prefix('>') else {
        return Body::Text;
    };
    let name = text[..end].trim();
    if !tools.has(name) {
        return Body::Text;
    }
    let mut arguments = Map::new();
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix(FUNCTION_END) {
            let len = region.text.len() - after.len();
            if region.may_close(len, close) {
                return Body::More;
            }
            return match tools.call(name, arguments) {
                Some(call) => Body::Calls(vec![call], region.with_close(len, close)),
                None => Body::Text,
            };
        }
        let Some(after) = trimmed.strip_prefix(PARAMETER) else {
            let may_come = [FUNCTION_END, PARAMETER]
                .iter()
                .any(|tag| tag.starts_with(trimmed));
            return if may_come { Body::More } else { Body::Text };
        };
        let Some((key, value)) = after.split_once('>') else {
            return Body::More;
        };
        let Some(end) = value.find(PARAMETER_END) else {
            return Body::More;
        };
        let text = &value[..end];
        let text = text.strip_prefix('\n').unwrap_or(text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let key = key.trim();
        arguments.insert(key.to_owned(), tools.typed(name, key, text));
        rest = &value[end + PARAMETER_END.len()..];
    }
}
