//! OpenAI's dialect through the router, on the tiny models; what is answered is compared with Ollama's dialect.

use crate::testing::{Answer, TestDaemon, golden_file, golden_model};
use axum::body::Body;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::Request;
use serde_json::{Value, json};

/// Shows all that a conversation has, and has places for tools, suffixes and thoughts.
const GO: &str = "{{ if .Suffix }}[pre]{{ .Prompt }}[suf]{{ .Suffix }}[mid]{{ else }}\
    {{ range .Tools }}[tool]{{ .Function.Name }}{{ end }}{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ .ToolName }}\
    {{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}[assistant]{{ end }}";

/// Has the tiny llama as `tiny`, and as `u/tooled:x` with a template.
pub(super) async fn daemon() -> TestDaemon {
    with_template(TestDaemon::with_model().await).await
}

async fn with_template(daemon: TestDaemon) -> TestDaemon {
    let made = json!({"model": "u/tooled:x", "from": "tiny", "template": GO, "stream": false});
    let made = daemon.post("/api/create", &made.to_string()).await;
    assert_eq!(made.status, 200, "{made:?}");
    daemon
}

pub(super) async fn post(daemon: &TestDaemon, path: &str, body: &Value) -> Answer {
    daemon.post(path, &body.to_string()).await
}

/// What Ollama's dialect answers to a prompt as it is.
pub(super) async fn raw(daemon: &TestDaemon, prompt: &str, n_predict: u32) -> Value {
    let body = json!({"model": "tiny", "raw": true, "stream": false, "prompt": prompt,
        "options": {"temperature": 0, "num_predict": n_predict}});
    post(daemon, "/api/generate", &body).await.json()
}

pub(super) fn chat(n_predict: u32) -> Value {
    json!({"model": "u/tooled:x", "temperature": 0, "max_tokens": n_predict,
        "messages": [{"role": "user", "content": "hi"}]})
}

/// The events of a stream, and whether it ended as it should.
#[track_caller]
pub(super) fn events(answer: &Answer) -> (Vec<Value>, bool) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let mut frames: Vec<&str> = answer.body.split("\n\n").collect();
    assert_eq!(frames.pop(), Some(""));
    let mut frames: Vec<&str> = frames
        .into_iter()
        .map(|frame| frame.strip_prefix("data: ").expect("a frame of data"))
        .collect();
    let is_done = frames.last() == Some(&"[DONE]");
    frames.truncate(frames.len() - usize::from(is_done));
    let parse = |frame| serde_json::from_str(frame).unwrap();
    (frames.into_iter().map(parse).collect(), is_done)
}

#[track_caller]
pub(super) fn check_error(answer: &Answer, status: u16, param: Option<&str>, message: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let error = &answer.json()["error"];
    let text = error["message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
    assert_eq!(error["param"], json!(param), "{text}");
    let kind = match status {
        404 => "not_found_error",
        _ => "invalid_request_error",
    };
    assert_eq!(error["type"], kind);
    assert!(error.as_object().unwrap().contains_key("code"));
}

#[tokio::test]
async fn a_conversation_is_answered_whole() {
    let daemon = daemon().await;
    let answer = post(&daemon, "/v1/chat/completions", &chat(6)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let expected = raw(&daemon, "[user]hi[assistant]", 6).await;
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("chat.completion"), &json!("u/tooled:x"))
    );
    assert!(answer["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(
        answer["choices"],
        json!([{
            "index": 0, "message": {"role": "assistant", "content": expected["response"]},
            "logprobs": null, "finish_reason": "length"
        }])
    );
    let n_prompt = expected["prompt_eval_count"].as_u64().unwrap();
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": n_prompt, "completion_tokens": 6, "total_tokens": n_prompt + 6,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
    );
    // the same again is known already, up to the last token
    let again = post(&daemon, "/v1/chat/completions", &chat(6)).await.json();
    assert_eq!(again["choices"], answer["choices"]);
    assert_eq!(
        again["usage"]["prompt_tokens_details"]["cached_tokens"],
        n_prompt - 1
    );
    assert_ne!(again["id"], answer["id"]);
}

