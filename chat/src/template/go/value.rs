//! What a template computes with, and how each value prints.
//!
//! Values are shared, so that copying one is cheap; a part of a list is a window into it. Go prints a value by its type,
//! and Ollama's types print themselves as JSON: [`Object::prints_as`] says which of both a value does.
use super::json;
use std::{ops::Range, sync::Arc};

/// A value.
#[derive(Clone, Debug, Default)]
pub(super) enum Value {
    /// `nil`, or what a map does not have.
    #[default]
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(List),
    Object(Arc<Object>),
}

/// A window into a list.
#[derive(Clone, Debug)]
pub(super) struct List {
    items: Arc<Vec<Value>>,
    window: Range<usize>,
    /// Prints as JSON rather than as `[a b]`.
    is_json: bool,
}

/// Named values.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// In the order of printing; sorted by name in a map.
    fields: Vec<(Arc<str>, Value)>,
    /// Any name may be asked for, and `range` goes over it; otherwise the names are fixed.
    is_map: bool,
    /// Prints as this rather than as Go prints structures.
    prints_as: Option<serde_json::Value>,
}

impl List {
    pub(super) fn items(&self) -> &[Value] {
        &self.items[self.window.clone()]
    }

    /// A part of it; `None` outside of it.
    pub(super) fn part(&self, part: Range<usize>) -> Option<Self> {
        if part.start > part.end || part.end > self.window.len() {
            return None;
        }
        let start = self.window.start;
        Some(Self {
            items: Arc::clone(&self.items),
            window: start + part.start..start + part.end,
            is_json: self.is_json,
        })
    }
}

impl Object {
    /// A map; `fields` in any order.
    pub(super) fn map(mut fields: Vec<(Arc<str>, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self {
            fields,
            is_map: true,
            prints_as: None,
        }
    }

    /// A structure: fixed fields in their order.
    pub(super) fn structure<const N: usize>(fields: [(&str, Value); N]) -> Self {
        Self {
            fields: fields.map(|(name, value)| (name.into(), value)).into(),
            is_map: false,
            prints_as: None,
        }
    }

    pub(super) fn printing(mut self, json: serde_json::Value) -> Self {
        self.prints_as = Some(json);
        self
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(Arc::new(self))
    }

    pub(super) fn fields(&self) -> &[(Arc<str>, Value)] {
        &self.fields
    }

    pub(super) fn is_map(&self) -> bool {
        self.is_map
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let found = if self.is_map {
            let at = self.fields.binary_search_by(|(key, _)| (**key).cmp(name));
            self.fields.get(at.ok()?)
        } else {
            self.fields.iter().find(|(key, _)| **key == *name)
        };
        found.map(|(_, value)| value)
    }
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::list_of(items, false)
    }

    /// A list that prints as JSON.
    pub(super) fn json_list(items: Vec<Self>) -> Self {
        Self::list_of(items, true)
    }

    fn list_of(items: Vec<Self>, is_json: bool) -> Self {
        Self::List(List {
            window: 0..items.len(),
            items: Arc::new(items),
            is_json,
        })
    }

    /// JSON as Go reads it: numbers are floating, maps are sorted.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(members) => Object::map(
                members
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), Self::from_json(value)))
                    .collect(),
            )
            .into_value(),
        }
    }

    /// Neither nothing, nor zero, nor empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.window.is_empty(),
            Self::Object(object) => !object.is_map || !object.fields.is_empty(),
        }
    }

    /// For complaints.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Object(object) if object.is_map => "map",
            Self::Object(_) => "structure",
        }
    }

    /// Appends it as Go's `%v` prints it. `false` when the text would be longer than `limit` in all.
    pub(super) fn print(&self, out: &mut String, limit: usize) -> bool {
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&super::format::general(*value)),
            Self::Text(text) => {
                if text.len() > limit.saturating_sub(out.len()) {
                    return false;
                }
                out.push_str(text);
            }
            Self::List(list) if list.is_json => return self.write_json(out, limit),
            Self::List(list) => {
                out.push('[');
                for (at, item) in list.items().iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    if !item.print(out, limit) {
                        return false;
                    }
                }
                out.push(']');
            }
            Self::Object(object) => return object.print(out, limit),
        }
        out.len() <= limit
    }

    /// Appends it as JSON. `false` when the text would be longer than `limit` in all.
    pub(super) fn write_json(&self, out: &mut String, limit: usize) -> bool {
        match self {
            // a list that was never given, as opposed to an empty one
            Self::List(list) if list.is_json && list.items.is_empty() => {
                out.push_str("null");
                out.len() <= limit
            }
            Self::List(list) => {
                out.push('[');
                for (at, item) in list.items().iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    if !item.write_json(out, limit) {
                        return false;
                    }
                }
                out.push(']');
                out.len() <= limit
            }
            Self::Object(object) => object.write_json(out, limit),
            Self::Text(text) => {
                json::string(text, out);
                out.len() <= limit
            }
            Self::Nil => json::write(&serde_json::Value::Null, out, limit),
            Self::Bool(value) => json::write(&(*value).into(), out, limit),
            Self::Int(value) => json::write(&(*value).into(), out, limit),
            Self::Float(value) => json::write(&(*value).into(), out, limit),
        }
    }
}

impl Object {
    fn print(&self, out: &mut String, limit: usize) -> bool {
        if let Some(json) = &self.prints_as {
            return json::write(json, out, limit);
        }
        out.push_str(if self.is_map { "map[" } else { "{" });
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 {
                out.push(' ');
            }
            if self.is_map {
                out.push_str(name);
                out.push(':');
            }
            if !value.print(out, limit) {
                return false;
            }
        }
        out.push(if self.is_map { ']' } else { '}' });
        out.len() <= limit
    }

    fn write_json(&self, out: &mut String, limit: usize) -> bool {
        if let Some(json) = &self.prints_as {
            return json::write(json, out, limit);
        }
        out.push('{');
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            json::string(name, out);
            out.push(':');
            if !value.write_json(out, limit) {
                return false;
            }
        }
        out.push('}');
        out.len() <= limit
    }
}
