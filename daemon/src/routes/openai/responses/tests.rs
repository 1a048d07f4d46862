//! `/v1/responses` through the router, on the tiny model.

use crate::{
    routes::openai::tests::{check_error, daemon, post, raw},
    testing::{Answer, TestDaemon},
};
use serde_json::{Value, json};

fn body(input: Value) -> Value {
    json!({"model": "u/tooled:x", "input": input, "temperature": 0, "max_output_tokens": 6})
}

async fn ask(daemon: &TestDaemon, body: &Value) -> Answer {
    post(daemon, "/v1/responses", body).await
}

/// The events of a stream, numbered from 0 and each named as its data says.
#[track_caller]
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = |(n, frame): (usize, &str)| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        assert_eq!(data["sequence_number"], n);
        data
    };
    let frames = answer.body.split_terminator("\n\n").enumerate();
    frames.map(event).collect()
}

#[tokio::test]
async fn a_text_is_answered_kept_and_gone_on_from() {
    let daemon = daemon().await;
    let mut first = body(json!("hi"));
    first["instructions"] = json!("be");
    first["metadata"] = json!({"a": "b"});
    let answer = ask(&daemon, &first).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let expected = raw(&daemon, "[system]be[user]hi[assistant]", 6).await;
    let said = expected["response"].as_str().unwrap();
    let item = &answer["output"][0];
    assert_eq!(item["content"][0]["text"], said);
    assert_eq!(
        (&item["type"], &item["role"], &item["status"]),
        (&json!("message"), &json!("assistant"), &json!("incomplete"))
    );
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(answer["metadata"], json!({"a": "b"}));
    assert_eq!(answer["usage"]["output_tokens"], 6);
    assert_eq!(
        answer["usage"]["input_tokens"],
        expected["prompt_eval_count"]
    );
    let id = answer["id"].as_str().unwrap();

    let kept = daemon.get(&format!("/v1/responses/{id}")).await.json();
    assert_eq!(kept, answer);
    let mut next = body(json!([{"role": "user", "content": "more"}]));
    next["previous_response_id"] = json!(id);
    let second = ask(&daemon, &next).await.json();
    // instructions are not carried over
    let prompt = format!("[user]hi[assistant]{said}[user]more[assistant]");
    let expected = raw(&daemon, &prompt, 6).await;
    assert_eq!(
        second["output"][0]["content"][0]["text"],
        expected["response"]
    );
    assert_eq!(second["previous_response_id"], id);
    let second_id = second["id"].as_str().unwrap();
    let items = daemon
        .get(&format!(
            "/v1/responses/{second_id}/input_items?order=asc&limit=2"
        ))
        .await
        .json();
    let texts: Vec<&Value> = items["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["content"][0]["text"])
        .collect();
    assert_eq!(
        (texts, &items["has_more"]),
        (vec![&json!("hi"), &json!(said)], &json!(true))
    );
    let after = items["last_id"].as_str().unwrap();
    let rest = daemon
        .get(&format!(
            "/v1/responses/{second_id}/input_items?order=asc&after={after}"
        ))
        .await
        .json();
    assert_eq!(rest["data"][0]["content"][0]["text"], "more");
    assert_eq!(rest["has_more"], false);

    let cancelled = daemon.post(&format!("/v1/responses/{id}/cancel"), "").await;
    check_error(&cancelled, 400, None, "is over");
    let deleted = daemon
        .call("DELETE", &format!("/v1/responses/{id}"), "")
        .await;
    assert_eq!(
        deleted.json(),
        json!({"id": id, "object": "response", "deleted": true})
    );
    for (method, path) in [
        ("GET", format!("/v1/responses/{id}")),
        ("DELETE", format!("/v1/responses/{id}")),
        ("POST", format!("/v1/responses/{id}/cancel")),
        ("GET", format!("/v1/responses/{id}/input_items")),
    ] {
        check_error(
            &daemon.call(method, &path, "").await,
            404,
            None,
            "not found",
        );
    }
    let gone = ask(&daemon, &next).await;
    check_error(&gone, 400, Some("previous_response_id"), "not found");
    assert_eq!(gone.json()["error"]["code"], "previous_response_not_found");
    next["previous_response_id"] = json!(second_id);
    next["store"] = json!(false);
    let unkept = ask(&daemon, &next).await.json();
    let id = unkept["id"].as_str().unwrap();
    assert_eq!(daemon.get(&format!("/v1/responses/{id}")).await.status, 404);
}

#[tokio::test]
async fn events_come_in_the_order_that_clients_rely_on() {
    let daemon = daemon().await;
    let whole = ask(&daemon, &body(json!("hi"))).await.json();
    let mut streamed = body(json!("hi"));
    streamed["stream"] = json!(true);
    let events = events(&ask(&daemon, &streamed).await);
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    let n_deltas = kinds.len() - 8;
    assert_eq!(
        kinds[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added"
        ]
    );
    assert!(
        kinds[4..4 + n_deltas]
            .iter()
            .all(|k| *k == "response.output_text.delta")
    );
    assert_eq!(
        kinds[4 + n_deltas..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete"
        ]
    );
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    let deltas = events.iter().filter_map(|e| e["delta"].as_str());
    assert_eq!(deltas.collect::<String>(), text);
    assert_eq!(events[4 + n_deltas]["text"], text);
    let last = &events[events.len() - 1]["response"];
    assert_eq!(last["output"][0]["content"], whole["output"][0]["content"]);
    assert_eq!(last["usage"]["output_tokens"], 6);
    let item_id = &last["output"][0]["id"];
    for event in &events[3..events.len() - 2] {
        assert_eq!(
            (&event["item_id"], &event["content_index"]),
            (item_id, &json!(0))
        );
    }
    let id = last["id"].as_str().unwrap();
    let kept = daemon.get(&format!("/v1/responses/{id}")).await.json();
    assert_eq!(&kept, last);
}

#[tokio::test]
async fn calls_are_items_and_their_outputs_go_on_from_them() {
    let daemon = daemon().await;
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}});
    let tools = json!([{"type": "function", "name": "f", "parameters": schema, "strict": true}]);
    let mut first = body(json!("hi"));
    first["tools"] = tools.clone();
    first["tool_choice"] = json!({"type": "function", "name": "f"});
    first["max_output_tokens"] = json!(200);
    first["stream"] = json!(true);
    let events = events(&ask(&daemon, &first).await);
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds[2..],
        [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let response = &events[events.len() - 1]["response"];
    let call = &response["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("f"))
    );
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    let n = arguments["n"].as_i64().unwrap();
    assert!((1..=9).contains(&n));
    assert_eq!(events[3]["delta"], call["arguments"]);
    let output =
        json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "42"}]);
    let mut second = body(output);
    second["tools"] = tools;
    second["previous_response_id"] = response["id"].clone();
    let answer = ask(&daemon, &second).await.json();
    let prompt = format!("[tool]f[user]hi[assistant]<tool_call>f{{\"n\":{n}}}[tool]42f[assistant]");
    let expected = raw(&daemon, &prompt, 6).await;
    assert_eq!(
        answer["usage"]["input_tokens"],
        expected["prompt_eval_count"]
    );
    assert_eq!(
        answer["output"][0]["content"][0]["text"],
        expected["response"]
    );
}