#[tokio::test]
async fn what_one_key_asked_is_not_known_to_another() {
    let daemon = daemon().await;
    let n_cached = async |name: &str, key: &str| {
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header(name, key)
            .body(Body::from(chat(3).to_string()));
        let answer = daemon.send(request.unwrap()).await.json();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(n_cached("authorization", "Bearer a").await, 0);
    assert_eq!(n_cached("authorization", "Bearer b").await, 0);
    assert_eq!(n_cached("x-api-key", "a").await, 0);
    assert_eq!(n_cached("user-agent", "no key").await, 0);
    let known = n_cached("authorization", "Bearer a").await;
    assert!(known > 0);
    assert_eq!(n_cached("user-agent", "another, no key").await, known);
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_reason_usage_and_done() {
    let daemon = daemon().await;
    let whole = post(&daemon, "/v1/chat/completions", &chat(6)).await.json();
    let mut body = chat(6);
    body["stream"] = json!(true);
    let plain = post(&daemon, "/v1/chat/completions", &body).await;
    body["stream_options"] = json!({"include_usage": true});
    let with_usage = post(&daemon, "/v1/chat/completions", &body).await;
    for (answer, has_usage) in [(plain, false), (with_usage, true)] {
        let (mut chunks, is_done) = events(&answer);
        assert!(is_done);
        assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk"
            && c["id"] == chunks[0]["id"]
            && c["created"] == chunks[0]["created"]
            && c["model"] == "u/tooled:x"));
        if has_usage {
            let last = chunks.pop().unwrap();
            assert_eq!(last["choices"], json!([]));
            let usage = &last["usage"];
            assert_eq!(usage["total_tokens"], whole["usage"]["total_tokens"]);
            assert!(usage["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0));
            assert!(chunks.iter().all(|c| c.get("usage") == Some(&Value::Null)));
        } else {
            assert!(chunks.iter().all(|c| c.get("usage").is_none()));
        }
        let choices: Vec<&Value> = chunks.iter().map(|c| &c["choices"][0]).collect();
        assert_eq!(
            choices[0]["delta"],
            json!({"role": "assistant", "content": ""})
        );
        let (last, deltas) = choices.split_last().unwrap();
        assert_eq!(
            (&last["delta"], &last["finish_reason"]),
            (&json!({}), &json!("length"))
        );
        assert!(deltas.iter().all(|c| c["finish_reason"].is_null()));
        let texts = deltas
            .iter()
            .map(|c| c["delta"]["content"].as_str().unwrap());
        assert_eq!(
            texts.collect::<String>(),
            whole["choices"][0]["message"]["content"]
        );
    }
}

#[tokio::test]
async fn several_answers_share_a_prompt_and_differ() {
    let daemon = daemon().await;
    let mut body = chat(12);
    body["n"] = json!(3);
    body["seed"] = json!(7);
    body["temperature"] = json!(1.5);
    let whole = post(&daemon, "/v1/chat/completions", &body).await.json();
    let text = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_owned();
    let texts: Vec<String> = whole["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert_eq!(texts.len(), 3);
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
    let one = raw(&daemon, "[user]hi[assistant]", 1).await;
    assert_eq!(whole["usage"]["prompt_tokens"], one["prompt_eval_count"]);
    assert_eq!(whole["usage"]["completion_tokens"], 36);
    // the same seed gives the same answers, streamed too
    body["stream"] = json!(true);
    let (chunks, is_done) = events(&post(&daemon, "/v1/chat/completions", &body).await);
    assert!(is_done);
    for (index, text) in texts.iter().enumerate() {
        let own = chunks.iter().map(|c| &c["choices"][0]);
        let own: Vec<&Value> = own.filter(|c| c["index"] == index).collect();
        let said = own.iter().filter_map(|c| c["delta"]["content"].as_str());
        assert_eq!(&said.collect::<String>(), text);
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert_eq!(own[own.len() - 1]["finish_reason"], "length");
    }
    for n in [0, 129] {
        body["n"] = json!(n);
        let refused = post(&daemon, "/v1/chat/completions", &body).await;
        check_error(&refused, 400, Some("n"), "`n` must be");
    }
}

#[tokio::test]
async fn tools_and_instructions_reach_the_prompt() {
    let daemon = daemon().await;
    let mut body = json!({"model": "u/tooled:x", "temperature": 0, "max_completion_tokens": 6, "tool_choice": "auto",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "messages": [
            {"role": "developer", "content": "be"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":\"x\"}"}}]},
            {"role": "tool", "content": "42", "tool_call_id": "c"}]});
    let answer = post(&daemon, "/v1/chat/completions", &body).await.json();
    let prompt =
        "[system]be[user]hi[assistant]<tool_call>f{\"a\":\"x\",\"b\":1}[tool]42f[assistant]";
    let expected = raw(&daemon, &format!("[tool]f{prompt}"), 6).await;
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        expected["response"]
    );
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        expected["prompt_eval_count"]
    );
    body["tool_choice"] = json!("none");
    let without = post(&daemon, "/v1/chat/completions", &body).await.json();
    let expected = raw(&daemon, prompt, 6).await;
    assert_eq!(
        without["usage"]["prompt_tokens"],
        expected["prompt_eval_count"]
    );
    body["tool_choice"] = json!("auto");
    body["model"] = json!("tiny");
    let refused = post(&daemon, "/v1/chat/completions", &body).await;
    check_error(&refused, 400, None, "does not support tools");
}

