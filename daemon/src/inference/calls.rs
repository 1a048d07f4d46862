//! Answers that must be calls: from the form that a family's calls have to a grammar of the model's tokens.

use crate::error::ApiError;
use serde_json::Value;
use slm_chat::{CallForm, FormError};
use slm_engine::{Grammar, TokenId};
use std::collections::HashMap;

/// The grammar of an answer that has this form. `marks` are texts that stand for control tokens.
///
/// # Errors
/// A schema that is too large.
pub(super) fn grammar(form: &CallForm, marks: &[(String, TokenId)]) -> Result<Grammar, ApiError> {
    let mut writer = Writer {
        marks,
        rules: Vec::new(),
        names: HashMap::new(),
    };
    let calls = writer.expression(form)?;
    // models put a line or two between their thoughts and a call
    let mut text = format!("start: (\"\\n\" | \"\\n\\n\")? {calls}\n");
    for rule in &writer.rules {
        text += rule;
        text.push('\n');
    }
    Ok(Grammar::Lark(text))
}

/// What is wrong with the tools of a request that must call one.
pub(crate) fn no_form(error: &FormError) -> ApiError {
    let field = match error {
        FormError::NoTools | FormError::Unknown(_) => "tool_choice",
        FormError::Parameters(_) => "tools",
    };
    ApiError::bad_request(error.to_string()).of_field(field)
}

struct Writer<'a> {
    marks: &'a [(String, TokenId)],
    rules: Vec<String>,
    /// Rules by what they say: what occurs often is written once.
    names: HashMap<String, String>,
}

impl Writer<'_> {
    /// A rule's name; `options` stand behind it.
    fn rule(&mut self, options: &str, body: String) -> String {
        let key = format!("{options}: {body}");
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let name = format!("r{}", self.rules.len());
        self.rules.push(format!("{name}{key}"));
        self.names.insert(key, name.clone());
        name
    }

    fn expression(&mut self, form: &CallForm) -> Result<String, ApiError> {
        Ok(match form {
            CallForm::Text(text) => self.text(text),
            CallForm::Digits => "/[0-9]{1,2}/".to_owned(),
            CallForm::Json(schema) => self.json(schema, false)?,
            CallForm::JsonLines(schema) => self.json(schema, true)?,
            CallForm::Space => {
                let space = self.rule("", Grammar::lark_of_space());
                format!("({space})?")
            }
            CallForm::UpTo(close) => self.up_to(close),
            CallForm::All(parts) => {
                let parts = parts.iter().map(|part| self.expression(part));
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                let said = parts.into_iter().filter(|part| part != NOTHING);
                let all = said.collect::<Vec<_>>().join(" ");
                if all.is_empty() {
                    NOTHING.to_owned()
                } else {
                    all
                }
            }
            CallForm::OneOf(forms) => {
                let forms = forms.iter().map(|form| self.expression(form));
                let forms = forms.collect::<Result<Vec<_>, _>>()?;
                let named = forms.into_iter().map(|form| self.rule("", form));
                format!("({})", named.collect::<Vec<_>>().join(" | "))
            }
            CallForm::Maybe(form) => format!("({})?", self.expression(form)?),
            CallForm::Several { one, between, most } => {
                let one = self.expression(one)?;
                let one = self.rule("", one);
                let between = self.text(between);
                let times = most.map_or("*".to_owned(), |most| {
                    format!("{{0,{}}}", most.saturating_sub(1))
                });
                format!("{one} ({between} {one}){times}")
            }
        })
    }

    /// A rule for JSON that `schema` describes.
    fn json(&mut self, schema: &Value, lines: bool) -> Result<String, ApiError> {
        let json = Grammar::lark_of_schema(schema, lines).map_err(|error| {
            ApiError::bad_request(format!("invalid tools: {error}")).of_field("tools")
        })?;
        Ok(self.rule("", json))
    }

    /// A text, with tokens for the marks in it.
    fn text(&self, text: &str) -> String {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((at, mark, token)) = self.first_mark(rest) {
            parts.extend((at > 0).then(|| quoted(&rest[..at])));
            parts.push(format!("<[{token}]>"));
            rest = &rest[at + mark.len()..];
        }
        parts.extend((!rest.is_empty()).then(|| quoted(rest)));
        match parts.is_empty() {
            true => NOTHING.to_owned(),
            false => parts.join(" "),
        }
    }

    /// The earliest mark, of several there the longest.
    fn first_mark<'t>(&'t self, text: &str) -> Option<(usize, &'t str, TokenId)> {
        let marks = self.marks.iter();
        let found = marks.filter_map(|(mark, token)| Some((text.find(mark)?, &**mark, *token)));
        found.min_by_key(|(at, mark, _)| (*at, usize::MAX - mark.len()))
    }

    fn up_to(&mut self, close: &str) -> String {
        match self.first_mark(close) {
            Some((0, ..)) => format!("(/(.|\\n)+/)? {}", self.text(close)),
            _ => self.rule("[lazy]", format!("/(.|\\n)*/ {}", quoted(close))),
        }
    }
}

/// The empty text.
const NOTHING: &str = "\"\"";

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn marks_become_tokens_and_what_occurs_twice_a_rule() {
        let marks = [("<a>".to_owned(), 7), ("<ab>".to_owned(), 8)];
        let text = |text: &str| CallForm::Text(text.to_owned());
        let form = CallForm::All(vec![
            text(""),
            text("x<ab>\"<a>"),
            CallForm::Json(json!({"type": "integer"})),
            CallForm::Maybe(Box::new(CallForm::UpTo("<a>z".to_owned()))),
            CallForm::OneOf(vec![
                CallForm::Json(json!({"type": "integer"})),
                CallForm::UpTo("</p>".to_owned()),
            ]),
            CallForm::Several {
                one: Box::new(text("q")),
                between: String::new(),
                most: Some(3),
            },
        ]);
        let Ok(Grammar::Lark(lark)) = grammar(&form, &marks) else {
            panic!();
        };
        let lines: Vec<&str> = lark.lines().collect();
        assert_eq!(
            lines[0],
            "start: (\"\\n\" | \"\\n\\n\")? \"x\" <[8]> \"\\\"\" <[7]> r0 ((/(.|\\n)+/)? <[7]> \"z\")? (r2 | r3) r4 (\"\" r4){0,2}"
        );
        assert!(lines[1].starts_with("r0: %json {"), "{lark}");
        assert_eq!(
            lines[2..],
            [
                "r1[lazy]: /(.|\\n)*/ \"</p>\"",
                "r2: r0",
                "r3: r1",
                "r4: \"q\""
            ]
        );
    }
}
