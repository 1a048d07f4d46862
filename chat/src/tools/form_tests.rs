//! Texts that a form allows, read by the family's own parser.

use super::{CallForm, FormError, ToolCallParser, ToolSyntax};
use serde_json::{Map, Value, json};

/// Templates' marks, one for each family and notation.
const TEMPLATES: &[&str] = &[
    "<|tool_call>call:",
    "<start_function_call>",
    "<|tool_list_start|>",
    "<function_calls>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁begin｜> ```json",
    "<|tool_call_argument_begin|>",
    "｜DSML｜",
    "<minimax:tool_call>",
    "<function name=\" <param name=\"",
    "<arg_key>",
    "<seed:tool_call>",
    "<function= <parameter=",
    "<tool_calls>",
    "<TOOLCALL>",
    "<tool_call>",
    "[TOOL_CALLS]",
    "[TOOL_CALLS] [ARGS]",
    "<|START_ACTION|>",
    "Action: tool_name",
    "<|tool_call|>",
    "functools[",
    "tool_code",
    "python_tag",
    "nothing",
];

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "get_weather", "parameters": {
            "type": "object",
            "$defs": {"deep": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
            "properties": {
                "why": {"type": "string"},
                "city": {"type": "string", "enum": ["São Paulo", "Oslo"]},
                "days": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "deep": {"$ref": "#/$defs/deep"},
                "ok": {"type": ["boolean", "null"]},
            },
            "required": ["city", "deep"],
        }}},
    ])
}

/// A text that a form allows: all that may be there, or only what must.
struct Writer {
    is_full: bool,
    root: Value,
}

impl Writer {
    fn text(&self, form: &CallForm) -> String {
        match form {
            CallForm::Text(text) => text.clone(),
            CallForm::Digits => "3".to_owned(),
            CallForm::Json(schema) => self.value(schema, schema).to_string(),
            CallForm::JsonLines(schema) => {
                serde_json::to_string_pretty(&self.value(schema, schema)).unwrap()
            }
            CallForm::Space if self.is_full => "\n    ".to_owned(),
            CallForm::Space => String::new(),
            CallForm::UpTo(close) => format!("a \"b\" \u{e9}{close}"),
            CallForm::All(parts) => parts.iter().map(|part| self.text(part)).collect(),
            CallForm::OneOf(forms) => self.text(&forms[0]),
            CallForm::Maybe(form) if self.is_full => self.text(form),
            CallForm::Maybe(_) => String::new(),
            CallForm::Several { one, between, most } => {
                assert!(most.is_none_or(|most| most > 1));
                // calls come twice, items of a list once
                let n = if self.is_full && most.is_some() { 2 } else { 1 };
                vec![self.text(one); n].join(between)
            }
        }
    }

    fn value(&self, schema: &Value, root: &Value) -> Value {
        if let Some(place) = schema["$ref"].as_str() {
            let found = root.pointer(place.strip_prefix('#').unwrap());
            return self.value(found.expect("a definition goes along"), root);
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[0].clone();
        }
        let kind = schema["type"].as_str().or(schema["type"][0].as_str());
        match kind.expect("a type") {
            "string" => json!("a \"b\" \u{e9}"),
            "integer" | "number" => json!(-3),
            "boolean" => json!(true),
            "array" => json!([self.value(&schema["items"], root)]),
            "object" => {
                let required = schema["required"].as_array();
                let is_wanted = |key: &str| {
                    self.is_full || required.is_some_and(|names| names.iter().any(|n| n == key))
                };
                let none = Map::new();
                let properties = schema["properties"].as_object().unwrap_or(&none);
                let members = properties.iter().filter(|(key, _)| is_wanted(key));
                Value::Object(
                    members
                        .map(|(key, schema)| (key.clone(), self.value(schema, root)))
                        .collect(),
                )
            }
            other => panic!("{other}"),
        }
    }

    fn expected(&self) -> Value {
        self.value(&self.root["parameters"], &self.root["parameters"])
    }
}

#[test]
fn what_the_form_allows_is_a_call_to_the_familys_parser() {
    let tools = tools();
    for template in TEMPLATES {
        let syntax = ToolSyntax::of_template(template);
        for is_full in [false, true] {
            let form = syntax.form(&tools, Some("get_weather"), true).unwrap();
            let writer = Writer {
                is_full,
                root: tools[1]["function"].clone(),
            };
            let text = writer.text(&form);
            let mut parser = ToolCallParser::new(syntax, &tools);
            let mut split = parser.push(&text);
            let rest = parser.finish();
            split.content += &rest.content;
            split.calls.extend(rest.calls);
            assert_eq!(split.content, "", "{template}: {text}");
            assert!(!split.calls.is_empty(), "{template}: {text}");
            for call in split.calls {
                assert_eq!(call.name, "get_weather");
                let mut arguments = Value::Object(call.arguments);
                // a list's texts keep their quotes where JSON is written within text
                arguments.sort_all_objects();
                let mut expected = writer.expected();
                expected.sort_all_objects();
                assert_eq!(arguments, expected, "{template}: {text}");
            }
        }
    }
}