#[tokio::test]
async fn what_is_wrong_has_openais_shape() {
    let daemon = daemon().await;
    let with = async |key: &str, value: Value| {
        let mut body = chat(2);
        body[key] = value;
        post(&daemon, "/v1/chat/completions", &body).await
    };
    let absent = with("model", json!("absent")).await;
    check_error(&absent, 404, Some("model"), "model 'absent' not found");
    assert_eq!(absent.json()["error"]["code"], "model_not_found");
    check_error(
        &with("model", json!("")).await,
        400,
        Some("model"),
        "required",
    );
    let empty = with("messages", json!([])).await;
    check_error(
        &empty,
        400,
        Some("messages"),
        "[] is too short - 'messages'",
    );
    let hot = with("temperature", json!("hot")).await;
    check_error(&hot, 400, Some("temperature"), "field `temperature`");
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]);
    let image = with("messages", image).await;
    check_error(&image, 400, Some("messages[0]"), "does not support images");
    let formed = with("response_format", json!({"type": "xml"})).await;
    check_error(&formed, 400, Some("response_format"), "expected \"text\"");
    let schema =
        json!({"type": "json_schema", "json_schema": {"schema": {"enum": ["sea", "wind"]}}});
    let mut body = chat(12);
    body["response_format"] = schema;
    let formed = post(&daemon, "/v1/chat/completions", &body).await;
    assert_eq!(formed.status, 200, "{formed:?}");
    let said = &formed.json()["choices"][0]["message"]["content"];
    let said = said.as_str().unwrap();
    assert!(["\"sea\"", "\"wind\""].contains(&said), "{said}");
    let text = with("response_format", json!({"type": "text"})).await;
    assert_eq!(text.status, 200, "{text:?}");
    let effort = with("reasoning_effort", json!("high")).await;
    check_error(&effort, 400, None, "does not support thinking");
    assert_eq!(with("reasoning_effort", json!("none")).await.status, 200);
    let long = json!([{"role": "user", "content": "word ".repeat(2000)}]);
    let long = with("messages", long).await;
    check_error(&long, 400, None, "exceeds the available context size");
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded");
    let nothing = daemon.post("/v1/chat/completions", "").await;
    check_error(&nothing, 400, None, "missing request body");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_named_or_refused() {
    let daemon = daemon().await;
    let mut body = chat(2);
    body["user"] = json!("me");
    body["verbosity"] = json!("");
    let answer = post(&daemon, "/v1/chat/completions", &body).await;
    assert!(answer.headers.get("x-slm-warning").is_none());
    body["verbosity"] = json!("low");
    body["audio"] = json!({"voice": "x"});
    let answer = post(&daemon, "/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-slm-warning"], "ignored: verbosity, audio");
    let strict = with_template(TestDaemon::with_model_and(|config| config.strict = true).await);
    let strict = strict.await;
    let refused = post(&strict, "/v1/chat/completions", &body).await;
    check_error(&refused, 400, Some("verbosity"), "verbosity, audio");
    assert_eq!(refused.json()["error"]["code"], "unsupported_parameter");
    assert_eq!(
        post(&strict, "/v1/chat/completions", &chat(2)).await.status,
        200
    );
}

