//! An OpenAPI document that grows line by line.

use super::schemas::Schemas;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use slm_api::{anthropic, ollama, openai};

/// A group of operations: what it is called, what it is for, and how its errors look.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) errors: fn(&mut Schemas) -> Value,
}

/// How errors look in Ollama's dialect.
pub(super) fn ollamas(schemas: &mut Schemas) -> Value {
    schemas.of_answer::<ollama::ErrorBody>()
}
/// In OpenAI's.
pub(super) fn openais(schemas: &mut Schemas) -> Value {
    schemas.of_answer::<openai::ErrorBody>()
}
/// In Anthropic's.
pub(super) fn anthropics(schemas: &mut Schemas) -> Value {
    schemas.of_answer::<anthropic::ErrorBody>()
}

/// The document as far as it has come.
pub(super) struct Document {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    pub(super) schemas: Schemas,
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            tags: Vec::new(),
            paths: Map::new(),
            schemas: Schemas::new(),
        }
    }

    /// A group, and a place to list its operations.
    pub(super) fn group(&mut self, group: Group) -> Operations<'_> {
        let tag = json!({"name": group.name, "description": group.about});
        self.tags.push(tag);
        Operations {
            document: self,
            group,
        }
    }

    /// The whole.
    pub(super) fn finish(mut self, info: &Value) -> Value {
        let operations = self.paths.values_mut().filter_map(Value::as_object_mut);
        let operations = operations.flat_map(|path| path.values_mut());
        let bodies = operations.filter_map(|operation| operation.get_mut("requestBody"));
        let schemas = self.schemas.finish(bodies);
        json!({
            "openapi": "3.1.0",
            "info": info,
            "servers": [{"url": "/"}],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "headers": {"RequestId": {
                    "description": "The request in the daemon's log: the client's own `x-request-id`, or a new one.",
                    "schema": {"type": "string"},
                }},
            },
        })
    }
}

/// The operations of a group.
pub(super) struct Operations<'d> {
    document: &'d mut Document,
    group: Group,
}

impl Operations<'_> {
    /// An operation that takes no body.
    pub(super) fn get(&mut self, path: &'static str, summary: &str) -> Operation<'_> {
        self.any(&Method::GET, path, summary)
    }

    /// An operation that usually takes one.
    pub(super) fn post(&mut self, path: &'static str, summary: &str) -> Operation<'_> {
        self.any(&Method::POST, path, summary)
    }

    /// An operation. The first sentence of `summary` is shown in lists, the rest beside it.
    pub(super) fn any(
        &mut self,
        method: &Method,
        path: &'static str,
        summary: &str,
    ) -> Operation<'_> {
        let (summary, description) = summary.split_once(". ").unwrap_or((summary, ""));
        let method = method.as_str().to_lowercase();
        let id = path.split(|c: char| !c.is_ascii_alphanumeric());
        let id = id.filter(|word| !word.is_empty()).collect::<Vec<_>>();
        let operation = json!({
            "tags": [self.group.name],
            "operationId": format!("{method}_{}", id.join("_")),
            "summary": summary,
            "description": description,
            "responses": {},
        });
        let at = self.document.paths.entry(path.to_owned());
        let at = at.or_insert_with(|| json!({}));
        at[&method] = operation;
        Operation {
            value: &mut at[&method],
            schemas: &mut self.document.schemas,
            errors: self.group.errors,
        }
        .fails(&[403])
    }
}

/// An operation as far as it has been described.
pub(super) struct Operation<'o> {
    value: &'o mut Value,
    schemas: &'o mut Schemas,
    errors: fn(&mut Schemas) -> Value,
}

