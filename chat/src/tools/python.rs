//! Calls in Python's syntax with keyword arguments: LFM2 writes a list of them between markers, OLMo 3 one in each line
//! within `<function_calls>`, Gemma 2 and 3 are asked for them in a fence called `tool_code`.
use super::{Arguments, Body, Region, Shape, ToolCall, Tools, Values, families::Family};
use serde_json::{Map, Value};

pub(super) const LFM2: Family = Family {
    name: "lfm2",
    opens: &["<|tool_call_start|>"],
    starts: &[],
    inner: &["<|tool_call_end|>"],
    closers: &['>', ']'],
    body: |region, tools| calls(region, "<|tool_call_end|>", tools),
    shape: Shape {
        open: "<|tool_call_start|>[",
        between: Some(", "),
        close: "]<|tool_call_end|>",
        ..CALL
    },
};
pub(super) const OLMO3: Family = Family {
    name: "olmo3",
    opens: &["<function_calls>"],
    starts: &[],
    inner: &["</function_calls>"],
    closers: &['>', ')'],
    body: |region, tools| calls(region, "</function_calls>", tools),
    shape: Shape {
        open: "<function_calls>\n",
        close: "\n</function_calls>",
        ..CALL
    },
};
pub(super) const TOOL_CODE: Family = Family {
    name: "tool-code",
    opens: &["```tool_code"],
    starts: &[],
    inner: &[],
    closers: &['`'],
    body: |region, tools| calls(region, "```", tools),
    shape: Shape {
        open: "```tool_code\n",
        close: "\n```",
        ..CALL
    },
};
/// What they have in common: values in JSON are read as well.
const CALL: Shape = Shape {
    open: "",
    call: "$name($arguments)",
    between: Some("\n"),
    close: "",
    arguments: Arguments::Listed {
        one: "$key=$value",
        between: ", ",
        values: Values::Json,
    },
};
/// Deepest nesting of values.
const MAX_DEPTH: usize = 64;

fn calls(region: Region<'_>, close: &str, tools: &Tools) -> Body {
    let Some((inner, len)) = region.until(close) else {
        return Body::More;
    };
    let mut reader = Reader { rest: inner };
    match reader.calls().filter(|_| reader.is_done()) {
        Some(calls) if calls.iter().all(|call| tools.has(&call.name)) => Body::Calls(calls, len),
        _ => Body::Text,
    }
}

/// How reading one call went.
pub(super) enum Parsed {
    /// A call of so many bytes.
    Done(ToolCall, usize),
    /// It may be one with more text.
    Unfinished,
    /// No call.
    Invalid,
}

/// Reads the call at the start of `text`.
pub(super) fn call(text: &str) -> Parsed {
    let mut reader = Reader { rest: text };
    match reader.call() {
        Some(call) => Parsed::Done(call, text.len() - reader.rest.len()),
        None if reader.is_done() => Parsed::Unfinished,
        None => Parsed::Invalid,
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn is_done(&self) -> bool {
        self.rest.trim().is_empty()
    }

    fn take(&mut self, text: &str) -> bool {
        let trimmed = self.rest.trim_start();
        self.rest = trimmed.strip_prefix(text).unwrap_or(trimmed);
        self.rest.len() < trimmed.len()
    }

    /// Calls in brackets, or one after another.
    fn calls(&mut self) -> Option<Vec<ToolCall>> {
        let in_brackets = self.take("[");
        let mut calls = Vec::new();
        loop {
            if in_brackets && self.take("]") {
                break;
            }
            if !in_brackets && self.is_done() {
                break;
            }
            calls.push(self.call()?);
            self.take(",");
        }
        (!calls.is_empty()).then_some(calls)
    }

    fn call(&mut self) -> Option<ToolCall> {
        let name = self.name()?.to_owned();
        if !self.take("(") {
            return None;
        }
        let mut arguments = Map::new();
        while !self.take(")") {
            let key = self.name()?.to_owned();
            if !self.take("=") {
                return None;
            }
            let value = self.value(0)?;
            arguments.insert(key, value);
            if !self.take(",") && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(ToolCall { name, arguments })
    }

    fn name(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let tail = self
            .rest
            .trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
        let name = &self.rest[..self.rest.len() - tail.len()];
        self.rest = tail;
        (!name.is_empty()).then_some(name)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        match first {
            '"' | '\'' => Some(Value::String(self.text(first)?)),
            '[' | '(' => {
                self.take(if first == '[' { "[" } else { "(" });
                let close = if first == '[' { "]" } else { ")" };
                let mut items = Vec::new();
                while !self.take(close) {
                    items.push(self.value(depth + 1)?);
                    if !self.take(",") && !self.rest.trim_start().starts_with(close) {
                        return None;
                    }
                }
                Some(items.into())
            }
            '{' => {
                self.take("{");
                let mut members = Map::new();
                while !self.take("}") {
                    let key = match self.value(depth + 1)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    if !self.take(":") {
                        return None;
                    }
                    let value = self.value(depth + 1)?;
                    members.insert(key, value);
                    if !self.take(",") && !self.rest.trim_start().starts_with('}') {
                        return None;
                    }
                }
                Some(members.into())
            }
            _ => {
                let tail = self.rest.trim_start_matches(|c: char| {
                    c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')
                });
                let word = &self.rest[..self.rest.len() - tail.len()];
                self.rest = tail;
                match word {
                    "True" | "true" => Some(true.into()),
                    "False" | "false" => Some(false.into()),
                    "None" | "null" => Some(Value::Null),
                    number => serde_json::from_str::<Value>(number)
                        .ok()
                        .filter(Value::is_number),
                }
            }
        }
    }

    fn text(&mut self, quote: char) -> Option<String> {
        let mut out = String::new();
        // a text that its quote does not end leaves nothing: wherever it is cut, more may come
        let all = std::mem::take(&mut self.rest);
        let mut chars = all.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &all[at + 1..];
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'b' => out.push('\u{8}'),
                    'f' => out.push('\u{c}'),
                    '\n' => {}
                    c @ ('\\' | '\'' | '"') => out.push(c),
                    'u' => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    other => {
                        out.push('\\');
                        out.push(other);
                    }
                },
                c => out.push(c),
            }
        }
        None
    }
}