#[tokio::test]
async fn the_models_own_parameters_come_before_openais_defaults() {
    let daemon = daemon().await;
    let made = json!({"model": "cold", "from": "u/tooled:x", "stream": false,
        "parameters": {"temperature": 0, "num_predict": 5}});
    let made = post(&daemon, "/api/create", &made).await;
    assert_eq!(made.status, 200, "{made:?}");
    let messages = json!([{"role": "user", "content": "hi"}]);
    let cold = json!({"model": "cold", "messages": messages});
    let answer = post(&daemon, "/v1/chat/completions", &cold).await.json();
    let expected = raw(&daemon, "[user]hi[assistant]", 5).await;
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        expected["response"]
    );
}

#[tokio::test]
async fn models_are_listed_and_found_by_names_with_slashes() {
    let daemon = TestDaemon::new();
    let none = daemon.get("/v1/models").await.json();
    assert_eq!(none, json!({"object": "list", "data": []}));
    let daemon = self::daemon().await;
    let list = daemon.get("/v1/models").await.json();
    let mut rows: Vec<(&str, &str)> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert_eq!(row["object"], "model");
            assert!(row["created"].as_i64().unwrap() > 1_700_000_000);
            (
                row["id"].as_str().unwrap(),
                row["owned_by"].as_str().unwrap(),
            )
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [("tiny:latest", "library"), ("u/tooled:x", "u")]);
    for id in ["tiny", "tiny:latest", "u/tooled:x"] {
        let one = daemon.get(&format!("/v1/models/{id}")).await;
        assert_eq!((one.status.as_u16(), &one.json()["id"]), (200, &json!(id)));
    }
    let absent = daemon.get("/v1/models/u/absent").await;
    check_error(&absent, 404, Some("model"), "model 'u/absent' not found");
}

#[tokio::test]
async fn prompts_go_on_as_they_are() {
    let daemon = daemon().await;
    let (a, b) = (raw(&daemon, "hello", 5).await, raw(&daemon, "a b", 5).await);
    let mut body = json!({"model": "tiny", "prompt": ["hello", "a b"], "temperature": 0, "max_tokens": 5, "echo": true});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    assert_eq!(answer["object"], "text_completion");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    let echoed =
        |prompt: &str, answer: &Value| format!("{prompt}{}", answer["response"].as_str().unwrap());
    let texts = [echoed("hello", &a), echoed("a b", &b)];
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(
            answer["choices"][index],
            json!({"index": index, "text": text, "logprobs": null, "finish_reason": "length"})
        );
    }
    let n_prompt =
        a["prompt_eval_count"].as_u64().unwrap() + b["prompt_eval_count"].as_u64().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens"], n_prompt);
    assert_eq!(answer["usage"]["total_tokens"], n_prompt + 10);

    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let (mut chunks, is_done) = events(&post(&daemon, "/v1/completions", &body).await);
    assert!(is_done);
    assert_eq!(
        chunks.pop().unwrap()["usage"]["total_tokens"],
        n_prompt + 10
    );
    for (index, text) in texts.iter().enumerate() {
        let own = chunks.iter().map(|c| &c["choices"][0]);
        let own: Vec<&Value> = own.filter(|c| c["index"] == index).collect();
        let said = own.iter().map(|c| c["text"].as_str().unwrap());
        assert_eq!(&said.collect::<String>(), text);
        assert_eq!(own[own.len() - 1]["finish_reason"], "length");
    }

    // the tokens of a prompt are the same prompt
    let context = post(
        &daemon,
        "/api/generate",
        &json!({"model": "tiny", "prompt": "hello", "stream": false,
        "template": "{{ .Prompt }}", "options": {"num_predict": 1}}),
    )
    .await
    .json();
    let n = context["prompt_eval_count"].as_u64().unwrap() as usize;
    let tokens = &context["context"].as_array().unwrap()[..n];
    let body = json!({"model": "tiny", "prompt": tokens, "temperature": 0, "max_tokens": 5});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["text"], a["response"]);
    let body = json!({"model": "tiny", "prompt": [[1_000_000]], "max_tokens": 5});
    let foreign = post(&daemon, "/v1/completions", &body).await;
    check_error(&foreign, 400, Some("prompt"), "token 1000000");
    for prompt in [json!(null), json!([]), json!({}), json!([["a"]])] {
        let wrong = post(
            &daemon,
            "/v1/completions",
            &json!({"model": "tiny", "prompt": prompt}),
        )
        .await;
        check_error(&wrong, 400, Some("prompt"), "`prompt`");
    }
}

