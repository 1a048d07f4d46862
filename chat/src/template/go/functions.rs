//! The functions that templates call: Go's own and Ollama's. `and` and `or` are not here: they decide whether their
//! arguments are computed at all.
use super::{format, value::Value};
use std::{cmp::Ordering, fmt::Write as _};

type Function = fn(&[Value], usize) -> Result<Value, String>;

/// Every function: name, fewest and most arguments, what it does. The second argument of the latter is the longest text
/// that it may make.
const FUNCTIONS: &[(&str, usize, usize, Function)] = &[
    ("call", 1, usize::MAX, |_, _| {
        Err("there are no functions among the values that `call` could call".into())
    }),
    ("currentDate", 0, usize::MAX, |_, _| Ok(date(0))),
    ("eq", 2, usize::MAX, |args, _| {
        for other in &args[1..] {
            if equal(&args[0], other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    ("ge", 2, 2, |args, _| compare(args, Ordering::is_ge)),
    ("gt", 2, 2, |args, _| compare(args, Ordering::is_gt)),
    ("html", 0, usize::MAX, |args, limit| {
        escaped(args, limit, html)
    }),
    ("index", 1, usize::MAX, |args, _| index(args)),
    ("js", 0, usize::MAX, |args, limit| escaped(args, limit, js)),
    ("json", 1, 1, |args, limit| {
        let mut out = String::new();
        if !args[0].write_json(&mut out, limit) {
            return Err(too_long(limit));
        }
        Ok(Value::Text(out.into()))
    }),
    ("le", 2, 2, |args, _| compare(args, Ordering::is_le)),
    ("len", 1, 1, |args, _| {
        let len = match &args[0] {
            Value::Text(text) => text.len(),
            Value::List(list) => list.items().len(),
            Value::Object(object) if object.is_map() => object.fields().len(),
            Value::Nil => return Err("`len` of nothing".into()),
            other => return Err(format!("`len` of a {}", other.type_name())),
        };
        Ok(Value::Int(len as i64))
    }),
    ("lt", 2, 2, |args, _| compare(args, Ordering::is_lt)),
    ("ne", 2, 2, |args, _| {
        Ok(Value::Bool(!equal(&args[0], &args[1])?))
    }),
    ("not", 1, 1, |args, _| Ok(Value::Bool(!args[0].is_true()))),
    ("print", 0, usize::MAX, |args, limit| {
        Ok(Value::Text(joined(args, limit)?.into()))
    }),
    ("printf", 1, usize::MAX, |args, limit| match &args[0] {
        Value::Text(pattern) => {
            let text = format::printf(pattern, &args[1..], limit)?;
            Ok(Value::Text(text.into()))
        }
        other => Err(format!(
            "`printf` needs a text first, found a {}",
            other.type_name()
        )),
    }),
    ("println", 0, usize::MAX, |args, limit| {
        let mut out = String::new();
        for (at, arg) in args.iter().enumerate() {
            if at > 0 {
                out.push(' ');
            }
            if !arg.print(&mut out, limit) {
                return Err(too_long(limit));
            }
        }
        out.push('\n');
        Ok(Value::Text(out.into()))
    }),
    ("slice", 1, 4, |args, _| slice(args)),
    ("toTypeScriptType", 1, 1, |args, _| {
        Ok(Value::Text(typescript(&args[0], 0).into()))
    }),
    ("urlquery", 0, usize::MAX, |args, limit| {
        escaped(args, limit, urlquery)
    }),
    ("yesterdayDate", 0, usize::MAX, |_, _| Ok(date(1))),
];

/// Whether templates may name it.
pub(super) fn exists(name: &str) -> bool {
    matches!(name, "and" | "or") || find(name).is_some()
}

fn find(name: &str) -> Option<&'static (&'static str, usize, usize, Function)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name)
}

/// Calls `name`.
///
/// # Errors
/// Wrong arguments, or a text longer than `limit`.
pub(super) fn call(name: &str, arguments: &[Value], limit: usize) -> Result<Value, String> {
    let Some((_, fewest, most, function)) = find(name) else {
        return Err(format!("there is no function `{name}`"));
    };
    if !(*fewest..=*most).contains(&arguments.len()) {
        return Err(format!(
            "`{name}` is given {} values; it takes {}{fewest}",
            arguments.len(),
            if most > fewest { "at least " } else { "" }
        ));
    }
    function(arguments, limit)
}

fn too_long(limit: usize) -> String {
    format!("a text is longer than {limit} bytes")
}

fn date(days_ago: i64) -> Value {
    use jiff::{ToSpan, Zoned};
    let now = Zoned::now();
    let day = now.checked_sub(days_ago.days()).unwrap_or(now);
    Value::text(&day.strftime("%Y-%m-%d").to_string())
}

/// As `eq` compares; kinds that cannot be equal are an error, as in Go, so that a slip of the pen shows.
fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => return Err(incomparable(a, b)),
    })
}

fn incomparable(a: &Value, b: &Value) -> String {
    format!(
        "a {} cannot be compared with a {}",
        a.type_name(),
        b.type_name()
    )
}

