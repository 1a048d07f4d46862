//! `POST /v1/chat/completions`: a conversation, and one or more next turns. A disconnect cancels them all.

use super::{
    Account, Error, FINGERPRINT, error_body, find, id, logprobs, messages, n_choices, now, options,
    wants_usage,
};
use crate::{
    body::{LenientJson, non_empty},
    caller::Caller,
    error::ApiError,
    inference::{Event, Outcome},
    routes::{
        chat::{call_id, prepare},
        events::{self, Ended, Frames, Script},
        wishes::Ignored,
    },
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use slm_api::{
    ollama,
    openai::{ChatChoice, ChatCompletion, ChatDelta, ChatRequest, FunctionCall, ToolCall, Usage},
};
use std::{sync::Arc, time::Instant};

/// Parameters that change no answer here.
const HARMLESS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
    "modalities",
    // done anyway, where there is such a message
    "continue_final_message",
];

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<ChatRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let ignored = ignored(&request);
    ignored.check(&app)?;
    let record = find(&app, &request.model).await?;
    if request.messages.is_empty() {
        let text = "[] is too short - 'messages'";
        return Err(ApiError::bad_request(text).of_field("messages").into());
    }
    let n = n_choices(request.n, 1)?;
    let wants_logprobs = request.logprobs.unwrap_or(false);
    let n_top = logprobs::n_top(wants_logprobs, "top_logprobs", request.top_logprobs)?;
    let model = request.model.clone();
    let is_streamed = request.stream.unwrap_or(false);
    let with_usage = wants_usage(request.stream_options.as_ref());
    let schema = request.sampling.json_schema.as_ref();
    let format = messages::format(request.response_format.as_ref(), schema)?;
    let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
    let effort = effort.or(request.reasoning_effort);
    let keep_alive = request.sampling.keep_alive.clone();
    let request = ollama::ChatRequest {
        messages: messages::conversation(request.messages, &model)?,
        tools: messages::tools(request.tools)?,
        tool_choice: request.tool_choice,
        parallel_tool_calls: request.parallel_tool_calls,
        logprobs: Some(wants_logprobs),
        top_logprobs: Some(n_top),
        think: messages::think(effort.as_deref())?,
        options: Some(options(request.sampling, &record)),
        format,
        keep_alive,
        model: request.model,
        ..ollama::ChatRequest::default()
    };
    let (job, source) = prepare(&app, client, began, request, &record).await?;
    let generations = events::start(&app, &job, vec![source], n).await?;
    let head = Head {
        id: id("chatcmpl-"),
        created: now(),
        model,
    };
    let response = if is_streamed {
        let script = Chunks {
            head,
            turns: (0..n).map(|_| Turn::default()).collect(),
            account: Account::new(n),
            with_usage,
        };
        events::streamed(generations, script).await?
    } else {
        let answers = events::whole(generations).await?;
        Json(whole(&head, answers)).into_response()
    };
    Ok(ignored.tell(response))
}

fn ignored(request: &ChatRequest) -> Ignored {
    let mut ignored = Ignored::of(&request.rest, HARMLESS);
    let modalities = request.rest.get("modalities").and_then(Value::as_array);
    if modalities.is_some_and(|all| all.iter().any(|one| one != "text")) {
        ignored.add("modalities");
    }
    ignored
}

/// What all chunks of an answer have in common.
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn completion(&self, object: &str, choices: Vec<ChatChoice>) -> ChatCompletion {
        ChatCompletion {
            id: self.id.clone(),
            object: object.to_owned(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices,
            usage: None,
            timings: None,
        }
    }
}

/// One of the answers, as far as it has come.
#[derive(Debug, Default)]
struct Turn {
    has_begun: bool,
    n_calls: usize,
}

impl Turn {
    /// The calls, numbered on.
    fn calls(&mut self, calls: Vec<slm_chat::ToolCall>) -> Option<Vec<ToolCall>> {
        let calls = calls.into_iter().map(|call| {
            let index = self.n_calls;
            self.n_calls += 1;
            ToolCall {
                index,
                id: call_id(),
                kind: "function".to_owned(),
                function: FunctionCall {
                    name: call.name,
                    arguments: Value::Object(call.arguments).to_string(),
                },
            }
        });
        let calls: Vec<ToolCall> = calls.collect();
        (!calls.is_empty()).then_some(calls)
    }

