//! From a validated request to prompt tokens.
//!
//! Rendering and tokenising take time in proportion to the conversation: both happen on a blocking thread.

use super::{calls, fill, form};
use crate::error::ApiError;
use serde_json::{Value, json};
use slm_api::ollama::Message as WireMessage;
use slm_chat::{AnswerParser, CallForm, ChatTemplate, MayCall, Message, PromptInput, ThinkingTags};
use slm_engine::{Engine, Grammar, Special, Thoughts, TokenId, Tokenizer};
use std::sync::Arc;

/// Why a prompt of no tokens is refused.
const EMPTY: &str =
    "the prompt is empty, and the model has no token that a text begins with; send a text";

/// What the model is to read.
#[derive(Clone, Debug)]
pub(crate) enum PromptSource {
    /// Text as it is.
    Raw(String),
    /// Tokens as they are.
    Tokens(Vec<TokenId>),
    /// What stands before a gap and behind it, for a model of this name that has tokens for that.
    Gap {
        model: String,
        prefix: String,
        suffix: String,
    },
    /// A conversation.
    Chat(Box<ChatPrompt>),
}

/// A conversation and what its prompt is made with.
#[derive(Clone, Debug)]
pub(crate) struct ChatPrompt {
    pub(crate) template: Arc<ChatTemplate>,
    pub(crate) messages: Vec<Message>,
    /// Tool definitions: a JSON list.
    pub(crate) tools: Option<Value>,
    /// The answer has a form of its own, and no calls are looked for in it.
    pub(crate) has_form: bool,
    /// The calls that the answer must be.
    pub(crate) must_call: Option<CallForm>,
    /// What calls must keep to that need not come.
    pub(crate) may_call: Option<MayCall>,
    pub(crate) enable_thinking: Option<bool>,
    /// `low`, `medium`, `high`, …
    pub(crate) think_level: Option<String>,
    /// What stands around the model's thoughts.
    pub(crate) thinking_tags: Option<ThinkingTags>,
    /// Text behind a gap that the model is to fill; the last message is the text before it.
    pub(crate) suffix: Option<String>,
    /// Tokens of an earlier exchange, put in front.
    pub(crate) context: Vec<TokenId>,
}

/// A prompt, ready for the engine.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) tokens: Vec<TokenId>,
    /// Takes the answer apart.
    pub(crate) parser: AnswerParser,
    /// Control tokens that `parser` must see.
    pub(crate) shown: Vec<TokenId>,
    /// What may stand ahead of the answer itself.
    pub(crate) thoughts: Option<Thoughts>,
    /// The form of the calls that must come.
    pub(crate) calls: Option<Grammar>,
    /// There is no text, and the one token stands for the beginning of one.
    pub(crate) is_blank: bool,
}

impl Prompt {
    /// Of tokens, whose answer is text and nothing else.
    fn of_tokens(tokens: Vec<TokenId>) -> Self {
        Self {
            tokens,
            parser: AnswerParser::default(),
            shown: Vec::new(),
            thoughts: None,
            calls: None,
            is_blank: false,
        }
    }
}

/// Renders and tokenises.
///
/// # Errors
/// A template that refuses the messages, a prompt of no tokens, context that is not of this model.
pub(crate) fn prepare(source: &PromptSource, engine: &Engine) -> Result<Prompt, ApiError> {
    let tokenizer = engine.tokenizer();
    let mut prompt = match source {
        PromptSource::Raw(text) => Prompt::of_tokens(tokenizer.encode_prompt(text)),
        PromptSource::Tokens(tokens) => {
            Prompt::of_tokens(super::tokens::known(tokens.clone(), tokenizer, "prompt")?)
        }
        PromptSource::Gap {
            model,
            prefix,
            suffix,
        } => Prompt::of_tokens(fill::tokens(prefix, suffix, tokenizer).ok_or_else(|| {
            ApiError::bad_request(format!("{model} does not support insert")).of_field("suffix")
        })?),
        PromptSource::Chat(chat) => {
            let text = render(chat, tokenizer)?;
            let calls = chat.tools.as_ref().filter(|_| !chat.has_form);
            let calls = calls.map(|tools| (chat.template.tool_syntax(), tools));
            let parser = AnswerParser::new(&text, chat.thinking_tags.clone(), calls);
            let is_begun = slm_chat::is_begun(&chat.messages);
            // what goes on from a text does not begin with thoughts
            let may_think = chat.enable_thinking == Some(true) && !is_begun;
            let tags = chat.thinking_tags.as_ref();
            // on channels, thoughts ahead of a call are a part of the call's form
            let is_call_on_channel =
                chat.must_call.is_some() && tags.is_some_and(ThinkingTags::is_harmony);
            let tags = tags.filter(|_| !is_call_on_channel);
            let marks = control_tokens(parser.markers(), tokenizer);
            let may_call = match &chat.may_call {
                Some(may_call) => form::of_call(may_call, &marks, tags, (&text, is_begun))?,
                None => None,
            };
            let must_call = chat.must_call.as_ref();
            let (thoughts, calls) = match may_call {
                Some((thoughts, grammar)) => (Some(thoughts), Some(grammar)),
                None => (
                    tags.and_then(|tags| form::thoughts(tags, (&text, is_begun), may_think)),
                    must_call
                        .map(|form| calls::grammar(form, &marks))
                        .transpose()?,
                ),
            };
            Prompt {
                thoughts,
                tokens: encode_after(&chat.context, &text, tokenizer)?,
                shown: marks.iter().map(|(_, token)| *token).collect(),
                calls,
                is_blank: false,
                parser,
            }
        }
    };
    if prompt.tokens.is_empty() {
        // an answer to nothing begins where texts begin
        let first = beginning(tokenizer).ok_or_else(|| ApiError::bad_request(EMPTY))?;
        prompt.tokens.push(first);
        prompt.is_blank = true;
    }
    Ok(prompt)
}

