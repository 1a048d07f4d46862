//! What is refused for its size before anything is compiled: the compiler's own bounds count work, not input.

use super::{ConstraintError, Grammar};
use serde_json::Value;

/// Bytes of a regular expression, and of a grammar with the schemas in it.
const MAX_REGEX_BYTES: usize = 64 << 10;
const MAX_GRAMMAR_BYTES: usize = 256 << 10;
/// Bytes of all texts of a schema.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Values in a schema, and levels of them.
const MAX_SCHEMA_VALUES: usize = 20_000;
const MAX_SCHEMA_LEVELS: usize = 64;

/// Refuses what is too large.
pub(super) fn check(grammar: &Grammar) -> Result<(), ConstraintError> {
    match grammar {
        Grammar::Json => Ok(()),
        Grammar::JsonSchema(schema) => check_schema(schema),
        Grammar::Regex(text) => check_text("regular expression", text, MAX_REGEX_BYTES),
        Grammar::Lark(text) | Grammar::Gbnf(text) => check_text("grammar", text, MAX_GRAMMAR_BYTES),
    }
}

fn check_text(what: &'static str, text: &str, most: usize) -> Result<(), ConstraintError> {
    match text.len() > most {
        true => Err(ConstraintError::TooLarge {
            what,
            unit: "bytes",
            most,
        }),
        false => Ok(()),
    }
}

pub(super) fn check_schema(schema: &Value) -> Result<(), ConstraintError> {
    let too_large = |unit, most| ConstraintError::TooLarge {
        what: "schema",
        unit,
        most,
    };
    let (mut n_bytes, mut n_values) = (0, 0);
    let mut rest = vec![(schema, 1)];
    while let Some((value, level)) = rest.pop() {
        n_values += 1;
        match value {
            Value::String(text) => n_bytes += text.len(),
            Value::Array(items) => rest.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(fields) => {
                n_bytes += fields.keys().map(String::len).sum::<usize>();
                rest.extend(fields.values().map(|field| (field, level + 1)));
            }
            _ => {}
        }
        if level > MAX_SCHEMA_LEVELS {
            return Err(too_large("levels of nesting", MAX_SCHEMA_LEVELS));
        }
        if n_bytes > MAX_SCHEMA_BYTES {
            return Err(too_large("bytes of text", MAX_SCHEMA_BYTES));
        }
        if n_values > MAX_SCHEMA_VALUES {
            return Err(too_large("values", MAX_SCHEMA_VALUES));
        }
    }
    Ok(())
}
