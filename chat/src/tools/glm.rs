//! GLM: `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value>…</tool_call>`. Nothing but the closing tag
//! says that no argument follows, so it must be there.
use super::{Arguments, Body, Region, Shape, Tools, Values, families::Family};
use serde_json::Map;

pub(super) const FAMILY: Family = Family {
    name: "glm",
    opens: &["<tool_call>"],
    starts: &[],
    inner: &[
        CLOSE,
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
    ],
    closers: &['>'],
    body,
    shape: Shape {
        open: "",
        call: "<tool_call>$name\n$arguments</tool_call>",
        between: Some("\n"),
        close: "",
        arguments: Arguments::Listed {
            one: "<arg_key>$key</arg_key>\n<arg_value>$value</arg_value>\n",
            between: "",
            values: Values::Bare("</arg_value>"),
        },
    },
};
const CLOSE: &str = "</tool_call>";

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let Some(at) = region.text.find(CLOSE) else {
        return Body::More;
    };
    match read(&region.text[..at], tools) {
        Some(call) => Body::Calls(vec![call], at + CLOSE.len()),
        None => Body::Text,
    }
}

fn read(inner: &str, tools: &Tools) -> Option<super::ToolCall> {
    let name_len = inner.find("<arg_key>").unwrap_or(inner.len());
    let name = inner[..name_len].trim();
    let mut rest = inner[name_len..].trim_start();
    let mut arguments = Map::new();
    while !rest.is_empty() {
        let (key, after) = rest.strip_prefix("<arg_key>")?.split_once("</arg_key>")?;
        let after = after.trim_start().strip_prefix("<arg_value>")?;
        let (value, after) = after.split_once("</arg_value>")?;
        arguments.insert(key.to_owned(), tools.typed(name, key, value));
        rest = after.trim_start();
    }
    tools.call(name, arguments)
}