#[tokio::test]
async fn answers_have_forms_and_may_be_made_in_the_background() {
    let daemon = daemon().await;
    let mut formed = body(json!("hi"));
    let schema = json!({"enum": ["sea", "wind"]});
    formed["text"] =
        json!({"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}});
    formed["include"] = json!(["message.output_text.logprobs"]);
    formed["max_output_tokens"] = json!(30);
    let answer = ask(&daemon, &formed).await.json();
    assert_eq!(answer["status"], "completed", "{answer}");
    let part = &answer["output"][0]["content"][0];
    let text = part["text"].as_str().unwrap();
    assert!(["\"sea\"", "\"wind\""].contains(&text), "{text}");
    let tokens = part["logprobs"].as_array().unwrap().iter();
    let tokens: String = tokens.map(|item| item["token"].as_str().unwrap()).collect();
    assert_eq!(tokens.trim(), text);

    let mut background = body(json!("hi"));
    background["background"] = json!(true);
    let begun = ask(&daemon, &background).await.json();
    assert_eq!(begun["status"], "in_progress", "{begun}");
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let ended = loop {
        let now = daemon.get(&path).await.json();
        if now["status"] != "in_progress" {
            break now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let expected = raw(&daemon, "[user]hi[assistant]", 6).await;
    assert_eq!(
        ended["output"][0]["content"][0]["text"],
        expected["response"]
    );

    // far more than can be made before it is cancelled
    background["max_output_tokens"] = json!(100_000);
    background["options"] = json!({"shift": true});
    background["text"] = json!({"format": {"type": "json_schema", "name": "n",
        "schema": {"type": "string", "minLength": 1000}}});
    let begun = ask(&daemon, &background).await.json();
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let cancelled = daemon.post(&format!("{path}/cancel"), "").await;
    assert_eq!(cancelled.json()["status"], "cancelled", "{cancelled:?}");
    assert_eq!(daemon.get(&path).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn what_is_wrong_names_the_field() {
    let daemon = daemon().await;
    for (field, value, param, message) in [
        (
            "input",
            json!([{"type": "computer_call"}]),
            "input",
            "computer_call",
        ),
        ("model", json!("absent"), "model", "not found"),
        (
            "conversation",
            json!({"id": "conv_1"}),
            "conversation",
            "`previous_response_id`",
        ),
        (
            "tools",
            json!([{"type": "function"}]),
            "tools",
            "`function`",
        ),
        ("tool_choice", json!("maybe"), "tool_choice", "maybe"),
        (
            "text",
            json!({"format": {"type": "xml"}}),
            "text.format",
            "xml",
        ),
        (
            "reasoning",
            json!({"effort": "much"}),
            "reasoning.effort",
            "much",
        ),
        ("top_logprobs", json!(21), "top_logprobs", "between"),
        (
            "previous_response_id",
            json!("resp_x"),
            "previous_response_id",
            "resp_x",
        ),
    ] {
        let mut body = body(json!("hi"));
        body[field] = value;
        let status = if field == "model" { 404 } else { 400 };
        check_error(&ask(&daemon, &body).await, status, Some(param), message);
    }
    let mut both = body(json!("hi"));
    both["background"] = json!(true);
    both["stream"] = json!(true);
    check_error(
        &ask(&daemon, &both).await,
        400,
        Some("background"),
        "`background`",
    );
}

#[tokio::test]
async fn thoughts_are_items_of_their_own_or_summaries() {
    use super::output::{Keeper, Turn};
    use crate::{
        inference::Event,
        routes::events::{Frames, Script},
    };
    use slm_chat::Answer;
    for (as_summary, expected) in [
        (
            false,
            [
                "response.output_item.added",
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "response.output_item.done",
            ],
        ),
        (
            true,
            [
                "response.output_item.added",
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "response.output_item.done",
            ],
        ),
    ] {
        let keeper = Keeper {
            app: TestDaemon::new().app,
            input: Vec::new(),
            cancel: tokio_util::sync::CancellationToken::new(),
            is_stored: false,
            id: None,
        };
        let mut turn = Turn::new(slm_api::responses::Response::default(), keeper, as_summary);
        let mut frames = Frames::default();
        let answer = Answer {
            thinking: "hm".to_owned(),
            content: "so".to_owned(),
            ..Answer::default()
        };
        turn.event(0, Event::Delta(answer, Vec::new()), &mut frames);
        let kinds: Vec<&str> = frames
            .written()
            .lines()
            .filter_map(|line| line.strip_prefix("event: "))
            .collect();
        assert_eq!(kinds[2..8], expected);
        assert_eq!(kinds[8], "response.output_item.added");
        let thoughts = &turn.response().output[0];
        let key = if as_summary { "summary" } else { "content" };
        assert_eq!(thoughts[key][0]["text"], "hm");
        turn.failed(&crate::error::ApiError::internal("no luck"), &mut frames);
        assert_eq!(turn.response().status, "failed");
        let last = frames
            .written()
            .lines()
            .rfind(|line| line.starts_with("event: "));
        assert_eq!(last, Some("event: response.failed"));
    }
}

#[tokio::test]
async fn what_is_wrong_in_an_address_is_said_as_elsewhere() {
    let daemon = daemon().await;
    for path in [
        "/v1/responses/x/input_items?limit=many",
        "/v1/responses/%FF",
        "/v1/models/%FF",
    ] {
        let refused = daemon.get(path).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{error}"
        );
    }
    let refused = daemon.call("HEAD", "/api/blobs/%FF", "").await;
    assert_eq!(refused.status, 400);
}