    fn finish_reason(&self, outcome: &Outcome) -> String {
        let is_call = self.n_calls > 0 && outcome.reason == "stop";
        if is_call {
            "tool_calls"
        } else {
            outcome.reason
        }
        .to_owned()
    }
}

fn whole(head: &Head, answers: Vec<Ended>) -> ChatCompletion {
    let mut account = Account::new(answers.len());
    let choices = answers.into_iter().enumerate();
    let choices = choices.map(|(index, ended)| {
        let Ended {
            answer,
            logprobs,
            outcome,
        } = ended;
        account.add(index, &outcome);
        let mut turn = Turn::default();
        let message = ChatDelta {
            role: Some("assistant".to_owned()),
            content: Some(answer.content),
            reasoning: non_empty(Some(answer.thinking)),
            tool_calls: turn.calls(answer.tool_calls),
        };
        ChatChoice {
            index,
            message: Some(message),
            logprobs: (!logprobs.is_empty()).then(|| logprobs::of_chat(&logprobs)),
            finish_reason: Some(turn.finish_reason(&outcome)),
            ..ChatChoice::default()
        }
    });
    let choices = choices.collect();
    ChatCompletion {
        usage: Some(Some(account.usage())),
        timings: Some(account.timings()),
        ..head.completion("chat.completion", choices)
    }
}

/// The answers as chunks.
struct Chunks {
    head: Head,
    turns: Vec<Turn>,
    account: Account,
    with_usage: bool,
}

impl Chunks {
    fn send(&self, choices: Vec<ChatChoice>, usage: Option<Usage>, frames: &mut Frames) {
        frames.data(&ChatCompletion {
            timings: usage.as_ref().map(|_| self.account.timings()),
            usage: self.with_usage.then_some(usage),
            ..self.head.completion("chat.completion.chunk", choices)
        });
    }
}