/// What stands before a text: the token between two texts, in the words that OpenAI's API promises, or else what the model
/// has for the beginning or the end of one.
fn beginning(tokenizer: &Tokenizer) -> Option<TokenId> {
    let between = tokenizer.encode("<|endoftext|>", Special::Recognise);
    let between = match between.as_slice() {
        [token] if tokenizer.is_control(*token) => Some(*token),
        _ => None,
    };
    between.or(tokenizer.bos()).or(tokenizer.eos())
}

/// The text of a conversation, as the model's template writes it.
///
/// # Errors
/// A template that refuses the messages.
pub(super) fn render(chat: &ChatPrompt, tokenizer: &Tokenizer) -> Result<String, ApiError> {
    let text_of =
        |token: Option<TokenId>| token.map_or_else(String::new, |t| tokenizer.token_text(t));
    Ok(chat.template.prompt(&PromptInput {
        messages: &chat.messages,
        tools: chat.tools.as_ref(),
        add_generation_prompt: true,
        enable_thinking: chat.enable_thinking,
        think_level: chat.think_level.as_deref(),
        thinking_tags: chat.thinking_tags.as_ref(),
        suffix: chat.suffix.as_deref(),
        bos_token: &text_of(tokenizer.bos()),
        eos_token: &text_of(tokenizer.eos()),
    })?)
}

/// The control tokens among `markers`.
fn control_tokens(markers: &[String], tokenizer: &Tokenizer) -> Vec<(String, TokenId)> {
    let single = markers.iter().filter_map(|marker| {
        match tokenizer.encode(marker, Special::Recognise).as_slice() {
            [token] if tokenizer.is_control(*token) && !tokenizer.is_end_of_generation(*token) => {
                Some((marker.clone(), *token))
            }
            _ => None,
        }
    });
    single.collect()
}

/// The tokens of `text`, behind those of an earlier exchange, which has the beginning of the sequence already.
fn encode_after(
    context: &[TokenId],
    text: &str,
    tokenizer: &Tokenizer,
) -> Result<Vec<TokenId>, ApiError> {
    if context.is_empty() {
        return Ok(tokenizer.encode_prompt(text));
    }
    if let Some(foreign) = context
        .iter()
        .find(|t| **t as usize >= tokenizer.vocab_size())
    {
        return Err(ApiError::bad_request(format!(
            "`context` holds token {foreign}, which this model does not have; send what an answer of the same model returned"
        )));
    }
    let mut tokens = context.to_vec();
    let fresh = tokenizer.encode(text, Special::Recognise);
    let has_second_bos = fresh
        .first()
        .is_some_and(|first| Some(*first) == tokenizer.bos());
    tokens.extend_from_slice(&fresh[usize::from(has_second_bos)..]);
    Ok(tokens)
}

/// A message of the API as templates read it.
pub(crate) fn from_wire(message: &WireMessage) -> Message {
    Message {
        role: message.role.to_lowercase(),
        content: message.content.clone(),
        thinking: message.thinking.clone().filter(|text| !text.is_empty()),
        tool_calls: message
            .tool_calls
            .as_ref()
            .filter(|calls| !calls.is_empty())
            .map(|calls| calls.iter().map(with_type).collect()),
        name: message.tool_name.clone(),
        tool_call_id: message.tool_call_id.clone(),
    }
}

/// Templates expect `type: "function"` beside the function; Ollama's clients leave it out.
fn with_type(call: &Value) -> Value {
    let mut call = call.clone();
    if let Value::Object(fields) = &mut call {
        fields.entry("type").or_insert_with(|| json!("function"));
    }
    call
}

/// The model's own prefix and the request's messages: stored messages first, and the model's system text in front
/// unless the request begins with one.
pub(crate) fn conversation(
    system: Option<&str>,
    stored: &[WireMessage],
    request: Vec<Message>,
) -> Vec<Message> {
    let starts_with_system = request.first().is_some_and(|m| m.role == "system");
    let system = system.filter(|_| !starts_with_system);
    let system = system.map(|text| Message::new("system", text));
    system
        .into_iter()
        .chain(stored.iter().map(from_wire))
        .chain(request)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(messages: &[Message]) -> Vec<(&str, &str)> {
        let pairs = messages
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()));
        pairs.collect()
    }

    #[test]
    fn the_models_prefix_comes_first_and_its_system_text_gives_way() {
        let stored = [WireMessage {
            role: "User".into(),
            content: "example".into(),
            ..WireMessage::default()
        }];
        let request = vec![Message::new("user", "hi")];
        let with_model = conversation(Some("be kind"), &stored, request.clone());
        assert_eq!(
            roles(&with_model),
            [("system", "be kind"), ("user", "example"), ("user", "hi")]
        );
        let own = vec![Message::new("system", "mine"), request[0].clone()];
        assert_eq!(
            roles(&conversation(Some("be kind"), &[], own)),
            [("system", "mine"), ("user", "hi")]
        );
    }

    #[test]
    fn tool_calls_gain_the_type_that_templates_read() {
        let message = WireMessage {
            role: "assistant".into(),
            tool_calls: Some(vec![json!({"function": {"name": "f", "arguments": {}}})]),
            ..WireMessage::default()
        };
        assert_eq!(
            from_wire(&message).tool_calls,
            Some(json!([{"function": {"name": "f", "arguments": {}}, "type": "function"}]))
        );
    }
}