#[tokio::test]
async fn an_empty_prompt_is_the_beginning_of_a_text() {
    let daemon = daemon().await;
    // gemma puts a token in front of every prompt
    for (model, first) in [
        ("qwen3", "<|endoftext|>"),
        ("granite", "<|endoftext|>"),
        ("gemma3", "<bos>"),
    ] {
        daemon.create(model, &golden_model(model)).await;
        let body = |prompt: Value| json!({"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 5});
        let expected = post(&daemon, "/v1/completions", &body(json!(first)))
            .await
            .json();
        let expected = &expected["choices"][0]["text"];
        for nothing in [json!(""), json!([""])] {
            let answer = post(&daemon, "/v1/completions", &body(nothing)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = answer.json();
            assert_eq!(&answer["choices"][0]["text"], expected, "{model}");
            assert_eq!(answer["usage"]["prompt_tokens"], 1);
        }
    }
    // this one has a token for the beginning of turns
    let expected = raw(&daemon, "<|endoftext|>", 5).await;
    let body = json!({"model": "tiny", "prompt": ["", "hello"], "echo": true, "temperature": 0, "max_tokens": 5});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["text"], expected["response"]);
    // what stands there for the text is none of it
    let body = json!({"model": "tiny", "prompt": "", "echo": true, "logprobs": 0, "temperature": 0, "max_tokens": 2});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(logprobs["text_offset"][0], 0);
    // Ollama's dialect loads the model
    let loaded = raw(&daemon, "", 5).await;
    assert_eq!(
        (&loaded["done_reason"], &loaded["response"]),
        (&json!("load"), &json!(""))
    );
}

#[tokio::test]
async fn a_last_message_of_the_assistants_is_gone_on_from() {
    let daemon = daemon().await;
    let mut body = chat(5);
    let begun = json!({"role": "assistant", "content": "Once upon "});
    body["messages"].as_array_mut().unwrap().push(begun);
    let expected = raw(&daemon, "[user]hi[assistant]Once upon ", 5).await;
    let answer = post(&daemon, "/v1/chat/completions", &body).await.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        expected["response"]
    );
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        expected["prompt_eval_count"]
    );
    let ollama = json!({"model": "u/tooled:x", "messages": body["messages"], "stream": false,
        "options": {"temperature": 0, "num_predict": 5}});
    let answer = post(&daemon, "/api/chat", &ollama).await.json();
    assert_eq!(answer["message"]["content"], expected["response"]);
    // a call that was made has ended its turn
    body["messages"][1]["tool_calls"] =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let prompt = "[user]hi[assistant]Once upon <tool_call>f{}[assistant]";
    let expected = raw(&daemon, prompt, 5).await;
    let answer = post(&daemon, "/v1/chat/completions", &body).await.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        expected["response"]
    );
}

