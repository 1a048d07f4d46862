//! Calls in tags that name things in an attribute: `<function name="f"><param name="k">value</param></function>`.
//!
//! So write MiniCPM 5; MiniMax M2 with `invoke` and `parameter` within `<minimax:tool_call>`; DeepSeek V3.2 with
//! `｜DSML｜` in front of each tag, and an attribute that says whether the value is text. Values stand as they are, or in
//! `<![CDATA[…]]>`.
use super::{Arguments, Body, Region, Shape, ToolCall, Tools, Values, families::Family};
use serde_json::{Map, Value};

pub(super) const MINICPM: Family = Family {
    name: "minicpm",
    opens: &["<function name=\""],
    starts: &[],
    inner: &[],
    closers: &['>'],
    body: |region, tools| one(region, &MINICPM_TAGS, tools),
    shape: Shape {
        open: "",
        call: "<function name=\"$name\">$arguments</function>",
        between: Some("\n"),
        close: "",
        arguments: Arguments::Listed {
            one: "<param name=\"$key\">$value</param>",
            between: "",
            values: Values::Bare("</param>"),
        },
    },
};
pub(super) const MINIMAX: Family = Family {
    name: "minimax",
    opens: &["<minimax:tool_call>"],
    starts: &[],
    inner: &["</minimax:tool_call>"],
    closers: &['>'],
    body: |region, tools| block(region, "</minimax:tool_call>", &MINIMAX_TAGS, tools),
    shape: Shape {
        open: "<minimax:tool_call>\n",
        call: "<invoke name=\"$name\">\n$arguments</invoke>",
        between: Some("\n"),
        close: "\n</minimax:tool_call>",
        arguments: Arguments::Listed {
            one: "<parameter name=\"$key\">$value</parameter>\n",
            between: "",
            values: Values::Bare("</parameter>"),
        },
    },
};
pub(super) const DSML: Family = Family {
    name: "dsml",
    opens: &["<｜DSML｜function_calls>", "<｜DSML｜tool_calls>"],
    starts: &[],
    inner: &["｜DSML｜"],
    closers: &['>'],
    body: |region, tools| {
        let close = format!("</{}", &region.marker[1..]);
        block(region, &close, &DSML_TAGS, tools)
    },
    shape: Shape {
        open: "<｜DSML｜function_calls>\n",
        call: "<｜DSML｜invoke name=\"$name\">\n$arguments</｜DSML｜invoke>",
        between: Some("\n"),
        close: "\n</｜DSML｜function_calls>",
        arguments: Arguments::Listed {
            one: "<｜DSML｜parameter name=\"$key\" string=\"$is_text\">$value</｜DSML｜parameter>\n",
            between: "",
            values: Values::Bare("</｜DSML｜parameter>"),
        },
    },
};

/// How the tags of one family begin and end.
struct Tags {
    call: &'static str,
    call_end: &'static str,
    argument: &'static str,
    argument_end: &'static str,
}

const MINICPM_TAGS: Tags = Tags {
    call: "<function name=\"",
    call_end: "</function>",
    argument: "<param name=\"",
    argument_end: "</param>",
};
const MINIMAX_TAGS: Tags = Tags {
    call: "<invoke name=\"",
    call_end: "</invoke>",
    argument: "<parameter name=\"",
    argument_end: "</parameter>",
};
const DSML_TAGS: Tags = Tags {
    call: "<｜DSML｜invoke name=\"",
    call_end: "</｜DSML｜invoke>",
    argument: "<｜DSML｜parameter name=\"",
    argument_end: "</｜DSML｜parameter>",
};
const CDATA: &str = "<![CDATA[";
const CDATA_END: &str = "]]>";

/// Why there is no call yet, or none at all.
enum Miss {
    /// The text ends too early.
    Early,
    /// It is something else.
    Other,
}

/// A region that is one call, its opening tag being the marker.
fn one(region: Region<'_>, tags: &Tags, tools: &Tools) -> Body {
    match call(region.text, tags, tools) {
        Ok((call, rest)) => Body::Calls(vec![call], region.text.len() - rest.len()),
        Err(Miss::Early) => Body::More,
        Err(Miss::Other) => Body::Text,
    }
}

/// A region that holds calls, one after another, up to `close`; it may be missing at the end of the text.
fn block(region: Region<'_>, close: &str, tags: &Tags, tools: &Tools) -> Body {
    let mut calls = Vec::new();
    let mut rest = region.text.trim_start();
    loop {
        let is_end = rest.is_empty() && region.at_end;
        if rest.starts_with(close) || is_end {
            let len = region.text.len() - rest.len();
            return match calls.is_empty() {
                true => Body::Text,
                false => Body::Calls(calls, region.with_close(len, close)),
            };
        }
        let Some(text) = rest.strip_prefix(tags.call) else {
            return match [close, tags.call].iter().any(|tag| tag.starts_with(rest)) {
                true => Body::More,
                false => Body::Text,
            };
        };
        match call(text, tags, tools) {
            Ok((call, after)) => {
                calls.push(call);
                rest = after.trim_start();
            }
            Err(Miss::Early) => return Body::More,
            Err(Miss::Other) => return Body::Text,
        }
    }
}

/// The call whose opening tag ends in `text`, and what follows it.
fn call<'a>(text: &'a str, tags: &Tags, tools: &Tools) -> Result<(ToolCall, &'a str), Miss> {
    let (name, _, mut rest) = rest_of_tag(text)?;
    if !tools.has(name) {
        return Err(Miss::Other);
    }
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(tags.call_end) {
            let call = tools.call(name, arguments).ok_or(Miss::Other)?;
            return Ok((call, after));
        }
        let Some(tag) = rest.strip_prefix(tags.argument) else {
            let may_come = [tags.call_end, tags.argument];
            return Err(match may_come.iter().any(|tag| tag.starts_with(rest)) {
                true => Miss::Early,
                false => Miss::Other,
            });
        };
        let (key, attributes, text) = rest_of_tag(tag)?;
        let (value, after) = value(text, tags)?;
        let value = if attributes.contains("string=\"true\"") {
            Value::from(value)
        } else {
            tools.typed(name, key, value)
        };
        arguments.insert(key.to_owned(), value);
        rest = after;
    }
}

/// The name that an opening tag ends with, further attributes, and what follows the tag.
fn rest_of_tag(text: &str) -> Result<(&str, &str, &str), Miss> {
    let end = text.find(['>', '\n']).ok_or(Miss::Early)?;
    let rest = text[end..].strip_prefix('>').ok_or(Miss::Other)?;
    let (name, attributes) = text[..end].split_once('"').ok_or(Miss::Other)?;
    Ok((name, attributes, rest))
}

/// A value and what follows its closing tag.
fn value<'a>(text: &'a str, tags: &Tags) -> Result<(&'a str, &'a str), Miss> {
    if let Some(data) = text.trim_start().strip_prefix(CDATA) {
        let (value, after) = data.split_once(CDATA_END).ok_or(Miss::Early)?;
        let after = after.trim_start();
        return match after.strip_prefix(tags.argument_end) {
            Some(after) => Ok((value, after)),
            None if tags.argument_end.starts_with(after) => Err(Miss::Early),
            None => Err(Miss::Other),
        };
    }
    text.split_once(tags.argument_end).ok_or(Miss::Early)
}
