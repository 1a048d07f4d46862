//! What text must look like to be a call: for answers that have to be one.
//!
//! Each family has a [`Shape`], which is data beside its parser; [`ToolSyntax::form`] puts the tools into it. Whoever
//! enforces the outcome ([`CallForm`]) needs to know nothing of families, and what it allows is read by their parsers.
//!
//! Arguments come in the order of the tool's schema, where a family lists them the required ones first. A schema that
//! says what properties there are is taken to mean that there are no others.

use super::{ToolSyntax, call::wants_text};
use serde_json::{Map, Value, json};

/// A pattern of text.
#[derive(Clone, Debug, PartialEq)]
pub enum CallForm {
    /// This text. Marks in it may be control tokens ([`ToolSyntax::markers`]).
    Text(String),
    /// One or two digits.
    Digits,
    /// JSON that a schema describes, in one line.
    Json(Value),
    /// The same, over several lines if the model likes.
    JsonLines(Value),
    /// White space as it stands between parts of such JSON, or nothing.
    Space,
    /// Any text up to this one, and this one.
    UpTo(String),
    /// All of these, one after the other.
    All(Vec<Self>),
    /// One of these.
    OneOf(Vec<Self>),
    /// This or nothing.
    Maybe(Box<Self>),
    /// One or several.
    Several {
        /// What there is one or several of.
        one: Box<Self>,
        /// What stands between two.
        between: String,
        /// How many at most.
        most: Option<usize>,
    },
}

impl CallForm {
    /// What follows `mark`, without white space at its beginning; `None` where some text of the form begins otherwise.
    fn behind(&self, mark: &str) -> Option<Self> {
        match self {
            Self::Text(all) => Some(text(all.strip_prefix(mark)?.trim_start())),
            Self::All(parts) => {
                let at = parts.iter().position(|part| *part != text(""))?;
                let first = parts[at].behind(mark)?;
                let rest = parts[at + 1..].iter().cloned();
                Some(Self::All(std::iter::once(first).chain(rest).collect()))
            }
            Self::OneOf(forms) => {
                let forms = forms.iter().map(|form| form.behind(mark));
                Some(Self::OneOf(forms.collect::<Option<_>>()?))
            }
            Self::Several { one, between, most } => {
                let more = Self::Several {
                    one: one.clone(),
                    between: between.clone(),
                    most: most.map(|most| most.saturating_sub(1)),
                };
                let more = Self::All(vec![text(between), more]);
                Some(Self::All(vec![
                    one.behind(mark)?,
                    Self::Maybe(Box::new(more)),
                ]))
            }
            Self::Digits
            | Self::Json(_)
            | Self::JsonLines(_)
            | Self::Space
            | Self::UpTo(_)
            | Self::Maybe(_) => None,
        }
    }
}

/// What an answer must keep to that may call but need not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MayCall {
    /// The mark that opens a call wherever it stands, and what must follow it.
    pub behind_mark: Option<(&'static str, CallForm)>,
    /// What an answer is that calls without a mark.
    pub from_start: Option<UnmarkedCall>,
}

/// A call that an answer may be from its first character on, and that shows itself to be one by the name of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct UnmarkedCall {
    /// All of the answer.
    pub form: CallForm,
    /// Text that has begun so is a call once one of these has come.
    pub decided_by: Vec<String>,
}

/// Why there is no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// There is nothing to call.
    #[error("`tool_choice` requires a call, but no tools are offered")]
    NoTools,
    /// The one to call is not among the tools.
    #[error("`tool_choice` names `{0}`, which is not among the tools")]
    Unknown(String),
    /// Arguments are not described as an object.
    #[error("the parameters of `{0}` must be a JSON schema of an object")]
    Parameters(String),
}

/// How a family writes calls. In `call`, `$name` stands for the tool, `$arguments` for what [`Arguments`] says, `$n`
/// for a number.
#[derive(Debug)]
pub(super) struct Shape {
    /// Ahead of the first call.
    pub(super) open: &'static str,
    pub(super) call: &'static str,
    /// Between two calls; `None` where an answer has one at most.
    pub(super) between: Option<&'static str>,
    /// Behind the last call.
    pub(super) close: &'static str,
    pub(super) arguments: Arguments,
}