#[tokio::test]
async fn a_suffix_goes_through_the_models_template() {
    let daemon = daemon().await;
    let mut body = json!({"model": "u/tooled:x", "prompt": "a", "suffix": "b", "temperature": 0, "max_tokens": 5});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    let expected = raw(&daemon, "[pre]a[suf]b[mid]", 5).await;
    assert_eq!(answer["choices"][0]["text"], expected["response"]);
    body["model"] = json!("tiny");
    let refused = post(&daemon, "/v1/completions", &body).await;
    check_error(&refused, 400, Some("suffix"), "does not support insert");
}

#[tokio::test]
async fn vectors_come_as_numbers_or_base64_of_texts_or_tokens() {
    let daemon = TestDaemon::new();
    daemon.create("vec", &golden_model("bert-mean")).await;
    let texts = ["a small boat", "rain"];
    let native = post(
        &daemon,
        "/api/embed",
        &json!({"model": "vec", "input": texts}),
    )
    .await
    .json();
    let embed = async |mut body: Value| {
        body["model"] = json!("vec");
        post(&daemon, "/v1/embeddings", &body).await
    };
    let floats = embed(json!({"input": texts})).await.json();
    assert_eq!(
        (&floats["object"], &floats["model"]),
        (&json!("list"), &json!("vec"))
    );
    for index in [0, 1] {
        let row = &floats["data"][index];
        assert_eq!(
            (&row["object"], &row["index"]),
            (&json!("embedding"), &json!(index))
        );
        assert_eq!(row["embedding"], native["embeddings"][index]);
    }
    let n = &native["prompt_eval_count"];
    assert_eq!(
        floats["usage"],
        json!({"prompt_tokens": n, "total_tokens": n})
    );

    let coded = embed(json!({"input": texts, "encoding_format": "base64"}))
        .await
        .json();
    let bytes = BASE64_STANDARD
        .decode(coded["data"][1]["embedding"].as_str().unwrap())
        .unwrap();
    let decoded: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let expected: Vec<f32> = serde_json::from_value(native["embeddings"][1].clone()).unwrap();
    assert_eq!(decoded, expected);

    let short = embed(json!({"input": "rain", "dimensions": 8}))
        .await
        .json();
    let short: Vec<f64> = serde_json::from_value(short["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(short.len(), 8);
    assert!((short.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);

    // the reference has the tokens of its texts, with those that frame them
    let golden: Value = serde_json::from_slice(&golden_file("bert-mean.json")).unwrap();
    let case = &golden["cases"][0];
    let tokens = case["tokens"].as_array().unwrap();
    let of_text = embed(json!({"input": case["text"]})).await.json();
    let inner = &tokens[1..tokens.len() - 1];
    for input in [json!(inner), json!([inner])] {
        let of_tokens = embed(json!({"input": input})).await.json();
        let values = of_tokens["data"][0]["embedding"].as_array().unwrap();
        for (value, expected) in values.iter().zip(case["embedding"].as_array().unwrap()) {
            let off = value.as_f64().unwrap() - expected.as_f64().unwrap();
            assert!(off.abs() < 1e-3, "{off}");
        }
        assert_eq!(of_tokens["data"], of_text["data"], "{of_tokens}");
        assert_eq!(of_tokens["usage"], of_text["usage"]);
    }
    for input in [
        json!(null),
        json!([]),
        json!(5),
        json!([["x"]]),
        json!([1_000_000]),
    ] {
        check_error(
            &embed(json!({"input": input})).await,
            400,
            Some("input"),
            "`input`",
        );
    }
    let format = embed(json!({"input": "x", "encoding_format": "hex"})).await;
    check_error(&format, 400, Some("encoding_format"), "hex");
    let long = "word ".repeat(400);
    let refused = embed(json!({"input": long})).await;
    check_error(&refused, 400, None, "exceeds the context length");
    assert_eq!(refused.json()["error"]["code"], "context_length_exceeded");
    assert_eq!(
        embed(json!({"input": long, "truncate": true})).await.status,
        200
    );
}
