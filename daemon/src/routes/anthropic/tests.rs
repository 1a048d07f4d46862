//! Anthropic's dialect through the router, on the tiny models; what is answered is compared with Ollama's dialect.

use super::stream::{self, Script};
use crate::{
    inference::{Event, Outcome},
    routes::events::{Frames, Script as _},
    testing::{Answer, TestDaemon},
};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use slm_api::ollama::Metrics;

const GO: &str = "{{ range .Tools }}[tool]{{ .Function.Name }}{{ end }}{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ .ToolName }}\
    {{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}[assistant]";

/// Has the tiny llama as `tiny`, and as `tooled` with a template.
async fn daemon() -> TestDaemon {
    let daemon = TestDaemon::with_model().await;
    let made = json!({"model": "tooled", "from": "tiny", "template": GO, "stream": false});
    let made = daemon.post("/api/create", &made.to_string()).await;
    assert_eq!(made.status, 200, "{made:?}");
    daemon
}

async fn ask(daemon: &TestDaemon, body: &Value) -> Answer {
    daemon.post("/v1/messages", &body.to_string()).await
}

async fn raw(daemon: &TestDaemon, prompt: &str, n_predict: u32) -> Value {
    let body = json!({"model": "tiny", "raw": true, "stream": false, "prompt": prompt,
        "options": {"temperature": 0, "num_predict": n_predict}});
    daemon.post("/api/generate", &body.to_string()).await.json()
}

fn hi(max_tokens: u32) -> Value {
    json!({"model": "tooled", "max_tokens": max_tokens, "temperature": 0, "system": "S",
        "messages": [{"role": "user", "content": "hi"}]})
}

/// The events of a stream, each named as its data says.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[track_caller]
fn check_error(answer: &Answer, status: u16, kind: &str, message: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["type"], &body["error"]["type"]),
        (&json!("error"), &json!(kind))
    );
    let text = body["error"]["message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
}

#[tokio::test]
async fn a_message_is_answered_whole_and_in_order() {
    let daemon = daemon().await;
    let answer = ask(&daemon, &hi(6)).await;
    let expected = raw(&daemon, "[system]S[user]hi[assistant]", 6).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!("tooled"))
    );
    assert_eq!(
        answer["content"],
        json!([{"type": "text", "text": expected["response"]}])
    );
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("max_tokens"), &Value::Null)
    );
    let n_prompt = expected["prompt_eval_count"].as_u64().unwrap();
    let usage = |input: u64, cached: u64, output: u64| {
        json!({"input_tokens": input, "output_tokens": output,
            "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0})
    };
    assert_eq!(answer["usage"], usage(n_prompt, 0, 6));

    let mut body = hi(6);
    body["stream"] = json!(true);
    let streamed = ask(&daemon, &body).await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let events = events(&streamed.body);
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    let n_deltas = kinds.len() - 5;
    assert_eq!(kinds[..2], ["message_start", "content_block_start"]);
    assert!(
        kinds[2..2 + n_deltas]
            .iter()
            .all(|kind| *kind == "content_block_delta")
    );
    assert_eq!(
        kinds[2 + n_deltas..],
        ["content_block_stop", "message_delta", "message_stop"]
    );
    let message = &events[0]["message"];
    assert_eq!(
        (&message["content"], &message["stop_reason"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(message["usage"], usage(n_prompt, 0, 0));
    assert_eq!(
        events[1]["content_block"],
        json!({"type": "text", "text": ""})
    );
    let texts = events.iter().filter_map(|e| e["delta"]["text"].as_str());
    assert_eq!(texts.collect::<String>(), expected["response"]);
    let ended = &events[events.len() - 2];
    assert_eq!(
        ended["delta"],
        json!({"stop_reason": "max_tokens", "stop_sequence": null})
    );
    assert_eq!(ended["usage"], usage(1, n_prompt - 1, 6));
}

#[tokio::test]
async fn the_stop_sequence_that_ended_it_is_told() {
    let daemon = daemon().await;
    let free = raw(&daemon, "[system]S[user]hi[assistant]", 24).await;
    let free = free["response"].as_str().unwrap().to_owned();
    let at = free.char_indices().nth(free.chars().count() / 2).unwrap().0;
    let stop: String = free[at..].chars().take(2).collect();
    let mut body = hi(24);
    body["stop_sequences"] = json!(["no such text", stop]);
    let answer = ask(&daemon, &body).await.json();
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("stop_sequence"), &json!(stop))
    );
    assert_eq!(
        answer["content"][0]["text"],
        free[..free.find(&stop).unwrap()]
    );
    body["stream"] = json!(true);
    let events = events(&ask(&daemon, &body).await.body);
    let ended = &events[events.len() - 2];
    assert_eq!(
        ended["delta"],
        json!({"stop_reason": "stop_sequence", "stop_sequence": stop})
    );
}

#[tokio::test]
async fn blocks_and_tools_reach_the_prompt_and_are_counted() {
    let daemon = daemon().await;
    let mut body = json!({"model": "tooled", "max_tokens": 6, "temperature": 0,
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "42"}, {"type": "text", "text": "so?"}]}]});
    let prompt =
        "[tool]f[system]a\nb[user]hi[assistant]<tool_call>f{\"a\":1}[tool]42f[user]so?[assistant]";
    let expected = raw(&daemon, prompt, 6).await;
    let answer = ask(&daemon, &body).await.json();
    assert_eq!(
        answer["content"][0]["text"], expected["response"],
        "{answer}"
    );
    let counted = daemon
        .post("/v1/messages/count_tokens", &body.to_string())
        .await;
    assert_eq!(
        counted.json(),
        json!({"input_tokens": expected["prompt_eval_count"]})
    );
    body["model"] = json!("tiny");
    let refused = ask(&daemon, &body).await;
    check_error(
        &refused,
        400,
        "invalid_request_error",
        "does not support tools",
    );
}

