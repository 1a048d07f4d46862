//! JSON schemas of the wire types, each under its name.
//!
//! A type may look otherwise in a request (fields may be left out) than in an answer (they are there). Where that makes a
//! difference, the request's schema gets a name of its own.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Where schemas stand in the document.
const PLACE: &str = "/components/schemas";
/// What stands behind the name of a type in requests, where it is another in answers.
const OF_REQUESTS: &str = "Input";

/// Schemas, as far as somebody referred to them.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = PLACE.into();
                settings.meta_schema = None;
            })
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// A reference to the schema of `T` as requests have it.
    pub(super) fn of_request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of `T` as answers have it.
    pub(super) fn of_answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    /// All that was referred to. References in `requests` get the names that the types have there.
    pub(super) fn finish<'v>(mut self, requests: impl Iterator<Item = &'v mut Value>) -> Value {
        let mut all = self.answers.take_definitions(true);
        let of_requests = self.requests.take_definitions(true);
        let renamed = differing(&of_requests, &all);
        let rename = |value: &mut Value| rename(value, &renamed);
        requests.for_each(&rename);
        for (name, mut schema) in of_requests {
            rename(&mut schema);
            let name = match renamed.contains(&name) {
                true => name + OF_REQUESTS,
                false => name,
            };
            all.insert(name, schema);
        }
        all.sort_keys();
        Value::Object(all)
    }
}

/// Names that mean something else in `ours` than in `theirs`, be it only for what they refer to.
fn differing(ours: &Map<String, Value>, theirs: &Map<String, Value>) -> HashSet<String> {
    let mut names = HashSet::new();
    loop {
        let before = names.len();
        for (name, schema) in ours.iter().filter(|(name, _)| theirs.contains_key(*name)) {
            let mut as_renamed = schema.clone();
            rename(&mut as_renamed, &names);
            if theirs.get(name) != Some(&as_renamed) {
                names.insert(name.clone());
            }
        }
        if names.len() == before {
            return names;
        }
    }
}

/// Makes references to `names` references to those of requests.
fn rename(value: &mut Value, names: &HashSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "$ref" => {
                        let name = text.rsplit('/').next().unwrap_or_default();
                        if names.contains(name) {
                            text.push_str(OF_REQUESTS);
                        }
                    }
                    other => rename(other, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}