fn compare(args: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, String> {
    let ordering = match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (a, b) => return Err(incomparable(a, b)),
    };
    Ok(Value::Bool(ordering.is_some_and(wanted)))
}

/// A place in something that has `len` items.
fn place(value: &Value, len: usize) -> Result<usize, String> {
    let Value::Int(number) = value else {
        return Err(format!(
            "an index must be whole, found a {}",
            value.type_name()
        ));
    };
    usize::try_from(*number)
        .ok()
        .filter(|at| *at <= len)
        .ok_or_else(|| format!("index {number} lies outside of {len} items"))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut item = args[0].clone();
    if matches!(item, Value::Nil) {
        return Err("`index` of nothing".into());
    }
    for key in &args[1..] {
        let outside = |at: usize| format!("index {at} lies outside of its items");
        item = match &item {
            Value::List(list) => {
                let at = place(key, list.items().len())?;
                list.items().get(at).ok_or_else(|| outside(at))?.clone()
            }
            Value::Text(text) => {
                let at = place(key, text.len())?;
                let byte = text.as_bytes().get(at).ok_or_else(|| outside(at))?;
                Value::Int(i64::from(*byte))
            }
            Value::Object(object) if object.is_map() => match key {
                Value::Text(name) => object.get(name).cloned().unwrap_or_default(),
                other => return Err(format!("a map has no {} as a key", other.type_name())),
            },
            other => return Err(format!("`index` of a {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let len = match &args[0] {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        other => return Err(format!("`slice` of a {}", other.type_name())),
    };
    let part = |at: usize, otherwise: usize| match args.get(at) {
        Some(value) => place(value, len),
        None => Ok(otherwise),
    };
    let (start, end) = (part(1, 0)?, part(2, len)?);
    let backwards = || format!("`slice` from {start} to {end} goes backwards");
    if args.len() == 4 && matches!(args[0], Value::Text(_)) {
        return Err("`slice` of a text takes two places".into());
    }
    if end > part(3, len)? {
        return Err(backwards());
    }
    match &args[0] {
        Value::Text(text) => {
            if start > end {
                return Err(backwards());
            }
            // Go cuts bytes; half a character would be no text
            let part = text.get(start..end);
            let part =
                part.ok_or_else(|| format!("`slice` from {start} to {end} cuts a character"))?;
            Ok(Value::text(part))
        }
        Value::List(list) => list.part(start..end).map(Value::List).ok_or_else(backwards),
        other => Err(format!("`slice` of a {}", other.type_name())),
    }
}

/// All values one after another, with a space between two that are no texts.
fn joined(args: &[Value], limit: usize) -> Result<String, String> {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            out.push(' ');
        }
        if !arg.print(&mut out, limit) {
            return Err(too_long(limit));
        }
    }
    Ok(out)
}

fn escaped(args: &[Value], limit: usize, escape: fn(char, &mut String)) -> Result<Value, String> {
    let text = joined(args, limit)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        escape(c, &mut out);
        if out.len() > limit {
            return Err(too_long(limit));
        }
    }
    Ok(Value::Text(out.into()))
}

fn html(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("&#34;"),
        '\'' => out.push_str("&#39;"),
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\0' => out.push('\u{fffd}'),
        c => out.push(c),
    }
}

fn js(c: char, out: &mut String) {
    let _infallible = match c {
        '\\' | '\'' | '"' => write!(out, "\\{c}"),
        '<' | '>' | '&' | '=' => write!(out, "\\u{:04X}", u32::from(c)),
        c if c < ' ' || c == '\u{7f}' || c.is_control() => write!(out, "\\u{:04X}", u32::from(c)),
        c => write!(out, "{c}"),
    };
}

fn urlquery(c: char, out: &mut String) {
    match c {
        ' ' => out.push('+'),
        c if c.is_ascii_alphanumeric() || "-_.~".contains(c) => out.push(c),
        c => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// The type of a tool's property as TypeScript writes it.
fn typescript(property: &Value, depth: usize) -> String {
    let Value::Object(object) = property else {
        return "any".into();
    };
    if object.is_map() || depth > 16 {
        return "any".into();
    }
    if let Some(Value::List(options)) = object.get("AnyOf")
        && !options.items().is_empty()
    {
        let options = options.items().iter().map(|o| typescript(o, depth + 1));
        return options.collect::<Vec<_>>().join(" | ");
    }
    let one = |name: &str| match name {
        "string" => "string",
        "number" | "integer" => "number",
        "boolean" => "boolean",
        "array" => "any[]",
        "object" => "Record<string, any>",
        "null" => "null",
        _ => "any",
    };
    match object.get("Type") {
        Some(Value::Text(name)) => one(name).into(),
        Some(Value::List(names)) if !names.items().is_empty() => names
            .items()
            .iter()
            .map(|name| match name {
                Value::Text(name) => one(name),
                _ => "any",
            })
            .collect::<Vec<_>>()
            .join(" | "),
        _ => "any".into(),
    }
}