#[tokio::test]
async fn errors_have_anthropics_shape() {
    let daemon = daemon().await;
    let with = async |key: &str, value: Value| {
        let mut body = hi(2);
        body[key] = value;
        ask(&daemon, &body).await
    };
    let bad = "invalid_request_error";
    check_error(
        &with("model", json!("absent")).await,
        404,
        "not_found_error",
        "model 'absent' not found",
    );
    for n in [json!(null), json!(0)] {
        check_error(&with("max_tokens", n).await, 400, bad, "max_tokens");
    }
    check_error(&with("messages", json!([])).await, 400, bad, "messages");
    check_error(
        &with("temperature", json!("hot")).await,
        400,
        bad,
        "field `temperature`",
    );
    check_error(
        &with("tool_choice", json!({"type": "any"})).await,
        400,
        bad,
        "tool_choice",
    );
    check_error(
        &with("thinking", json!({"type": "deep"})).await,
        400,
        bad,
        "thinking.type",
    );
    check_error(
        &daemon.post("/v1/messages", "").await,
        400,
        bad,
        "missing request body",
    );
    let formed = json!({"format": {"type": "xml"}});
    let formed = with("output_config", formed).await;
    check_error(&formed, 400, bad, "output_config.format: expected");
    let thinking = with(
        "thinking",
        json!({"type": "enabled", "budget_tokens": 1024}),
    )
    .await;
    assert_eq!(thinking.status, 200);
    assert_eq!(
        thinking.headers["x-slm-warning"],
        "ignored: thinking.budget_tokens, thinking"
    );
    let plain = with("metadata", json!({"user_id": "x"})).await;
    assert!(plain.headers.get("x-slm-warning").is_none());
}

fn finished() -> Outcome {
    Outcome {
        reason: "stop",
        stop: None,
        metrics: Metrics::default(),
        n_thinking_tokens: 0,
        tokens: Vec::new(),
    }
}

