//! Calls that must come: from models that would never make them of their own.

use super::tests::{check_error, daemon, events, post};
use crate::testing::{Answer, TestDaemon};
use serde_json::{Value, json};

fn body() -> Value {
    let weather = json!({"type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"]},
        "days": {"type": "integer", "minimum": 3, "maximum": 7}}});
    let now = json!({"type": "object", "properties": {"zone": {"type": "string", "maxLength": 3}}});
    json!({"model": "u/tooled:x", "temperature": 1, "seed": 3, "max_tokens": 300,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": weather}},
            {"type": "function", "function": {"name": "now", "parameters": now}}]})
}

fn of_weather(arguments: &Value) {
    let arguments: Value = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
    assert_eq!(arguments.as_object().unwrap().len(), 2);
    assert!(["Oslo", "Rome"].contains(&arguments["city"].as_str().unwrap()));
    assert!((3..=7).contains(&arguments["days"].as_i64().unwrap()));
}

async fn ask(daemon: &TestDaemon, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = body();
    change(&mut body);
    post(daemon, "/v1/chat/completions", &body).await
}

#[tokio::test]
async fn strict_tools_change_nothing_until_a_call_begins_and_must_have_schemas() {
    let daemon = daemon().await;
    let few = |body: &mut Value| body["max_tokens"] = json!(12);
    let free = ask(&daemon, few).await.json();
    let strict = ask(&daemon, |body| {
        few(body);
        body["tools"][0]["function"]["strict"] = json!(true);
    });
    let strict = strict.await.json();
    assert_eq!(strict["choices"], free["choices"]);
    let odd = ask(&daemon, |body| {
        few(body);
        body["tools"][0]["function"] =
            json!({"name": "f", "strict": true, "parameters": {"type": "string"}});
    });
    check_error(
        &odd.await,
        400,
        Some("tools"),
        "must be a JSON schema of an object",
    );
}

#[tokio::test]
async fn the_named_tool_is_called_once_by_its_schema_whole_and_streamed() {
    let daemon = daemon().await;
    let choice = json!({"type": "function", "function": {"name": "get_weather"}});
    let whole = ask(&daemon, |body| body["tool_choice"] = choice.clone()).await;
    assert_eq!(whole.status, 200, "{whole:?}");
    let whole = whole.json();
    let choice_of = &whole["choices"][0];
    assert_eq!(choice_of["finish_reason"], "tool_calls", "{whole}");
    assert_eq!(choice_of["message"]["content"], "");
    let calls = choice_of["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["function"]["name"], "get_weather");
    of_weather(&calls[0]["function"]["arguments"]);
    let streamed = ask(&daemon, |body| {
        body["tool_choice"] = choice;
        body["stream"] = json!(true);
    });
    let (chunks, is_done) = events(&streamed.await);
    assert!(is_done);
    let calls: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array())
        .flatten()
        .collect();
    assert_eq!(calls.len(), 1, "{chunks:?}");
    of_weather(&calls[0]["function"]["arguments"]);
}

#[tokio::test]
async fn some_tool_is_called_and_one_at_most_where_calls_must_not_be_parallel() {
    let daemon = daemon().await;
    for seed in 0..3 {
        let answer = ask(&daemon, |body| {
            body["tool_choice"] = json!("required");
            body["seed"] = json!(seed);
            body["parallel_tool_calls"] = json!(false);
        });
        let answer = answer.await.json();
        let message = &answer["choices"][0]["message"];
        let calls = message["tool_calls"].as_array().expect("calls");
        assert_eq!((calls.len(), &message["content"]), (1, &json!("")));
        let function = &calls[0]["function"];
        match function["name"].as_str().unwrap() {
            "get_weather" => of_weather(&function["arguments"]),
            "now" => assert!(function["arguments"].as_str().unwrap().starts_with('{')),
            other => panic!("{other}"),
        }
    }
    // a form for the answer gives way
    let both = ask(&daemon, |body| {
        body["tool_choice"] = json!("required");
        body["parallel_tool_calls"] = json!(false);
        body["response_format"] = json!({"type": "json_object"});
    });
    let both = both.await.json();
    assert_eq!(both["choices"][0]["finish_reason"], "tool_calls", "{both}");
}