impl Operation<'_> {
    /// A part of the path.
    pub(super) fn part(self, name: &str, about: &str, schema: Value) -> Self {
        self.parameter("path", name, about, schema)
    }

    /// A parameter that may be left out, in the `query` or a `header`.
    pub(super) fn parameter(self, place: &str, name: &str, about: &str, schema: Value) -> Self {
        let parameter = json!({
            "name": name, "in": place, "required": place == "path", "description": about, "schema": schema,
        });
        match &mut self.value["parameters"] {
            Value::Array(all) => all.push(parameter),
            none => *none = json!([parameter]),
        }
        self
    }

    /// A JSON body, of which these fields must be there.
    pub(super) fn takes<T: JsonSchema>(self, required: &[&str]) -> Self {
        let mut schema = self.schemas.of_request::<T>();
        schema["required"] = json!(required);
        self.value["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
        self.fails(&[400, 408, 413, 415])
    }

    /// A body of bytes.
    pub(super) fn takes_bytes(self, content_type: &str) -> Self {
        self.value["requestBody"] = json!({"required": true, "content": {content_type: {}}});
        self.fails(&[400, 408, 500])
    }

    /// An answer that is one JSON object.
    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        let schema = self.schemas.of_answer::<T>();
        self.answers_as(schema)
    }

    /// The answers so far, or this one, and errors of another dialect, to who sends a `header` that says so.
    pub(super) fn or_to<T: JsonSchema>(
        self,
        header: &str,
        about: &str,
        errors: fn(&mut Schemas) -> Value,
    ) -> Self {
        let (answer, error) = (self.schemas.of_answer::<T>(), errors(self.schemas));
        let answers = self.value["responses"].as_object_mut();
        for (status, response) in answers.into_iter().flatten() {
            let other = if status == "200" { &answer } else { &error };
            let schema = &mut response["content"]["application/json"]["schema"];
            *schema = json!({"anyOf": [schema.take(), other]});
        }
        self.parameter("header", header, about, json!({"type": "string"}))
    }

    /// An answer whose type is nowhere else.
    pub(super) fn answers_as(self, schema: Value) -> Self {
        self.says(
            200,
            "The answer",
            "application/json",
            json!({"schema": schema}),
        )
    }

    /// An answer of lines, each an object; the last may be an error.
    pub(super) fn lines<T: JsonSchema>(self) -> Self {
        let line = self.schemas.of_answer::<T>();
        let error = (self.errors)(self.schemas);
        let schema = json!({"schema": {
            "description": "One line, of several. After an error nothing follows.",
            "anyOf": [line, error],
        }});
        self.says(200, "The answer", "application/x-ndjson", schema)
    }

    /// An answer of server-sent events, each with an object as data; the last may be an error, or one of these `words`.
    pub(super) fn events<T: JsonSchema>(self, words: &[&str]) -> Self {
        let event = self.schemas.of_answer::<T>();
        self.events_as(&event, words)
    }

    /// The same, whose type is nowhere else.
    pub(super) fn events_as(self, event: &Value, words: &[&str]) -> Self {
        let error = (self.errors)(self.schemas);
        let data = json!({
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [event, error]},
        });
        let data = match words {
            [] => data,
            words => json!({"anyOf": [data, {"enum": words}]}),
        };
        let schema = json!({"schema": {
            "description": "One event, of several. After an error nothing follows.",
            "type": "object",
            "required": ["data"],
            "properties": {"event": {"type": "string"}, "data": data},
        }});
        self.says(200, "The answer", "text/event-stream", schema)
    }

    /// An answer with this content, beside others.
    pub(super) fn says(mut self, status: u16, about: &str, kind: &str, content: Value) -> Self {
        self.answer(status, about)["content"][kind] = content;
        self
    }

    /// An answer without content.
    pub(super) fn says_nothing(mut self, status: u16, about: &str) -> Self {
        self.answer(status, about);
        self
    }

    /// Errors, by status.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let schema = json!({"schema": (self.errors)(self.schemas)});
            let code = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
            let about = code.canonical_reason().unwrap_or("Error");
            self = self.says(*status, about, "application/json", schema);
        }
        self
    }

    /// The answers of a status, with what all have in common.
    fn answer(&mut self, status: u16, about: &str) -> &mut Value {
        let answer = &mut self.value["responses"][status.to_string()];
        if answer.is_null() {
            *answer = json!({
                "description": about,
                "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
            });
        }
        answer
    }
}
