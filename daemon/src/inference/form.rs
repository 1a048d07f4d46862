//! The form that an answer must have: from `format` on the wire to a constraint on the model's tokens.

use super::{calls, prompt::Prompt};
use crate::{error::ApiError, models::Lease};
use serde_json::Value;
use slm_chat::{MayCall, ThinkingTags};
use slm_engine::{Constraint, FromStart, Grammar, Thoughts, TokenId};

/// What `format` asks for; `None` where it asks for nothing.
///
/// # Errors
/// Anything but `json`, a JSON schema, an empty text or null.
pub(crate) fn grammar(format: Option<&Value>) -> Result<Option<Grammar>, ApiError> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text == "json" => Ok(Some(Grammar::Json)),
        Some(schema @ Value::Object(_)) => Ok(Some(Grammar::JsonSchema(schema.clone()))),
        Some(other) => Err(ApiError::bad_request(format!(
            "invalid format: {}; expected \"json\" or a valid JSON Schema object",
            beginning(&other.to_string())
        ))),
    }
}

/// A value of a request as an error shows it.
pub(crate) fn shown(value: &Value) -> String {
    beginning(&value.to_string()).to_owned()
}

/// The first characters of JSON, which escapes what is not to be shown itself.
fn beginning(json: &str) -> &str {
    const MAX_SHOWN: usize = 100;
    let end = json.char_indices().nth(MAX_SHOWN);
    &json[..end.map_or(json.len(), |(end, _)| end)]
}

/// What may stand ahead of the answer to a prompt, where the model thinks: thoughts that the prompt has opened, or that
/// the model opens itself if it `may`. The prompt may have begun the answer.
pub(super) fn thoughts(
    tags: &ThinkingTags,
    (prompt, is_begun): (&str, bool),
    may: bool,
) -> Option<Thoughts> {
    if tags.is_harmony() {
        // messages on other channels come first, and the head of the last one may say more than its channel
        return (!is_begun).then(|| Thoughts {
            opens: None,
            closes: vec!["<|channel|>final".to_owned(), "<|message|>".to_owned()],
            may_end: false,
            from_start: None,
        });
    }
    let is_open = prompt.trim_end().ends_with(&*tags.open);
    (is_open || may).then(|| Thoughts {
        opens: (!is_open).then(|| tags.open.clone().into_owned()),
        closes: vec![tags.close.clone().into_owned()],
        may_end: false,
        from_start: None,
    })
}

/// What stands ahead of a call that need not come, and the grammar of what follows: all up to the mark that calls begin
/// with, or nothing where the call shows itself otherwise. Thoughts that the prompt has opened are closed before that. The
/// prompt may have begun the answer.
pub(super) fn of_call(
    may_call: &MayCall,
    marks: &[(String, TokenId)],
    tags: Option<&ThinkingTags>,
    prompt: (&str, bool),
) -> Result<Option<(Thoughts, Grammar)>, ApiError> {
    let open = tags.and_then(|tags| thoughts(tags, prompt, false));
    // what begins behind open thoughts or begun text does not begin the answer
    let from_start = may_call.from_start.as_ref();
    let from_start = from_start.filter(|_| open.is_none() && !prompt.1);
    let from_start = from_start.map(|call| {
        Ok::<_, ApiError>(FromStart {
            grammar: calls::grammar(&call.form, marks)?,
            decided_by: call.decided_by.clone(),
        })
    });
    let from_start = from_start.transpose()?;
    let mut closes = open.map_or_else(Vec::new, |open| open.closes);
    let grammar = match (&may_call.behind_mark, &from_start) {
        (Some((mark, form)), _) => {
            closes.push((*mark).to_owned());
            calls::grammar(form, marks)?
        }
        (None, Some(form)) => form.grammar.clone(),
        (None, None) => return Ok(None),
    };
    let thoughts = Thoughts {
        opens: None,
        closes,
        may_end: true,
        from_start,
    };
    Ok(Some((thoughts, grammar)))
}

/// Compiles the grammar for the model, off the threads that serve.
///
/// # Errors
/// A grammar that cannot be enforced.
pub(super) async fn constrain(
    lease: &Lease,
    prompt: &Prompt,
    grammar: Option<Grammar>,
) -> Result<Option<Constraint>, ApiError> {
    let Some(grammar) = grammar else {
        return Ok(None);
    };
    let what = match (&prompt.calls, &grammar) {
        (Some(_), _) => "the tools cannot be enforced",
        (None, Grammar::Gbnf(_)) => "invalid GBNF grammar",
        (None, Grammar::Lark(_)) => "invalid grammar",
        (None, Grammar::Regex(_)) => "invalid regex",
        (None, _) => "invalid format",
    };
    let (engine, thoughts) = (lease.engine().clone(), prompt.thoughts.clone());
    let compiled =
        tokio::task::spawn_blocking(move || engine.constrain(&grammar, thoughts)).await?;
    let invalid = |error| ApiError::bad_request(format!("{what}: {error}"));
    compiled.map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_format_is_nothing_json_or_a_schema() {
        for nothing in [json!(null), json!("")] {
            assert_eq!(grammar(Some(&nothing)).unwrap(), None);
        }
        assert_eq!(grammar(Some(&json!("json"))).unwrap(), Some(Grammar::Json));
        let schema = json!({"type": "object"});
        assert_eq!(
            grammar(Some(&schema)).unwrap(),
            Some(Grammar::JsonSchema(schema))
        );
        for other in [json!("xml"), json!(1), json!([])] {
            assert_eq!(
                grammar(Some(&other)).unwrap_err().message(),
                format!("invalid format: {other}; expected \"json\" or a valid JSON Schema object")
            );
        }
    }

    #[test]
    fn the_form_begins_behind_thoughts() {
        let tags = |template| ThinkingTags::of_template(template).unwrap();
        let think = tags("<think></think>");
        let closes = vec!["</think>".to_owned()];
        let opened = thoughts(&think, ("question\n<think>\n", false), false).unwrap();
        assert_eq!((opened.opens, &opened.closes), (None, &closes));
        let may = thoughts(&think, ("question", false), true).unwrap();
        assert_eq!(
            (may.opens.as_deref(), &may.closes),
            (Some("<think>"), &closes)
        );
        assert_eq!(
            thoughts(&think, ("<think>\n\n</think>\n\n", false), false),
            None
        );
        let channels = tags("<|channel|>analysis");
        let asked = thoughts(&channels, ("<|start|>assistant", false), false);
        assert_eq!(asked.unwrap().closes.len(), 2);
        let begun = "<|start|>assistant<|channel|>final<|message|>So";
        assert_eq!(thoughts(&channels, (begun, true), true), None);
    }
}