impl Shape {
    /// Calls with the arguments as one JSON object.
    pub(super) const fn json(
        open: &'static str,
        call: &'static str,
        between: &'static str,
        close: &'static str,
    ) -> Self {
        Self {
            open,
            call,
            between: Some(between),
            close,
            arguments: Arguments::Object,
        }
    }
}

/// How a family writes the arguments of a call.
#[derive(Debug)]
pub(super) enum Arguments {
    /// As one JSON object.
    Object,
    /// One by one.
    Listed {
        /// One of them: `$key`, `$value`, and `$is_text` for `true` or `false`.
        one: &'static str,
        between: &'static str,
        values: Values,
    },
}

/// How a family writes the value of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    /// In JSON.
    Json,
    /// In JSON, but texts as they are, up to this.
    Bare(&'static str),
    /// Texts between these marks, keys of objects as they are, the rest as in JSON.
    Marked(&'static str),
}

/// Opens a code fence in which some families' parsers look for calls.
const FENCE: &str = "```json";
/// Calls of an answer, at most.
const MAX_CALLS: usize = 16;
/// Levels of a schema that are followed where JSON is not the notation, and parts of a form made of it.
const MAX_DEPTH: usize = 12;
const MAX_PARTS: usize = 20_000;
/// Where no member is required, one of so many comes first.
const MAX_FIRST: usize = 24;

impl ToolSyntax {
    /// The form of an answer that calls tools of the list `tools` of definitions: any of them, or `only` this one; once, or
    /// `several` times where the family can write that.
    ///
    /// # Errors
    /// There is no such tool, or its parameters cannot be an object.
    pub fn form(
        self,
        tools: &Value,
        only: Option<&str>,
        several: bool,
    ) -> Result<CallForm, FormError> {
        let shape = self.shape();
        let tools = tools.as_array().map_or(&[][..], Vec::as_slice);
        let functions = tools
            .iter()
            .map(|tool| tool.get("function").unwrap_or(tool));
        let mut calls = Vec::new();
        for function in functions {
            let Some(name) = function["name"].as_str() else {
                continue;
            };
            if only.is_none_or(|only| only == name) {
                let parameters = parameters(name, &function["parameters"])?;
                calls.push(call(shape, name, &parameters));
            }
        }
        if calls.is_empty() {
            return Err(only.map_or(FormError::NoTools, |only| {
                FormError::Unknown(only.to_owned())
            }));
        }
        let one = CallForm::OneOf(calls);
        let calls = match shape.between {
            Some(between) if several => CallForm::Several {
                one: Box::new(one),
                between: between.to_owned(),
                most: Some(MAX_CALLS),
            },
            _ => one,
        };
        let parts = [text(shape.open), calls, text(shape.close)];
        let parts = self.thoughts().into_iter().chain(parts);
        Ok(CallForm::All(parts.collect()))
    }

    /// For answers that may call but need not. `None` where no tool is `strict`, and in families whose calls cannot be told
    /// from other text before they are over.
    ///
    /// # Errors
    /// As [`ToolSyntax::form`].
    pub fn may_call(self, tools: &Value, several: bool) -> Result<Option<MayCall>, FormError> {
        let mut all = tools.as_array().into_iter().flatten();
        let is_strict = |tool: &Value| tool.get("function").unwrap_or(tool)["strict"] == true;
        if self.is_harmony() || !all.any(is_strict) {
            return Ok(None);
        }
        let form = self.form(tools, None, several)?;
        let marks = self.opens().iter().copied();
        let mut marks = marks.filter(|mark| mark.len() > 1 && mark.starts_with(['<', '[']));
        let may_call = MayCall {
            behind_mark: marks.find_map(|mark| Some((mark, form.behind(mark)?))),
            from_start: match self.starts().contains(&"{") {
                true => Some(self.unmarked(tools, several)?),
                false => None,
            },
        };
        Ok((may_call != MayCall::default()).then_some(may_call))
    }

    /// Calls as JSON objects, or in a code fence where the family's parser reads that: what models write that were
    /// asked for a mark, and forget it.
    fn unmarked(self, tools: &Value, several: bool) -> Result<UnmarkedCall, FormError> {
        let (mut calls, mut decided_by) = (Vec::new(), Vec::new());
        for tool in tools.as_array().into_iter().flatten() {
            let function = tool.get("function").unwrap_or(tool);
            let Some(name) = function["name"].as_str() else {
                continue;
            };
            calls.push(object(name, parameters(name, &function["parameters"])?));
            decided_by.extend(["", " "].map(|space| format!(":{space}{}", json!(name))));
        }
        let call = CallForm::OneOf(calls);
        // the template of Qwen2.5-Coder doubles the braces
        let doubled = CallForm::All(vec![text("{"), call.clone(), text("}")]);
        let call = CallForm::OneOf(vec![call, doubled]);
        let call = match self.starts().contains(&FENCE) {
            true => {
                let fence = [text(FENCE), CallForm::Space, call.clone()];
                let fence = fence.into_iter().chain([CallForm::Space, text("```")]);
                CallForm::OneOf(vec![call, CallForm::All(fence.collect())])
            }
            false => call,
        };
        let mut all = vec![CallForm::Space, call.clone()];
        if several {
            let separator = CallForm::Maybe(Box::new(text(";")));
            all.push(CallForm::Maybe(Box::new(CallForm::Several {
                one: Box::new(CallForm::All(vec![separator, CallForm::Space, call])),
                between: String::new(),
                most: Some(MAX_CALLS - 1),
            })));
        }
        let form = CallForm::All(all);
        Ok(UnmarkedCall { form, decided_by })
    }

    /// What may stand ahead of calls and is not told from them by tags.
    fn thoughts(self) -> Option<CallForm> {
        let thoughts = CallForm::All(vec![
            text("<|channel|>analysis<|message|>"),
            CallForm::UpTo("<|end|>".to_owned()),
            text("<|start|>assistant"),
        ]);
        self.is_harmony()
            .then(|| CallForm::Maybe(Box::new(thoughts)))
    }
}

/// The schema of a tool's arguments: an object, and one that has no other properties than those named.
fn parameters(name: &str, schema: &Value) -> Result<Value, FormError> {
    let wrong = || FormError::Parameters(name.to_owned());
    let mut schema = match schema {
        Value::Null => json!({"properties": {}}),
        Value::Object(_) => schema.clone(),
        _ => return Err(wrong()),
    };
    let fields = schema.as_object_mut().ok_or_else(wrong)?;
    match fields.get("type") {
        None => {
            fields.insert("type".to_owned(), json!("object"));
        }
        Some(kind) if kind == "object" => {}
        Some(_) => return Err(wrong()),
    }
    let open = [
        "additionalProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    if fields.contains_key("properties") && !open.iter().any(|key| fields.contains_key(*key)) {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    Ok(schema)
}

fn text(text: &str) -> CallForm {
    CallForm::Text(text.to_owned())
}

/// A call of one tool.
fn call(shape: &Shape, name: &str, parameters: &Value) -> CallForm {
    filled(shape.call, &|place| match place {
        "$name" => Some(text(name)),
        "$n" => Some(CallForm::Digits),
        "$arguments" => Some(match &shape.arguments {
            Arguments::Object => CallForm::Json(parameters.clone()),
            Arguments::Listed {
                one,
                between,
                values,
            } => {
                let mut notation = Notation {
                    root: parameters,
                    values: *values,
                    n_parts: 0,
                };
                members(parameters, between, |key, schema| {
                    notation.argument(one, key, schema)
                })
            }
        }),
        _ => None,
    })
}

/// A call of one tool as a JSON object, laid out as the model likes.
fn object(name: &str, parameters: Value) -> CallForm {
    let colon_space = || CallForm::Maybe(Box::new(text(" ")));
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let may_lack_arguments = is_empty(&parameters["required"]);
    let keys = ["\"arguments\":", "\"parameters\":"].map(text);
    let arguments = CallForm::All(vec![
        CallForm::Space,
        text(","),
        CallForm::Space,
        CallForm::OneOf(keys.to_vec()),
        colon_space(),
        CallForm::JsonLines(parameters),
    ]);
    CallForm::All(vec![
        text("{"),
        CallForm::Space,
        text("\"name\":"),
        colon_space(),
        text(&json!(name).to_string()),
        match may_lack_arguments {
            true => CallForm::Maybe(Box::new(arguments)),
            false => arguments,
        },
        CallForm::Space,
        text("}"),
    ])
}

/// A pattern with its places filled: words that begin with `$`.
fn filled(pattern: &str, fill: &dyn Fn(&str) -> Option<CallForm>) -> CallForm {
    let mut parts = Vec::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = pattern[at..].find('$') {
        let start = at + found;
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let len = pattern[start + 1..]
            .find(|c| !is_name(c))
            .unwrap_or(pattern.len() - start - 1);
        at = start + 1 + len;
        if let Some(part) = fill(&pattern[start..at]) {
            parts.extend((done < start).then(|| text(&pattern[done..start])));
            parts.push(part);
            done = at;
        }
    }
    parts.extend((done < pattern.len()).then(|| text(&pattern[done..])));
    CallForm::All(parts)
}

/// The properties of an object, those that are required first.
fn members(
    schema: &Value,
    between: &str,
    mut member: impl FnMut(&str, &Value) -> CallForm,
) -> CallForm {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let is_required = |key: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|required| required.iter().any(|name| name == key))
    };
    let (required, optional): (Vec<_>, Vec<_>) =
        properties.iter().partition(|(key, _)| is_required(key));
    let mut forms = |members: Vec<(&String, &Value)>| -> Vec<CallForm> {
        let members = members.into_iter();
        members.map(|(key, schema)| member(key, schema)).collect()
    };
    let (required, optional) = (forms(required), forms(optional));
    let later = |form: &CallForm| {
        CallForm::Maybe(Box::new(CallForm::All(vec![text(between), form.clone()])))
    };
    if required.is_empty() && !between.is_empty() {
        let firsts = (0..optional.len().min(MAX_FIRST)).map(|first| {
            let rest = optional[first + 1..].iter().map(later);
            CallForm::All(
                std::iter::once(optional[first].clone())
                    .chain(rest)
                    .collect(),
            )
        });
        let firsts: Vec<_> = firsts.collect();
        return match firsts.is_empty() {
            true => text(""),
            false => CallForm::Maybe(Box::new(CallForm::OneOf(firsts))),
        };
    }
    let mut all = Vec::new();
    for (index, form) in required.into_iter().enumerate() {
        all.extend((index > 0).then(|| text(between)));
        all.push(form);
    }
    all.extend(optional.iter().map(later));
    CallForm::All(all)
}

