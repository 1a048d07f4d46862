//! Answers in Anthropic's words: whole, and as events in the order that its clients rely on.

use super::{error_body, usage};
use crate::{
    error::ApiError,
    inference::{Event as Happened, Outcome},
    middleware::request_log,
    routes::{
        dialect::id,
        events::{self, Frames},
    },
};
use serde_json::{Map, Value};
use slm_api::anthropic::{Block, Delta, Event, Message, MessageDelta, Usage};
use slm_chat::Answer;

/// A message that has just begun.
pub(super) fn begun(model: String, n_prompt_tokens: usize) -> Message {
    Message {
        id: id("msg_"),
        kind: "message".to_owned(),
        role: "assistant".to_owned(),
        model,
        usage: Usage {
            input_tokens: n_prompt_tokens as u64,
            ..Usage::default()
        },
        ..Message::default()
    }
}

/// The message as it ended.
pub(super) fn whole(
    message: Message,
    answer: Answer,
    outcome: &Outcome,
    has_stops: bool,
) -> Message {
    let mut content = Vec::new();
    if !answer.thinking.is_empty() {
        content.push(Block::Thinking {
            thinking: answer.thinking,
            signature: String::new(),
        });
    }
    if !answer.content.is_empty() {
        content.push(Block::Text {
            text: answer.content,
        });
    }
    let calls = answer.tool_calls.into_iter();
    content.extend(calls.map(|call| Block::ToolUse {
        id: id("toolu_"),
        name: call.name,
        input: call.arguments,
    }));
    let has_calls = matches!(content.last(), Some(Block::ToolUse { .. }));
    let MessageDelta {
        stop_reason,
        stop_sequence,
    } = ended(outcome, has_calls, has_stops);
    Message {
        content,
        stop_reason,
        stop_sequence,
        usage: usage(outcome),
        ..message
    }
}

/// Stop texts are told where the client named some (`has_stops`): those of the model itself are how it ends its turn.
fn ended(outcome: &Outcome, has_calls: bool, has_stops: bool) -> MessageDelta {
    let is_clients = has_stops && outcome.reason == "stop";
    let stop_sequence = outcome.stop.clone().filter(|_| is_clients);
    let reason = match outcome.reason {
        "length" => "max_tokens",
        _ if has_calls => "tool_use",
        _ if stop_sequence.is_some() => "stop_sequence",
        _ => "end_turn",
    };
    MessageDelta {
        stop_reason: Some(reason.to_owned()),
        stop_sequence,
    }
}

/// The message as events.
pub(super) struct Script {
    /// Until it has been sent.
    message: Option<Message>,
    /// The block that is open, if one is; the next has this number.
    open: Option<Kind>,
    index: usize,
    has_calls: bool,
    /// Whether the client named texts that end the answer.
    has_stops: bool,
    /// For an error, should there be one.
    request_id: Option<String>,
}

/// Of a block that more may come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
}

impl Script {
    pub(super) fn new(message: Message, has_stops: bool) -> Self {
        Self {
            message: Some(message),
            open: None,
            index: 0,
            has_calls: false,
            has_stops,
            request_id: request_log::current_id(),
        }
    }

    /// Adds to the open block, if it is of this kind, else to a new one.
    fn add(&mut self, kind: Kind, text: String, frames: &mut Frames) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(kind) {
            self.close(frames);
            let content_block = match kind {
                Kind::Thinking => Block::Thinking {
                    thinking: String::new(),
                    signature: String::new(),
                },
                Kind::Text => Block::Text {
                    text: String::new(),
                },
            };
            self.start(content_block, frames);
            self.open = Some(kind);
        }
        let delta = match kind {
            Kind::Thinking => Delta::ThinkingDelta { thinking: text },
            Kind::Text => Delta::TextDelta { text },
        };
        self.more(delta, frames);
    }

    fn call(&mut self, name: String, input: Map<String, Value>, frames: &mut Frames) {
        self.close(frames);
        self.has_calls = true;
        let content_block = Block::ToolUse {
            id: id("toolu_"),
            name,
            input: Map::new(),
        };
        self.start(content_block, frames);
        let partial_json = Value::Object(input).to_string();
        self.more(Delta::InputJsonDelta { partial_json }, frames);
        self.stop(frames);
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.open.take().is_some() {
            self.stop(frames);
        }
    }

    fn start(&self, content_block: Block, frames: &mut Frames) {
        let index = self.index;
        let event = Event::ContentBlockStart {
            index,
            content_block,
        };
        frames.named("content_block_start", &event);
    }

    fn more(&self, delta: Delta, frames: &mut Frames) {
        let index = self.index;
        let event = Event::ContentBlockDelta { index, delta };
        frames.named("content_block_delta", &event);
    }

    fn stop(&mut self, frames: &mut Frames) {
        let event = Event::ContentBlockStop { index: self.index };
        frames.named("content_block_stop", &event);
        self.index += 1;
    }
}

impl events::Script for Script {
    fn event(&mut self, _: usize, event: Happened, frames: &mut Frames) {
        if let Some(message) = self.message.take() {
            frames.named("message_start", &Event::MessageStart { message });
        }
        match event {
            Happened::Delta(answer, _) => {
                self.add(Kind::Thinking, answer.thinking, frames);
                self.add(Kind::Text, answer.content, frames);
                for call in answer.tool_calls {
                    self.call(call.name, call.arguments, frames);
                }
            }
            Happened::Finished(outcome) => {
                self.close(frames);
                let event = Event::MessageDelta {
                    delta: ended(&outcome, self.has_calls, self.has_stops),
                    usage: usage(&outcome),
                };
                frames.named("message_delta", &event);
            }
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        frames.named("message_stop", &Event::MessageStop);
    }

    fn failed(&mut self, error: &ApiError, frames: &mut Frames) {
        frames.named("error", &error_body(error, self.request_id.clone()));
    }
}