#[tokio::test]
async fn a_call_of_what_is_not_there_is_refused() {
    let daemon = daemon().await;
    let absent = json!({"type": "function", "function": {"name": "later"}});
    let absent = ask(&daemon, |body| body["tool_choice"] = absent).await;
    check_error(&absent, 400, Some("tool_choice"), "`later`");
    let none = ask(&daemon, |body| {
        body["tool_choice"] = json!("required");
        body["tools"] = json!([]);
    });
    check_error(&none.await, 400, Some("tool_choice"), "no tools");
    let odd = ask(&daemon, |body| body["tool_choice"] = json!("perhaps")).await;
    check_error(&odd, 400, Some("tool_choice"), "\"perhaps\"");
    let schema = ask(&daemon, |body| {
        body["tool_choice"] = json!("required");
        body["tools"][0]["function"]["parameters"] = json!({"type": "string"});
    });
    check_error(&schema.await, 400, Some("tools"), "`get_weather`");
}

#[tokio::test]
async fn ollamas_and_anthropics_requests_can_ask_for_calls_too() {
    let daemon = daemon().await;
    let mut native = body();
    native["stream"] = json!(false);
    native["tool_choice"] = json!({"type": "function", "function": {"name": "get_weather"}});
    native["options"] = json!({"num_predict": 200});
    let answer = post(&daemon, "/api/chat", &native).await.json();
    let call = &answer["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "get_weather", "{answer}");
    of_weather(&json!(call["arguments"].to_string()));

    let tool = json!({"name": "get_weather", "input_schema": body()["tools"][0]["function"]["parameters"]});
    let mut claude = json!({"model": "u/tooled:x", "max_tokens": 200, "tools": [tool],
        "tool_choice": {"type": "tool", "name": "get_weather"}, "messages": [{"role": "user", "content": "hi"}]});
    let answer = post(&daemon, "/v1/messages", &claude).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    assert_eq!(answer["content"].as_array().unwrap().len(), 1);
    of_weather(&json!(answer["content"][0]["input"].to_string()));
    claude["tool_choice"] = json!({"type": "any", "disable_parallel_tool_use": true});
    let answer = post(&daemon, "/v1/messages", &claude).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
}

/// Marks of templates, one for each family and notation.
const FAMILIES: &[&str] = &[
    "<|channel|> <|message|>",
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

#[tokio::test]
async fn every_familys_notation_is_enforced() {
    let daemon = TestDaemon::with_model().await;
    for marks in FAMILIES {
        let template = format!(
            "{{{{/* {marks} */}}}}{{{{ .Tools }}}}{{{{ range .Messages }}}}[{{{{ .Role }}}}]{{{{ .Content }}}}{{{{ .ToolCalls }}}}{{{{ end }}}}"
        );
        let made =
            json!({"model": "family", "from": "tiny", "template": template, "stream": false});
        let made = post(&daemon, "/api/create", &made).await;
        assert_eq!(made.status, 200, "{made:?}");
        let mut body = body();
        body["model"] = json!("family");
        body["tool_choice"] = json!("required");
        body["parallel_tool_calls"] = json!(false);
        body["tools"].as_array_mut().unwrap().pop();
        let answer = post(&daemon, "/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 200, "{marks}: {answer:?}");
        let message = &answer.json()["choices"][0]["message"];
        // thoughts on channels have no end that a form could promise
        if marks.starts_with("<|channel|>") && message["tool_calls"].is_null() {
            continue;
        }
        let call = &message["tool_calls"][0]["function"];
        assert_eq!(call["name"], "get_weather", "{marks}: {message}");
        of_weather(&call["arguments"]);
        // texts that are free
        body["max_tokens"] = json!(5);
        body["tools"][0]["function"]["parameters"]["properties"]["city"] =
            json!({"type": "string"});
        body["parallel_tool_calls"] = json!(true);
        let free = post(&daemon, "/v1/chat/completions", &body).await;
        assert_eq!(free.status, 200, "{marks}: {free:?}");
    }
}
