//! The Jinja environment that templates of Hugging Face models expect.
//!
//! `trim_blocks`, `lstrip_blocks`, no escaping, Python's string and dict methods, `tojson` with Python's spacing,
//! `raise_exception`, `strftime_now`, loop controls, `{% generation %}` as a transparent block.
//!
//! The Python methods come from elsewhere and allocate before the engine can charge for it; [`python_method`] charges
//! the ones that can multiply their input first.
use super::{bounds, json};
use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters,
    syntax::SyntaxConfig,
    value::{Rest, ValueKind, ValueOrKwargs},
};
use std::sync::Arc;

/// Longest run of digits in the pattern of `str.format`: a width of 9999 is enough for everybody.
const MAX_FORMAT_DIGITS: usize = 4;
/// Longest text of a number or of another scalar.
const MAX_NUMBER_BYTES: usize = 64;

/// An environment whose renderings end after `fuel`.
pub(super) fn new(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the default delimiters"),
    );
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(100);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python_method);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("format", format);
    environment.add_filter("split", split);
    environment.add_filter("lines", lines);
    bounds::register(&mut environment);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// As in Python: the engine's own test takes `none` for iterable, and templates ask before they count.
fn is_iterable(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Iterable | Map | Seq | String | Undefined)
}

fn raise_exception(state: &State<'_, '_>, message: Value) -> Result<Value, Error> {
    bounds::charge(state, &message, 1)?;
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// The filter `format`: the engine's own panics on a precision above 65535.
fn format(
    state: &mut State<'_, '_>,
    pattern: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let is_wide = |spec: &str| {
        // `%(name)` and flags come first
        let spec = match spec.strip_prefix('(').and_then(|spec| spec.split_once(')')) {
            Some((_, spec)) => spec,
            None => spec,
        };
        let widths = spec.trim_start_matches(|c: char| "-+ #".contains(c));
        let end = widths.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (digits, rest) = widths.split_at(end.unwrap_or(widths.len()));
        rest.starts_with('*') || digits.split('.').any(|run| run.len() > MAX_FORMAT_DIGITS)
    };
    let text = pattern.as_str().unwrap_or_default();
    if text.split('%').skip(1).any(is_wide) {
        return Err(wide_format());
    }
    filters::format(state, pattern, args)
}

/// The filter `split`, which pays for its pieces first.
fn split(
    state: &State<'_, '_>,
    value: &Value,
    separator: Option<Arc<str>>,
    max_splits: Option<i64>,
) -> Result<Value, Error> {
    charge_pieces(state, value, separator.as_deref())?;
    filters::split(value, separator, max_splits)
}

/// The filter `lines`, which pays for its pieces first.
fn lines(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    charge_pieces(state, value, Some("\n"))?;
    filters::lines(value)
}

/// Charges for as many texts as a text may be cut into.
fn charge_pieces(
    state: &State<'_, '_>,
    value: &Value,
    separator: Option<&str>,
) -> Result<(), Error> {
    let text = value.as_str().unwrap_or_default();
    let n_pieces = match separator {
        Some("") => text.len(),
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    state.consume_fuel(1 + n_pieces as u64)
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// Python's methods of strings, dicts and lists.
fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    args.iter()
        .try_for_each(|arg| bounds::charge(state, arg, 1))?;
    // a map is asked for one key, or for all of them
    if value.kind() != ValueKind::Map {
        bounds::charge(state, value, 1)?;
    }
    match method {
        "split" => charge_pieces(state, value, args.first().and_then(Value::as_str))?,
        "splitlines" => charge_pieces(state, value, Some("\n"))?,
        _ => {}
    }
    if let Some(text) = value.as_str() {
        let result_bytes = match (method, args) {
            ("replace", [old, new, ..]) => {
                let old_len = old.as_str().map_or(1, str::len).max(1);
                let new_len = new.as_str().map_or(0, str::len);
                (text.len() / old_len + 1).saturating_mul(new_len)
            }
            ("join", [values]) => joined_bytes(text, values)?,
            ("format", _) => {
                refuse_wide_formats(text)?;
                args.iter().try_for_each(refuse_containers)?;
                0
            }
            _ => 0,
        };
        state.consume_fuel((text.len().saturating_add(result_bytes) / 64) as u64)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// How long `separator.join(values)` would be; stops to count at what no budget pays for.
fn joined_bytes(separator: &str, values: &Value) -> Result<usize, Error> {
    let mut total = 0_usize;
    for value in values.try_iter()?.checked() {
        let value = value?;
        refuse_containers(&value)?;
        let len = value.as_str().map_or(MAX_NUMBER_BYTES, str::len);
        total = total.saturating_add(separator.len()).saturating_add(len);
        if total as u64 / 64 > super::FUEL {
            break;
        }
    }
    Ok(total)
}

/// Lists in lists can be exponentially longer as text than in memory.
fn refuse_containers(value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("expected text, found a {}", value.kind()),
        )),
        _ => Ok(()),
    }
}

fn refuse_wide_formats(pattern: &str) -> Result<(), Error> {
    let longest = pattern
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if longest > MAX_FORMAT_DIGITS || pattern.contains(":{") {
        return Err(wide_format());
    }
    Ok(())
}

fn wide_format() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        "a width of more than four digits is not supported",
    )
}

/// Turns `{% generation %}` and `{% endgeneration %}` into a block that changes nothing; trim marks stay.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let (mark, inner) = match tag.as_bytes().first() {
            Some(b'-' | b'+') => tag.split_at(1),
            _ => ("", tag),
        };
        let word = inner.trim_start();
        for (name, replacement) in [("generation", " if true "), ("endgeneration", " endif ")] {
            let Some(after) = word.strip_prefix(name).map(str::trim_start) else {
                continue;
            };
            if after.starts_with("%}") || after.starts_with("-%}") || after.starts_with("+%}") {
                out.push_str(mark);
                out.push_str(replacement);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
