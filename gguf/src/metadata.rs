//! Metadata: typed key-value pairs, read lazily from the file's bytes.
//!
//! Getters are strict about kind and lenient about width: a count may be of any integer type, since writers disagree.
//! The `opt_` ones take an absent key for `None` and still refuse a value of another kind. Errors name the key, what was
//! asked for and what the file has.

use std::collections::HashMap;

use crate::error::shown;
use crate::{Array, Error, Value};

/// All pairs of a file, in file order; keys are unique and not empty.
#[derive(Debug, Default)]
pub struct Metadata<'a> {
    entries: Vec<(&'a str, Value<'a>)>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Metadata<'a> {
    /// Adds a pair at the end; `false`, and nothing happens, when the key is there already.
    #[must_use]
    pub(crate) fn push(&mut self, key: &'a str, value: Value<'a>) -> bool {
        if self.index.contains_key(key) {
            return false;
        }
        self.index.insert(key, self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.index.get(key).map(|&index| &self.entries[index].1)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Value<'a>)> {
        self.entries.iter().map(|(k, v)| (*k, v))
    }

    /// A required UTF-8 string.
    pub fn string(&self, key: &str) -> Result<&'a str, Error> {
        require(key, self.opt_string(key)?)
    }

    /// An optional UTF-8 string; absent is `Ok(None)`.
    pub fn opt_string(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.read(key, "UTF-8 text", |value| match value {
            Value::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    /// A required count: any integer type whose value fits.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        require(key, self.opt_u32(key)?)
    }

    /// An optional count.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, "an integer that fits a u32", |value| {
            value.as_integer().and_then(|n| u32::try_from(n).ok())
        })
    }

    /// A required large count: any integer type whose value fits.
    pub fn u64(&self, key: &str) -> Result<u64, Error> {
        require(key, self.opt_u64(key)?)
    }

    /// An optional large count.
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.read(key, "an integer that fits a u64", |value| {
            value.as_integer().and_then(|n| u64::try_from(n).ok())
        })
    }

    /// A required number, from f32 or f64.
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        require(key, self.opt_f32(key)?)
    }

    /// An optional number.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.read(key, "a floating-point number", |value| match *value {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        })
    }

    /// An optional flag.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "a bool", |value| match *value {
            Value::Bool(b) => Some(b),
            _ => None,
        })
    }

    /// A required array.
    pub fn array(&self, key: &str) -> Result<Array<'a>, Error> {
        require(key, self.opt_array(key)?)
    }

    /// An optional array.
    pub fn opt_array(&self, key: &str) -> Result<Option<Array<'a>>, Error> {
        self.read(key, "an array", |value| match *value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(Error::WrongType {
                key: shown(key),
                expected,
                found: value.to_string(),
            }),
        }
    }
}

fn require<T>(key: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::MissingKey { key: shown(key) })
}