impl Script for Chunks {
    fn event(&mut self, index: usize, event: Event, frames: &mut Frames) {
        let Some(turn) = self.turns.get_mut(index) else {
            return;
        };
        let mut deltas = Vec::new();
        if !std::mem::replace(&mut turn.has_begun, true) {
            deltas.push(ChatDelta {
                role: Some("assistant".to_owned()),
                content: Some(String::new()),
                ..ChatDelta::default()
            });
        }
        let mut finish_reason = None;
        let mut likelihoods = None;
        match event {
            Event::Delta(answer, logprobs) => {
                likelihoods = (!logprobs.is_empty()).then(|| logprobs::of_chat(&logprobs));
                let reasoning = non_empty(Some(answer.thinking));
                let content = non_empty(Some(answer.content));
                let tool_calls = turn.calls(answer.tool_calls);
                deltas.extend(reasoning.map(|reasoning| ChatDelta {
                    reasoning: Some(reasoning),
                    content: Some(String::new()),
                    ..ChatDelta::default()
                }));
                deltas.extend(content.map(|content| ChatDelta {
                    content: Some(content),
                    ..ChatDelta::default()
                }));
                deltas.extend(tool_calls.map(|calls| ChatDelta {
                    tool_calls: Some(calls),
                    ..ChatDelta::default()
                }));
                if deltas.is_empty() && likelihoods.is_some() {
                    deltas.push(ChatDelta {
                        content: Some(String::new()),
                        ..ChatDelta::default()
                    });
                }
            }
            Event::Finished(outcome) => {
                finish_reason = Some(turn.finish_reason(&outcome));
                self.account.add(index, &outcome);
            }
        }
        let choice = |delta, finish_reason| ChatChoice {
            index,
            delta: Some(delta),
            finish_reason,
            ..ChatChoice::default()
        };
        let n_deltas = deltas.len();
        for (i, delta) in deltas.into_iter().enumerate() {
            let logprobs = (i + 1 == n_deltas).then(|| likelihoods.take()).flatten();
            let choice = ChatChoice {
                logprobs,
                ..choice(delta, None)
            };
            self.send(vec![choice], None, frames);
        }
        if finish_reason.is_some() {
            let last = choice(ChatDelta::default(), finish_reason);
            self.send(vec![last], None, frames);
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        if self.with_usage {
            self.send(Vec::new(), Some(self.account.usage()), frames);
        }
        frames.text("[DONE]");
    }

    fn failed(&mut self, error: &ApiError, frames: &mut Frames) {
        frames.data(&error_body(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use slm_api::ollama::Metrics;
    use slm_chat::Answer;

    fn call(name: &str) -> slm_chat::ToolCall {
        slm_chat::ToolCall {
            name: name.to_owned(),
            arguments: serde_json::from_value(json!({"b": 1, "a": "x"})).unwrap(),
        }
    }

    fn finished() -> Outcome {
        Outcome {
            reason: "stop",
            stop: None,
            metrics: Metrics {
                prompt_eval_count: Some(7),
                eval_count: Some(5),
                ..Metrics::default()
            },
            n_thinking_tokens: 0,
            tokens: Vec::new(),
        }
    }

    fn head() -> Head {
        Head {
            id: "chatcmpl-1".to_owned(),
            created: 5,
            model: "m".to_owned(),
        }
    }

    #[test]
    fn thoughts_text_and_calls_stream_apart() {
        let mut script = Chunks {
            head: head(),
            turns: vec![Turn::default()],
            account: Account::new(1),
            with_usage: false,
        };
        let mut frames = Frames::default();
        let first = Answer {
            thinking: "hm".to_owned(),
            content: "so".to_owned(),
            tool_calls: vec![call("f"), call("g")],
        };
        let second = Answer {
            tool_calls: vec![call("h")],
            ..Answer::default()
        };
        script.event(0, Event::Delta(first, Vec::new()), &mut frames);
        script.event(0, Event::Delta(second, Vec::new()), &mut frames);
        script.event(0, Event::Finished(finished()), &mut frames);
        script.end(&mut frames);
        let mut lines: Vec<&str> = frames.written().split_terminator("\n\n").collect();
        assert_eq!(lines.pop(), Some("data: [DONE]"));
        let chunk = |line: &str| -> Value {
            let chunk: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            chunk["choices"][0].clone()
        };
        let mut chunks: Vec<Value> = lines.into_iter().map(chunk).collect();
        let mut ids = Vec::new();
        for chunk in &mut chunks {
            let calls = chunk["delta"].get_mut("tool_calls");
            for call in calls.and_then(Value::as_array_mut).into_iter().flatten() {
                let id = call.as_object_mut().unwrap().remove("id").unwrap();
                assert!(id.as_str().unwrap().starts_with("call_"), "{id}");
                ids.push(id);
            }
        }
        assert!(ids.len() == 3 && ids[0] != ids[1] && ids[1] != ids[2]);
        let called = |index: usize, name: &str| {
            json!({"index": index, "type": "function",
                "function": {"name": name, "arguments": "{\"b\":1,\"a\":\"x\"}"}})
        };
        let deltas: Vec<&Value> = chunks.iter().map(|c| &c["delta"]).collect();
        assert_eq!(
            deltas,
            [
                &json!({"role": "assistant", "content": ""}),
                &json!({"content": "", "reasoning": "hm"}),
                &json!({"content": "so"}),
                &json!({"tool_calls": [called(0, "f"), called(1, "g")]}),
                &json!({"tool_calls": [called(2, "h")]}),
                &json!({}),
            ]
        );
        assert_eq!(chunks[5]["finish_reason"], "tool_calls");
    }

    #[test]
    fn a_whole_answer_has_thoughts_and_calls() {
        let answer = Answer {
            thinking: "hm".to_owned(),
            content: String::new(),
            tool_calls: vec![call("f")],
        };
        let ended = Ended {
            answer,
            logprobs: Vec::new(),
            outcome: finished(),
        };
        let whole = serde_json::to_value(whole(&head(), vec![ended])).unwrap();
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(choice["message"]["reasoning"], "hm");
        let arguments = &choice["message"]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(arguments, "{\"b\":1,\"a\":\"x\"}");
        assert_eq!(whole["usage"]["total_tokens"], 12);
    }

    #[test]
    fn a_failure_is_an_event_and_the_last() {
        let mut script = Chunks {
            head: head(),
            turns: vec![Turn::default()],
            account: Account::new(1),
            with_usage: true,
        };
        let mut frames = Frames::default();
        script.failed(&ApiError::shutting_down(), &mut frames);
        let line = frames.written().strip_prefix("data: ").unwrap();
        let error: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            error,
            json!({"error": {"message": "the server is shutting down", "type": "api_error",
                "param": null, "code": null}})
        );
    }
}