#[test]
fn what_must_follow_the_mark_is_a_call_to_the_familys_parser() {
    let mut tools = tools();
    let mut without = Vec::new();
    for template in TEMPLATES {
        let syntax = ToolSyntax::of_template(template);
        tools[1]["function"]["strict"] = json!(false);
        assert_eq!(syntax.may_call(&tools, true), Ok(None), "{template}");
        tools[1]["function"]["strict"] = json!(true);
        let may_call = syntax.may_call(&tools, true).unwrap();
        let Some((mark, form)) = may_call.and_then(|call| call.behind_mark) else {
            without.push(*template);
            continue;
        };
        let writer = Writer {
            is_full: true,
            root: tools[1]["function"].clone(),
        };
        let text = format!("well\n{mark}{}", writer.text(&form));
        let mut parser = ToolCallParser::new(syntax, &tools);
        let mut split = parser.push(&text);
        split.calls.extend(parser.finish().calls);
        assert!(!split.calls.is_empty(), "{template}: {text}");
        assert_eq!(split.content.trim(), "well", "{template}: {text}");
    }
    assert_eq!(
        without,
        [
            "Action: tool_name",
            "functools[",
            "tool_code",
            "python_tag",
            "nothing"
        ]
    );
}

#[test]
fn what_an_answer_without_a_mark_must_be_is_calls_to_the_familys_parser() {
    let mut tools = tools();
    tools[1]["function"]["strict"] = json!(true);
    let mut with = Vec::new();
    for template in TEMPLATES {
        let syntax = ToolSyntax::of_template(template);
        let may_call = syntax.may_call(&tools, true).unwrap();
        let Some(unmarked) = may_call.and_then(|call| call.from_start) else {
            continue;
        };
        with.push(*template);
        let forms = alternatives(&unmarked.form);
        assert!(forms.len() >= 6, "{template}");
        for (form, is_full) in forms.iter().flat_map(|form| [(form, true), (form, false)]) {
            let writer = Writer {
                is_full,
                root: tools[1]["function"].clone(),
            };
            let text = writer.text(form);
            let decided = unmarked.decided_by.iter().any(|name| text.contains(name));
            assert!(decided, "{template}: {text}");
            let mut parser = ToolCallParser::new(syntax, &tools);
            let mut split = parser.push(&text);
            let rest = parser.finish();
            split.calls.extend(rest.calls);
            assert_eq!(split.content + &rest.content, "", "{template}: {text}");
            let n_calls = if is_full { 3 } else { 1 };
            assert_eq!(split.calls.len(), n_calls, "{template}: {text}");
        }
    }
    assert_eq!(with, ["<tool_call>", "python_tag", "nothing"]);
}

/// A form with each of its alternatives as the only one.
fn alternatives(form: &CallForm) -> Vec<CallForm> {
    match form {
        CallForm::OneOf(forms) => forms.iter().flat_map(alternatives).collect(),
        CallForm::All(parts) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                let others = alternatives(part);
                all = all
                    .iter()
                    .flat_map(|begun: &Vec<CallForm>| {
                        others
                            .iter()
                            .map(|other| [&begun[..], std::slice::from_ref(other)].concat())
                    })
                    .collect();
            }
            all.into_iter().map(CallForm::All).collect()
        }
        other => vec![other.clone()],
    }
}

#[test]
fn all_tools_may_be_called_or_one_and_once_or_several_times() {
    let tools = tools();
    let hermes = ToolSyntax::of_template("<tool_call>");
    let CallForm::All(parts) = hermes.form(&tools, None, false).unwrap() else {
        panic!();
    };
    assert!(matches!(&parts[1], CallForm::OneOf(calls) if calls.len() == 2));
    let CallForm::All(parts) = hermes.form(&tools, Some("now"), true).unwrap() else {
        panic!();
    };
    assert!(matches!(&parts[1], CallForm::Several { .. }));
    assert_eq!(hermes.form(&json!([]), None, true), Err(FormError::NoTools));
    assert_eq!(
        hermes.form(&tools, Some("later"), true),
        Err(FormError::Unknown("later".to_owned()))
    );
    let odd = json!([{"name": "f", "parameters": {"type": "string"}}]);
    assert_eq!(
        hermes.form(&odd, None, true),
        Err(FormError::Parameters("f".to_owned()))
    );
}

#[test]
fn a_call_on_a_channel_may_follow_thoughts() {
    let harmony = ToolSyntax::of_template("<|channel|> <|message|>");
    let tools = tools();
    for is_full in [false, true] {
        let writer = Writer {
            is_full,
            root: Value::Null,
        };
        let text = writer.text(&harmony.form(&tools, Some("now"), true).unwrap());
        let prompt = "<|start|>user<|message|>Hi<|end|><|start|>assistant";
        let mut parser = crate::AnswerParser::new(prompt, None, Some((harmony, &tools)));
        let mut answer = parser.push(&text);
        answer.extend(parser.finish());
        assert_eq!(answer.tool_calls.len(), 1, "{text}");
        assert_eq!(answer.thinking.is_empty(), !is_full, "{text}");
    }
}