#[test]
fn thoughts_text_and_calls_are_blocks_of_their_own() {
    let answer = |thinking: &str, content: &str, calls: &[&str]| slm_chat::Answer {
        thinking: thinking.to_owned(),
        content: content.to_owned(),
        tool_calls: calls
            .iter()
            .map(|name| slm_chat::ToolCall {
                name: (*name).to_owned(),
                arguments: serde_json::from_value(json!({"b": 1, "a": 2})).unwrap(),
            })
            .collect(),
    };
    let mut script = Script::new(stream::begun("m".to_owned(), 7), true);
    let mut frames = Frames::default();
    for delta in [
        answer("h", "", &[]),
        answer("m", "s", &[]),
        answer("", "o", &["f", "g"]),
    ] {
        script.event(0, Event::Delta(delta, Vec::new()), &mut frames);
    }
    script.event(0, Event::Finished(finished()), &mut frames);
    script.end(&mut frames);
    let all = events(frames.written());
    let told: Vec<String> = all[1..]
        .iter()
        .map(|event| {
            let kind = event["type"]
                .as_str()
                .unwrap()
                .replace("content_block_", "");
            let block = event["content_block"]["type"].as_str().unwrap_or_default();
            let delta = &event["delta"];
            let text =
                ["thinking", "text", "partial_json", "stop_reason"].map(|key| delta[key].as_str());
            let text = text.into_iter().flatten().collect::<String>();
            format!("{kind} {} {block}{text}", event["index"])
        })
        .collect();
    let json = "{\"b\":1,\"a\":2}";
    let call = |index: usize| {
        [
            format!("start {index} tool_use"),
            format!("delta {index} {json}"),
            format!("stop {index} "),
        ]
    };
    let mut expected: Vec<String> = [
        "start 0 thinking",
        "delta 0 h",
        "delta 0 m",
        "stop 0 ",
        "start 1 text",
        "delta 1 s",
        "delta 1 o",
        "stop 1 ",
    ]
    .map(str::to_owned)
    .to_vec();
    expected.extend(call(2));
    expected.extend(call(3));
    expected.extend([
        "message_delta null tool_use".to_owned(),
        "message_stop null ".to_owned(),
    ]);
    assert_eq!(told, expected);
    assert_eq!(
        all[1]["content_block"],
        json!({"type": "thinking", "thinking": "", "signature": ""})
    );
    let start = &all[9]["content_block"];
    assert_eq!((&start["name"], &start["input"]), (&json!("f"), &json!({})));
    assert!(start["id"].as_str().unwrap().starts_with("toolu_"));

    let whole = stream::whole(
        stream::begun("m".to_owned(), 7),
        answer("hm", "so", &["f"]),
        &finished(),
        true,
    );
    let whole = serde_json::to_value(whole).unwrap();
    assert_eq!(whole["stop_reason"], "tool_use");
    let kinds: Vec<&str> = whole["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    assert_eq!(whole["content"][2]["input"].to_string(), json);
}

/// What ends a turn by the model's own parameters is not the client's stop text.
#[test]
fn stop_texts_are_told_to_those_who_named_them() {
    let answer = slm_chat::Answer::default;
    for (has_stops, reason) in [(true, "stop_sequence"), (false, "end_turn")] {
        let outcome = Outcome {
            stop: Some("[INST]".to_owned()),
            ..finished()
        };
        let begun = stream::begun("m".to_owned(), 7);
        let whole = stream::whole(begun, answer(), &outcome, has_stops);
        let whole = serde_json::to_value(whole).unwrap();
        assert_eq!(whole["stop_reason"], reason);
        assert_eq!(whole["stop_sequence"].is_null(), !has_stops);
    }
}

#[tokio::test]
async fn models_are_in_the_words_of_who_asks() {
    let daemon = daemon().await;
    let get = async |path: &str| {
        let request = Request::get(path).header("anthropic-version", "2023-06-01");
        daemon.send(request.body(Body::empty()).unwrap()).await
    };
    let list = get("/v1/models").await.json();
    assert_eq!(list["has_more"], false);
    let ids: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, ["tooled:latest", "tiny:latest"]);
    assert_eq!((&list["first_id"], &list["last_id"]), (ids[0], ids[1]));
    let one = get("/v1/models/tiny").await.json();
    let names = json!({"id": one["id"], "type": one["type"], "display_name": one["display_name"]});
    assert_eq!(
        names,
        json!({"id": "tiny", "type": "model", "display_name": "tiny"})
    );
    assert_eq!(one["created_at"], list["data"][1]["created_at"]);
    let since: jiff::Timestamp = one["created_at"].as_str().unwrap().parse().unwrap();
    assert!(since > jiff::Timestamp::UNIX_EPOCH, "{since}");
    check_error(
        &get("/v1/models/absent").await,
        404,
        "not_found_error",
        "'absent' not found",
    );
    assert_eq!(daemon.get("/v1/models").await.json()["object"], "list");
}

