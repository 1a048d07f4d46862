//! An answer of `/v1/responses` as it comes about: its items, and the events that tell of them, in the order that clients
//! rely on. Whole answers are made by the same code, and their events are thrown away.

use crate::{
    error::ApiError,
    inference::{Event, Outcome},
    responses::{Item, Kept},
    routes::{
        chat::call_id,
        dialect::id,
        events::{Frames, Script},
        openai::logprobs,
    },
    state::App,
};
use serde_json::{Value, json};
use slm_api::{
    ollama::Logprob,
    responses::{
        IncompleteDetails, InputTokensDetails, OutputTokensDetails, Response, ResponseError,
        ResponseUsage,
    },
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where an answer is kept, as far as it has come; without a store nowhere.
pub(super) struct Keeper {
    pub(super) app: Arc<App>,
    pub(super) input: Vec<Arc<Item>>,
    pub(super) cancel: CancellationToken,
    pub(super) is_stored: bool,
    /// Until the answer has ended.
    pub(super) id: Option<String>,
}

impl Keeper {
    /// Keeps an answer that has just begun.
    pub(super) fn begin(&self, response: &Response) {
        self.put(response, Some(self.cancel.clone()));
    }

    fn end(&mut self, response: &Response) {
        self.id = None;
        self.put(response, None);
    }

    fn put(&self, response: &Response, cancel: Option<CancellationToken>) {
        if self.is_stored {
            let kept = Kept {
                response: response.clone(),
                input: self.input.clone(),
            };
            self.app.responses.put(kept, cancel);
        }
    }

    /// Whether somebody ended the answer, other than the end of the daemon.
    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() && !self.app.shutdown.abort.is_cancelled()
    }
}

impl Drop for Keeper {
    /// Of an answer whose client went away nothing is left.
    fn drop(&mut self) {
        if let Some(id) = self.id.take().filter(|_| self.is_stored) {
            self.app.responses.remove(&id);
        }
    }
}

/// An answer as it comes about.
pub(super) struct Turn {
    response: Response,
    keeper: Keeper,
    /// Whether thoughts are told as a summary, as a request may wish.
    as_summary: bool,
    n_events: u64,
    has_begun: bool,
    open: Option<Open>,
}

/// An item that more may come to.
struct Open {
    words: &'static Words,
    id: String,
    text: String,
    logprobs: Vec<Value>,
}

/// How a kind of items with text is told of.
struct Words {
    /// Of ids.
    prefix: &'static str,
    /// Of a part with text.
    part: &'static str,
    /// Events about the text and its part begin with these.
    text_event: &'static str,
    part_event: &'static str,
    /// The number of the part.
    index: &'static str,
}

const MESSAGE: Words = Words {
    prefix: "msg_",
    part: "output_text",
    text_event: "response.output_text",
    part_event: "response.content_part",
    index: "content_index",
};
const THOUGHTS: Words = Words {
    prefix: "rs_",
    part: "reasoning_text",
    text_event: "response.reasoning_text",
    part_event: "response.content_part",
    index: "content_index",
};
const SUMMARY: Words = Words {
    prefix: "rs_",
    part: "summary_text",
    text_event: "response.reasoning_summary_text",
    part_event: "response.reasoning_summary_part",
    index: "summary_index",
};

impl Open {
    fn part(&self) -> Value {
        let mut part = json!({"type": self.words.part, "text": self.text});
        if self.words.part == MESSAGE.part {
            part["annotations"] = json!([]);
            part["logprobs"] = json!(self.logprobs);
        }
        part
    }

    fn item(&self, status: &str, parts: Value) -> Value {
        let id = &self.id;
        match self.words.part {
            part if part == MESSAGE.part => json!({
                "id": id, "type": "message", "status": status, "role": "assistant", "content": parts
            }),
            part if part == SUMMARY.part => {
                json!({"id": id, "type": "reasoning", "status": status, "summary": parts})
            }
            _ => json!({
                "id": id, "type": "reasoning", "status": status, "summary": [], "content": parts
            }),
        }
    }
}

impl Turn {
    pub(super) fn new(response: Response, keeper: Keeper, as_summary: bool) -> Self {
        Self {
            response,
            keeper,
            as_summary,
            n_events: 0,
            has_begun: false,
            open: None,
        }
    }

    /// Whether somebody ended the answer.
    pub(super) fn is_cancelled(&self) -> bool {
        self.keeper.is_cancelled()
    }

    /// The answer as far as it has come.
    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    fn send(&mut self, kind: &str, fields: Value, frames: &mut Frames) {
        let mut event = json!({"type": kind, "sequence_number": self.n_events});
        self.n_events += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        frames.named(kind, &event);
    }

    fn send_response(&mut self, kind: &str, frames: &mut Frames) {
        let response = json!(self.response);
        self.send(kind, json!({"response": response}), frames);
    }

