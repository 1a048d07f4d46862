//! What a chat has come to: the model, what was said, and how answers are asked for.

use serde_json::{Map, Value};
use slm_api::ollama::{ChatRequest, CreateRequest, Message, ShowResponse, Think};
use slm_modelfile::{Modelfile, ParameterKind, parameter_kind};

use super::completion::PARAMETERS;
use crate::commands::run::Common;
use crate::text::nearest::nearest;

/// A chat.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Model, system message, format and the like.
    pub common: Common,
    /// Facts about the model.
    pub info: ShowResponse,
    /// What was said, without the system message.
    pub messages: Vec<Message>,
    /// Options set here.
    pub options: Map<String, Value>,
}

impl Session {
    /// A chat in which nothing was said.
    pub(crate) fn new(common: Common, info: ShowResponse) -> Self {
        Self {
            common,
            info,
            ..Self::default()
        }
    }

    /// The request that continues the chat.
    pub(crate) fn request(&self) -> ChatRequest {
        let mut messages = Vec::with_capacity(self.messages.len() + 1);
        if let Some(system) = &self.common.system {
            messages.push(message("system", system));
        }
        messages.extend(self.messages.iter().cloned());
        ChatRequest {
            messages,
            ..self.load_request()
        }
    }

    /// The request that has the model loaded: the same without messages.
    pub(crate) fn load_request(&self) -> ChatRequest {
        ChatRequest {
            model: self.common.model.clone(),
            format: self.common.format.clone(),
            options: (!self.options.is_empty()).then(|| self.options.clone()),
            keep_alive: self.common.keep_alive.clone(),
            think: self.common.think.clone(),
            ..ChatRequest::default()
        }
    }

    /// Begins anew with another model.
    pub(crate) fn change_model(&mut self, model: String, info: ShowResponse) {
        self.switch_model(model, info);
        self.messages.clear();
    }

    /// Goes on with another model.
    pub(crate) fn switch_model(&mut self, model: String, info: ShowResponse) {
        let can_think = info.capabilities.iter().any(|name| name == "thinking");
        if !can_think {
            self.common.think = None;
        } else if self.common.think.is_none() {
            self.common.think = Some(Think::Switch(true));
        }
        self.common.model = model;
        self.info = info;
    }

    /// Whether the model takes images.
    pub(crate) fn takes_images(&self) -> bool {
        takes_images(&self.info)
    }

    /// Where the last message of the person is.
    pub(crate) fn last_question(&self) -> Option<usize> {
        self.messages
            .iter()
            .rposition(|message| message.role == "user")
    }

    /// The last answer.
    pub(crate) fn last_answer(&self) -> Option<&Message> {
        let mut messages = self.messages.iter().rev();
        messages.find(|message| message.role == "assistant")
    }

    /// The request that makes a model of this chat.
    pub(crate) fn save_request(&self, model: &str) -> CreateRequest {
        CreateRequest {
            model: model.to_owned(),
            from: Some(self.common.model.clone()),
            system: self.common.system.clone(),
            parameters: (!self.options.is_empty()).then(|| self.options.clone()),
            messages: (!self.messages.is_empty()).then(|| self.messages.clone()),
            ..CreateRequest::default()
        }
    }

    /// Sets an option, typed as a Modelfile's `PARAMETER` would be.
    ///
    /// # Errors
    /// What to tell the person.
    pub(crate) fn set_option(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let kind = parameter_kind(name).ok_or_else(|| {
            let meant = nearest(name, PARAMETERS.iter().copied());
            let meant =
                meant.map_or_else(String::new, |meant| format!(". Did you mean '{meant}'?"));
            format!("Unknown parameter '{name}'{meant}")
        })?;
        if values.len() != 1 && kind != ParameterKind::Strings {
            return Err(format!("Parameter '{name}' takes one value"));
        }
        let parameters = values.iter().map(|value| (name.to_owned(), value.clone()));
        let typed = Modelfile {
            parameters: parameters.collect(),
            ..Modelfile::default()
        }
        .params_json();
        match typed.get(name) {
            Some(value) => {
                self.options.insert(name.to_owned(), value.clone());
                Ok(())
            }
            None => Err(format!(
                "Parameter '{name}' cannot be '{}'",
                values.join(" ")
            )),
        }
    }
}

/// Whether a model takes images.
pub(crate) fn takes_images(info: &ShowResponse) -> bool {
    info.capabilities.iter().any(|name| name == "vision")
}

/// A message of plain text.
pub(crate) fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.to_owned(),
        content: content.to_owned(),
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Session {
        let common = Common {
            model: "m".into(),
            ..Common::default()
        };
        Session::new(common, ShowResponse::default())
    }

    #[test]
    fn the_request_carries_what_was_set_and_said() {
        let mut session = session();
        session.common.system = Some("Be kind.".into());
        session.common.format = Some(Value::from("json"));
        session.messages.push(message("user", "hi"));
        session
            .set_option("temperature", &["0.5".into()])
            .expect("option");
        session
            .set_option("stop", &["a".into(), "b c".into()])
            .expect("option");
        assert_eq!(
            serde_json::to_value(session.request()).expect("json"),
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": "hi"}
                ],
                "format": "json",
                "options": {"temperature": 0.5, "stop": ["a", "b c"]},
            })
        );
        assert!(session.load_request().messages.is_empty());
        assert_eq!(
            serde_json::to_value(session.save_request("mine")).expect("json"),
            json!({
                "model": "mine",
                "from": "m",
                "system": "Be kind.",
                "parameters": {"temperature": 0.5, "stop": ["a", "b c"]},
                "messages": [{"role": "user", "content": "hi"}],
            })
        );
    }

    #[test]
    fn wrong_options_are_refused() {
        let mut session = session();
        for (name, values, expected) in [
            ("frob", vec!["1"], "Unknown parameter 'frob'"),
            (
                "temprature",
                vec!["1"],
                "Unknown parameter 'temprature'. Did you mean 'temperature'?",
            ),
            ("top_k", vec!["many"], "Parameter 'top_k' cannot be 'many'"),
            ("top_k", vec!["1", "2"], "Parameter 'top_k' takes one value"),
        ] {
            let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
            assert_eq!(session.set_option(name, &values), Err(expected.to_owned()));
        }
        assert!(session.options.is_empty());
    }

    #[test]
    fn another_model_starts_afresh() {
        let mut session = session();
        session.messages.push(message("user", "hi"));
        let thinker = ShowResponse {
            capabilities: vec!["completion".into(), "thinking".into()],
            ..ShowResponse::default()
        };
        session.switch_model("t".into(), thinker.clone());
        assert_eq!(
            (session.messages.len(), session.last_question()),
            (1, Some(0))
        );
        assert_eq!(session.last_answer(), None);
        session.change_model("t".into(), thinker);
        assert!(session.messages.is_empty());
        assert_eq!(session.common.think, Some(Think::Switch(true)));
        session.change_model("m".into(), ShowResponse::default());
        assert_eq!(session.common.think, None);
    }
}
