//! Which tools an answer may call, and which it must: `tool_choice` in OpenAI's words, for every dialect.

use crate::error::ApiError;
use crate::inference::shown;
use serde_json::Value;

/// What a request says about calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No calls; the model does not see the tools.
    None,
    /// At least one call of any of the tools.
    Any,
    /// A call of this one.
    One(String),
}

impl ToolChoice {
    /// Reads it, and leaves of `tools` what may be called.
    ///
    /// # Errors
    /// A choice that is not known.
    pub(super) fn read(
        choice: Option<&Value>,
        tools: &mut Option<Vec<Value>>,
    ) -> Result<Self, ApiError> {
        let wrong = |choice: &Value| {
            ApiError::bad_request(format!(
                "invalid `tool_choice` {}: expected \"auto\", \"none\", \"required\" or {{\"type\": \"function\", \"function\": {{\"name\": …}}}}",
                shown(choice)
            ))
            .of_field("tool_choice")
        };
        let Some(choice) = choice else {
            return Ok(Self::Auto);
        };
        let word = choice.as_str().or(choice["type"].as_str());
        Ok(match word {
            Some("auto") => Self::Auto,
            Some("required" | "any") => Self::Any,
            Some("none") => {
                *tools = None;
                Self::None
            }
            Some("function") => Self::One(name(choice).ok_or_else(|| wrong(choice))?.to_owned()),
            Some("allowed_tools") => {
                // Responses has these fields beside the type, chat completions in an object
                let inner = choice.get("allowed_tools").unwrap_or(choice);
                let allowed = inner["tools"].as_array().ok_or_else(|| wrong(choice))?;
                let allowed: Vec<&str> = allowed.iter().filter_map(name).collect();
                if let Some(tools) = tools {
                    tools.retain(|tool| name(tool).is_some_and(|name| allowed.contains(&name)));
                }
                match inner["mode"].as_str() {
                    None | Some("auto") => Self::Auto,
                    Some("required") => Self::Any,
                    Some(_) => return Err(wrong(choice)),
                }
            }
            _ => return Err(wrong(choice)),
        })
    }

    /// Whether there must be a call, and of which tool if not of any.
    pub(super) fn must_call(&self) -> Option<Option<&str>> {
        match self {
            Self::Auto | Self::None => None,
            Self::Any => Some(None),
            Self::One(name) => Some(Some(name)),
        }
    }
}

/// The name in `{function: {name}}` or `{name}`.
fn name(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str().or(tool["name"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn choices_are_read_and_tools_left_out() {
        let all = || {
            let tool = |name| json!({"type": "function", "function": {"name": name}});
            Some(vec![tool("f"), tool("g")])
        };
        let read = |choice: Value| {
            let mut tools = all();
            let choice = ToolChoice::read(Some(&choice), &mut tools)?;
            let tools = tools.unwrap_or_default();
            let names = tools.iter().filter_map(name).collect::<String>();
            Ok::<_, ApiError>((choice, names))
        };
        let with = |choice, names: &str| (choice, names.to_owned());
        assert_eq!(read(json!("auto")).unwrap(), with(ToolChoice::Auto, "fg"));
        assert_eq!(read(json!("none")).unwrap(), with(ToolChoice::None, ""));
        assert_eq!(
            read(json!("required")).unwrap(),
            with(ToolChoice::Any, "fg")
        );
        let one = with(ToolChoice::One("g".to_owned()), "fg");
        for choice in [
            json!({"type": "function", "function": {"name": "g"}}),
            json!({"type": "function", "name": "g"}),
        ] {
            assert_eq!(read(choice).unwrap(), one);
        }
        let tools = json!([{"type": "function", "name": "g"}]);
        let flat = json!({"type": "allowed_tools", "mode": "required", "tools": tools});
        assert_eq!(read(flat).unwrap(), with(ToolChoice::Any, "g"));
        let nested =
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}});
        assert_eq!(read(nested).unwrap(), with(ToolChoice::Auto, "g"));
        for wrong in [
            json!("f"),
            json!(1),
            json!({"type": "function"}),
            json!({"type": "custom"}),
        ] {
            assert_eq!(read(wrong).unwrap_err().param(), Some("tool_choice"));
        }
    }
}