#[tokio::test]
async fn a_conversation_that_the_service_would_keep_is_refused_in_words_that_clients_know() {
    let daemon = daemon().await;
    for thread in [
        json!({"type": "create"}),
        json!({"type": "continue", "previous_message_id": "msg_1"}),
    ] {
        let mut body = hi(4);
        body["thread"] = thread;
        let answer = ask(&daemon, &body).await;
        check_error(&answer, 400, "invalid_request_error", "send all messages");
        let details = &answer.json()["error"]["details"];
        assert_eq!(details["error_code"], "thread_unsupported_request");
    }
    let mut body = hi(4);
    body["thread"] = Value::Null;
    assert_eq!(ask(&daemon, &body).await.status, 200);
    let absent = json!({"model": "absent", "max_tokens": 1, "messages": body["messages"]});
    let absent = ask(&daemon, &absent).await.json();
    assert_eq!(absent["error"].get("details"), None, "{absent}");
}

#[tokio::test]
async fn an_assistant_message_at_the_end_is_gone_on_from() {
    let daemon = daemon().await;
    let begun = |content: Value| {
        let mut body = hi(6);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": content}));
        body
    };
    let expected = raw(&daemon, "[system]S[user]hi[assistant]Once upon", 6).await;
    let text = json!([{"type": "text", "text": expected["response"]}]);
    for content in [
        json!("Once upon"),
        json!([{"type": "text", "text": "Once upon"}]),
    ] {
        let answer = ask(&daemon, &begun(content.clone())).await;
        assert!(!answer.headers.contains_key("x-slm-warning"), "{answer:?}");
        assert_eq!(answer.json()["content"], text);
        let body = begun(content).to_string();
        let counted = daemon.post("/v1/messages/count_tokens", &body).await;
        assert_eq!(
            counted.json()["input_tokens"],
            expected["prompt_eval_count"]
        );
    }
    // one that says nothing is none
    let asked = raw(&daemon, "[system]S[user]hi[assistant]", 6).await;
    for nothing in [json!(""), json!([])] {
        let answer = ask(&daemon, &begun(nothing)).await.json();
        assert_eq!(answer["content"][0]["text"], asked["response"]);
    }
    for content in ["Once ", "Once\n", "  "] {
        let refused = ask(&daemon, &begun(json!(content))).await;
        let text = "final assistant content cannot end with trailing whitespace";
        check_error(&refused, 400, "invalid_request_error", text);
    }
    let mut formed = begun(json!("{"));
    formed["output_config"] =
        json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
    let refused = ask(&daemon, &formed).await;
    check_error(
        &refused,
        400,
        "invalid_request_error",
        "output_config.format is for whole answers",
    );
}

#[tokio::test]
async fn who_asks_for_thoughts_begins_with_thoughts() {
    let daemon = TestDaemon::with_model().await;
    let template = "{{ range .Messages }}[{{ .Role }}]{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}[assistant]";
    let made = json!({"model": "tooled", "from": "tiny", "template": template, "stream": false});
    let made = daemon.post("/api/create", &made.to_string()).await;
    assert_eq!(made.status, 200, "{made:?}");
    let mut body = hi(6);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "So"}));
    let refused = ask(&daemon, &body).await;
    check_error(
        &refused,
        400,
        "invalid_request_error",
        "begin the last assistant message with a thinking block",
    );
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    body["messages"][1]["content"] = json!([thought, {"type": "text", "text": "So"}]);
    let answer = ask(&daemon, &body).await.json();
    let prompt = "[system]S[user]hi[assistant]<think>hm</think>So";
    let expected = raw(&daemon, prompt, 6).await;
    assert_eq!(answer["content"][0]["text"], expected["response"]);
    body["thinking"] = json!({"type": "disabled"});
    body["messages"][1]["content"] = json!("So");
    let answer = ask(&daemon, &body).await.json();
    let expected = raw(&daemon, "[system]S[user]hi[assistant]So", 6).await;
    assert_eq!(answer["content"][0]["text"], expected["response"]);
}