    fn begin(&mut self, frames: &mut Frames) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.send_response("response.created", frames);
            self.send_response("response.in_progress", frames);
        }
    }

    /// Adds to the open item, if it is of this kind, else to a new one.
    fn add(&mut self, words: &'static Words, text: &str, likely: &[Logprob], frames: &mut Frames) {
        if text.is_empty() {
            return;
        }
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.words.part != words.part)
        {
            self.close("completed", frames);
            let open = Open {
                words,
                id: id(words.prefix),
                text: String::new(),
                logprobs: Vec::new(),
            };
            let (item, part) = (open.item("in_progress", json!([])), open.part());
            let index = self.response.output.len();
            let added = json!({"output_index": index, "item": item});
            self.send("response.output_item.added", added, frames);
            self.part_event("added", &open, json!({"part": part}), frames, true);
            self.open = Some(open);
        }
        let Some(mut open) = self.open.take() else {
            return;
        };
        open.text += text;
        let mut fields = json!({"delta": text});
        if words.part == MESSAGE.part {
            let likely: Vec<Value> = likely.iter().map(logprobs::with_top).collect();
            fields["logprobs"] = json!(likely);
            open.logprobs.extend(likely);
        }
        self.part_event("delta", &open, fields, frames, false);
        self.open = Some(open);
    }

    /// An event about a part (`of_part`) or its text.
    fn part_event(
        &mut self,
        what: &str,
        open: &Open,
        fields: Value,
        frames: &mut Frames,
        of_part: bool,
    ) {
        let words = open.words;
        let event = if of_part {
            words.part_event
        } else {
            words.text_event
        };
        let mut all = json!({"item_id": open.id, "output_index": self.response.output.len()});
        all[words.index] = json!(0);
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields);
        }
        self.send(&format!("{event}.{what}"), all, frames);
    }

    fn close(&mut self, status: &str, frames: &mut Frames) {
        let Some(open) = self.open.take() else {
            return;
        };
        let mut fields = json!({"text": open.text});
        if open.words.part == MESSAGE.part {
            fields["logprobs"] = json!(open.logprobs);
        }
        self.part_event("done", &open, fields, frames, false);
        let part = open.part();
        self.part_event("done", &open, json!({"part": part}), frames, true);
        self.push(open.item(status, json!([part])), frames);
    }

    /// An item that is done.
    fn push(&mut self, item: Value, frames: &mut Frames) {
        let index = self.response.output.len();
        let done = json!({"output_index": index, "item": item});
        self.send("response.output_item.done", done, frames);
        self.response.output.push(item);
    }

    fn call(&mut self, call: slm_chat::ToolCall, frames: &mut Frames) {
        self.close("completed", frames);
        let (index, item_id) = (self.response.output.len(), id("fc_"));
        let mut item = json!({
            "id": item_id, "type": "function_call", "status": "in_progress",
            "call_id": call_id(), "name": call.name, "arguments": ""
        });
        let added = json!({"output_index": index, "item": item});
        self.send("response.output_item.added", added, frames);
        let arguments = Value::Object(call.arguments).to_string();
        let place = |key: &str| json!({"item_id": item_id, "output_index": index, key: arguments});
        self.send(
            "response.function_call_arguments.delta",
            place("delta"),
            frames,
        );
        let mut done = place("arguments");
        done["name"] = item["name"].clone();
        self.send("response.function_call_arguments.done", done, frames);
        item["status"] = json!("completed");
        item["arguments"] = json!(arguments);
        self.push(item, frames);
    }

    fn finish(&mut self, outcome: &Outcome, frames: &mut Frames) {
        let is_cut = outcome.reason == "length";
        let status = if is_cut { "incomplete" } else { "completed" };
        self.close(status, frames);
        self.response.status = status.to_owned();
        self.response.incomplete_details = is_cut.then(|| IncompleteDetails {
            reason: "max_output_tokens".to_owned(),
        });
        self.response.usage = Some(usage(outcome));
        self.response.completed_at = (!is_cut).then(super::super::now);
    }
}

fn usage(outcome: &Outcome) -> ResponseUsage {
    let metrics = &outcome.metrics;
    let input_tokens = metrics.prompt_eval_count.unwrap_or(0);
    let output_tokens = metrics.eval_count.unwrap_or(0);
    ResponseUsage {
        input_tokens,
        input_tokens_details: InputTokensDetails {
            cached_tokens: metrics.prompt_cached_count.unwrap_or(0),
        },
        output_tokens,
        output_tokens_details: OutputTokensDetails {
            reasoning_tokens: outcome.n_thinking_tokens,
        },
        total_tokens: input_tokens + output_tokens,
    }
}

impl Script for Turn {
    fn event(&mut self, _: usize, event: Event, frames: &mut Frames) {
        self.begin(frames);
        match event {
            Event::Delta(answer, logprobs) => {
                let thoughts = if self.as_summary { &SUMMARY } else { &THOUGHTS };
                self.add(thoughts, &answer.thinking, &[], frames);
                self.add(&MESSAGE, &answer.content, &logprobs, frames);
                for call in answer.tool_calls {
                    self.call(call, frames);
                }
            }
            Event::Finished(outcome) => self.finish(&outcome, frames),
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        self.keeper.end(&self.response);
        let kind = format!("response.{}", self.response.status);
        self.send_response(&kind, frames);
    }

    fn failed(&mut self, error: &ApiError, frames: &mut Frames) {
        self.begin(frames);
        let (status, kind) = match self.keeper.is_cancelled() {
            true => ("cancelled", "response.incomplete"),
            false => ("failed", "response.failed"),
        };
        self.close("incomplete", frames);
        self.response.status = status.to_owned();
        self.response.error = (status == "failed").then(|| ResponseError {
            code: "server_error".to_owned(),
            message: error.message().to_owned(),
        });
        self.keeper.end(&self.response);
        self.send_response(kind, frames);
    }
}
