//! Likelihoods, biases and forms of OpenAI's requests and of our own options, on the tiny model.

use super::tests::{chat, check_error, daemon, events, post, raw};
use serde_json::{Value, json};

#[tokio::test]
async fn likelihoods_are_those_of_ollamas_dialect_whole_and_streamed() {
    let daemon = daemon().await;
    let native = json!({"model": "tiny", "raw": true, "stream": false, "prompt": "[user]hi[assistant]",
        "logprobs": true, "top_logprobs": 2, "options": {"temperature": 0, "num_predict": 5}});
    let native = post(&daemon, "/api/generate", &native).await.json();
    let expected = native["logprobs"].as_array().unwrap();
    let mut body = chat(5);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    let whole = post(&daemon, "/v1/chat/completions", &body).await.json();
    let items = whole["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(items.len(), expected.len());
    for (item, expected) in items.iter().zip(expected) {
        for key in ["token", "logprob", "bytes", "top_logprobs"] {
            assert_eq!(item[key], expected[key]);
        }
    }
    body["stream"] = json!(true);
    let (chunks, _) = events(&post(&daemon, "/v1/chat/completions", &body).await);
    let streamed: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .collect();
    assert_eq!(streamed, items.iter().collect::<Vec<_>>());
    body["logprobs"] = json!(false);
    let refused = post(&daemon, "/v1/chat/completions", &body).await;
    check_error(&refused, 400, Some("top_logprobs"), "needs `logprobs`");

    let mut body = json!({"model": "tiny", "prompt": "[user]hi[assistant]", "temperature": 0, "max_tokens": 5, "logprobs": 2});
    let answer = post(&daemon, "/v1/completions", &body).await.json();
    let choice = &answer["choices"][0];
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 5);
    let mut offset = 0;
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(tokens[i], expected["token"]);
        assert_eq!(choice["logprobs"]["token_logprobs"][i], expected["logprob"]);
        let first = expected["top_logprobs"][0]["token"].as_str().unwrap();
        let top = &choice["logprobs"]["top_logprobs"][i];
        assert_eq!(top[first], expected["top_logprobs"][0]["logprob"]);
        assert_eq!(choice["logprobs"]["text_offset"][i], offset);
        offset += tokens[i].as_str().unwrap().chars().count();
    }
    body["stream"] = json!(true);
    let (chunks, _) = events(&post(&daemon, "/v1/completions", &body).await);
    let offsets: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["text_offset"].as_array())
        .flatten()
        .collect();
    assert_eq!(json!(offsets), choice["logprobs"]["text_offset"]);
}