/// Values of one tool's arguments.
struct Notation<'a> {
    /// The schema of all arguments, in which others are looked up.
    root: &'a Value,
    values: Values,
    n_parts: usize,
}

impl Notation<'_> {
    fn argument(&mut self, pattern: &str, key: &str, schema: &Value) -> CallForm {
        let is_text = wants_text(&schema["type"]);
        let (pattern, value) = match self.values {
            Values::Json => (pattern.to_owned(), self.json(schema)),
            Values::Marked(mark) => (pattern.to_owned(), self.marked(mark, schema, 0)),
            Values::Bare(_) if !is_text => (pattern.to_owned(), self.json(schema)),
            Values::Bare(end) => match texts(schema) {
                Some(texts) => (
                    pattern.to_owned(),
                    CallForm::OneOf(texts.into_iter().map(text).collect()),
                ),
                None => {
                    // what stands between the value and its end is the value's
                    let (before, rest) = pattern.split_once("$value").unwrap_or((pattern, end));
                    let behind = rest.split_once(end).map_or("", |(_, behind)| behind);
                    let pattern = format!("{before}$value{behind}");
                    (pattern, CallForm::UpTo(end.to_owned()))
                }
            },
        };
        filled(&pattern, &|place| match place {
            "$key" => Some(text(key)),
            "$value" => Some(value.clone()),
            "$is_text" => Some(text(if is_text { "true" } else { "false" })),
            _ => None,
        })
    }

    /// A schema that stands alone: with the definitions that it may refer to.
    fn json(&self, schema: &Value) -> CallForm {
        let mut schema = schema.clone();
        if let Value::Object(fields) = &mut schema {
            for key in ["$defs", "definitions"] {
                if let Some(definitions) = self.root.get(key) {
                    fields.entry(key).or_insert_with(|| definitions.clone());
                }
            }
        }
        CallForm::Json(schema)
    }

    fn marked(&mut self, mark: &str, schema: &Value, depth: usize) -> CallForm {
        self.n_parts += 1;
        if depth > MAX_DEPTH || self.n_parts > MAX_PARTS {
            return anything(mark);
        }
        let depth = depth + 1;
        let quoted = |value: &str| text(&format!("{mark}{value}{mark}"));
        if let Some(place) = schema["$ref"].as_str() {
            let found = place.strip_prefix('#').and_then(|p| self.root.pointer(p));
            return match found.cloned() {
                Some(schema) => self.marked(mark, &schema, depth),
                None => anything(mark),
            };
        }
        let values = schema["enum"].as_array();
        let constant = schema.get("const").map(std::slice::from_ref);
        if let Some(values) = values.map(Vec::as_slice).or(constant) {
            let value = |value: &Value| match value {
                Value::String(text) => quoted(text),
                other => CallForm::Json(json!({"const": other})),
            };
            return CallForm::OneOf(values.iter().map(value).collect());
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[key].as_array() {
                let schemas = schemas.iter();
                let forms = schemas.map(|schema| self.marked(mark, schema, depth));
                return CallForm::OneOf(forms.collect());
            }
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let of_kind = |kind: &Value| {
                    let mut schema = schema.clone();
                    schema["type"] = kind.clone();
                    self.marked(mark, &schema, depth)
                };
                CallForm::OneOf(kinds.iter().map(of_kind).collect())
            }
            Value::String(kind) => match kind.as_str() {
                "string" => CallForm::All(vec![text(mark), CallForm::UpTo(mark.to_owned())]),
                "array" => {
                    let item = match &schema["items"] {
                        Value::Object(_) => self.marked(mark, &schema["items"], depth),
                        _ => anything(mark),
                    };
                    let items = CallForm::Several {
                        one: Box::new(item),
                        between: ",".to_owned(),
                        most: None,
                    };
                    let items = match schema["minItems"].as_u64() {
                        None | Some(0) => CallForm::Maybe(Box::new(items)),
                        _ => items,
                    };
                    CallForm::All(vec![text("["), items, text("]")])
                }
                "object" => {
                    let members = members(schema, ",", |key, schema| {
                        let value = self.marked(mark, schema, depth);
                        CallForm::All(vec![text(&format!("{key}:")), value])
                    });
                    CallForm::All(vec![text("{"), members, text("}")])
                }
                _ => CallForm::Json(schema.clone()),
            },
            _ => anything(mark),
        }
    }
}

/// A text, a number, a truth or nothing.
fn anything(mark: &str) -> CallForm {
    CallForm::OneOf(vec![
        CallForm::All(vec![text(mark), CallForm::UpTo(mark.to_owned())]),
        CallForm::Json(json!({"type": ["number", "boolean", "null"]})),
    ])
}

/// The texts that a schema of a text allows, where it says which.
fn texts(schema: &Value) -> Option<Vec<&str>> {
    let values = schema["enum"].as_array().map(Vec::as_slice);
    let values = values.or(schema.get("const").map(std::slice::from_ref))?;
    values.iter().map(Value::as_str).collect()
}