#[tokio::test]
async fn an_echo_says_how_likely_the_prompt_was_too() {
    let daemon = daemon().await;
    let prompt = "the old man counted boats";
    let mut body = json!({"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 3, "logprobs": 2});
    let plain = post(&daemon, "/v1/completions", &body).await.json()["choices"][0].clone();
    body["echo"] = json!(true);
    let echoed = post(&daemon, "/v1/completions", &body).await.json()["choices"][0].clone();
    let list = |choice: &Value, key: &str| choice["logprobs"][key].as_array().unwrap().clone();
    let tokens = list(&echoed, "tokens");
    let n_prompt = tokens.len() - list(&plain, "tokens").len();
    assert!(n_prompt > 2, "{tokens:?}");
    let text: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(echoed["text"], text);
    assert!(text.starts_with(prompt), "{text}");
    let likely = list(&echoed, "token_logprobs");
    assert_eq!(likely[0], Value::Null, "nothing stands ahead of it");
    assert!(likely[1..].iter().all(|one| one.as_f64().unwrap() < 0.0));
    let top = list(&echoed, "top_logprobs");
    assert_eq!(top[0], Value::Null);
    // tokens that are parts of characters have the same text
    let n_alternatives = |all: &Value| all.as_object().unwrap().len();
    assert!(
        top[1..]
            .iter()
            .all(|all| (1..=2).contains(&n_alternatives(all)))
    );
    for key in ["tokens", "token_logprobs", "top_logprobs"] {
        assert_eq!(list(&echoed, key)[n_prompt..], list(&plain, key), "{key}");
    }
    assert_eq!(
        list(&echoed, "text_offset")[n_prompt],
        prompt.chars().count()
    );

    body["stream"] = json!(true);
    let (chunks, _) = events(&post(&daemon, "/v1/completions", &body).await);
    let streamed: Vec<Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["token_logprobs"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(streamed, likely);

    // what evaluations ask for: the prompt alone
    body["stream"] = json!(false);
    body["max_tokens"] = json!(0);
    let alone = post(&daemon, "/v1/completions", &body).await.json()["choices"][0].clone();
    assert_eq!(alone["text"], prompt);
    assert_eq!(list(&alone, "token_logprobs"), likely[..n_prompt]);
    body["prompt"] = json!([5]);
    let one = post(&daemon, "/v1/completions", &body).await.json()["choices"][0].clone();
    assert_eq!(list(&one, "token_logprobs"), [Value::Null]);
    body["suffix"] = json!("x");
    let refused = post(&daemon, "/v1/completions", &body).await;
    check_error(&refused, 400, Some("echo"), "suffix");
}

#[tokio::test]
async fn a_bias_changes_what_is_chosen() {
    let daemon = daemon().await;
    let free = post(&daemon, "/v1/chat/completions", &chat(3)).await.json();
    let said = |answer: &Value| {
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let context = json!({"model": "tiny", "text": "the"});
    let tokens = post(&daemon, "/api/tokenize", &context).await.json()["tokens"].clone();
    let token = tokens[0].to_string();
    let mut body = chat(3);
    body["logit_bias"] = json!({token.clone(): 100});
    let pushed = post(&daemon, "/v1/chat/completions", &body).await;
    assert!(pushed.headers.get("x-slm-warning").is_none());
    let pushed = said(&pushed.json());
    assert_ne!(pushed, said(&free));
    let text = json!({"model": "tiny", "tokens": [tokens[0], tokens[0], tokens[0]]});
    let text = post(&daemon, "/api/detokenize", &text).await.json();
    assert_eq!(pushed.trim(), text["text"].as_str().unwrap().trim());
    body["logit_bias"] = json!({token: 101});
    let refused = post(&daemon, "/v1/chat/completions", &body).await;
    check_error(&refused, 400, Some("logit_bias"), "-100");
}

#[tokio::test]
async fn forms_may_be_grammars_and_regular_expressions() {
    let daemon = daemon().await;
    let generate = async |path: &str, options: Value, format: Value| {
        let body = json!({"model": "tiny", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}],
            "stream": false, "format": format, "options": options});
        post(&daemon, path, &body).await
    };
    let regex = json!({"regex": "(north|south)-[0-9]{2}", "num_predict": 40});
    let text = generate("/api/generate", regex.clone(), Value::Null)
        .await
        .json();
    let is_way = |text: &str| {
        let (way, number) = text.split_once('-').unwrap();
        assert!(
            ["north", "south"].contains(&way) && number.len() == 2,
            "{text}"
        );
    };
    is_way(text["response"].as_str().unwrap());
    let lark = json!({"grammar": "start: \"yes\" | \"no\"", "num_predict": 40});
    let text = generate("/api/chat", lark, Value::Null).await.json();
    let text = text["message"]["content"].as_str().unwrap();
    assert!(["yes", "no"].contains(&text), "{text}");
    let gbnf = "# a way, and how far\nroot ::= way \"-\" [0-9]{2}\nway ::= \"north\" | \"south\"";
    let text = generate(
        "/api/chat",
        json!({"grammar": gbnf, "num_predict": 40}),
        Value::Null,
    )
    .await;
    let text = text.json();
    is_way(text["message"]["content"].as_str().unwrap());
    // as llama.cpp's server takes it, outside of the options
    let body = json!({"model": "tiny", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}],
        "grammar": gbnf, "max_tokens": 40});
    let text = post(&daemon, "/v1/completions", &body).await.json();
    is_way(text["choices"][0]["text"].as_str().unwrap());
    let text = post(&daemon, "/v1/chat/completions", &body).await.json();
    is_way(text["choices"][0]["message"]["content"].as_str().unwrap());
    let schema = json!({"model": "tiny", "prompt": "hi", "json_schema": {"enum": ["x", 7]}});
    let text = post(&daemon, "/v1/completions", &schema).await.json();
    let text = text["choices"][0]["text"].as_str().unwrap();
    assert!(["\"x\"", "7"].contains(&text), "{text}");
    let broken = json!({"model": "tiny", "prompt": "hi", "grammar": "root ::= \"a\" |\n  nothing"});
    let refused = post(&daemon, "/v1/completions", &broken).await;
    check_error(
        &refused,
        400,
        None,
        "invalid GBNF grammar: line 2, column 3: there is no rule `nothing`",
    );
    let both = generate("/api/chat", regex, json!("json")).await;
    assert!(
        both.status == 400 && both.error().contains("exclude each other"),
        "{both:?}"
    );
    let broken = generate("/api/chat", json!({"grammar": "start: ("}), Value::Null).await;
    assert_eq!(broken.status, 400, "{broken:?}");
}

#[tokio::test]
async fn tokens_are_echoed_and_times_told() {
    let daemon = daemon().await;
    let answer = raw(&daemon, "hello", 3).await;
    let tokens = json!({"model": "tiny", "text": "hello", "add_special": true});
    let tokens = post(&daemon, "/api/tokenize", &tokens).await.json()["tokens"].clone();
    let body =
        json!({"model": "tiny", "prompt": tokens, "temperature": 0, "max_tokens": 3, "echo": true});
    let echoed = post(&daemon, "/v1/completions", &body).await.json();
    let text = echoed["choices"][0]["text"].as_str().unwrap();
    let response = answer["response"].as_str().unwrap();
    assert!(text.ends_with(&format!("hello{response}")), "{text}");
    let timings = &echoed["timings"];
    assert_eq!(timings["predicted_n"], 3);
    let n_prompt = timings["prompt_n"].as_u64().unwrap() + timings["cache_n"].as_u64().unwrap();
    assert_eq!(n_prompt, echoed["usage"]["prompt_tokens"].as_u64().unwrap());
    assert!(timings["prompt_ms"].as_f64().unwrap() > 0.0, "{timings}");
}
