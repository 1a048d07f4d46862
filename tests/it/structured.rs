//! Answers in a form, from the real starter model.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, starter_model};

const MODEL: &str = "smollm2:135m";

#[test]
fn answers_have_the_form_that_a_request_asks_for() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create(MODEL, &starter_model());
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "required": ["city", "population", "languages"],
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 40},
            "population": {"type": "integer", "minimum": 1, "maximum": 100_000_000},
            "languages": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "pattern": "^[A-Z][a-z]{2,15}$"}}
        }
    });
    for seed in 0..3 {
        let answer = daemon.http().post(
            "/api/chat",
            &json!({"model": MODEL, "stream": false, "format": schema,
                "messages": [{"role": "user", "content": "Tell me about Paris as JSON."}],
                "options": {"seed": seed, "temperature": 1, "num_predict": 400}}),
        );
        let answer = answer.expect(200).json();
        assert_eq!(answer["done_reason"], "stop", "{answer}");
        let text = answer["message"]["content"].as_str().expect("a text");
        let value: Value = serde_json::from_str(text).expect("JSON");
        let fields: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(fields.len(), 3, "{text}");
        let n_chars = value["city"].as_str().expect("a text").chars().count();
        assert!((1..=40).contains(&n_chars), "{text}");
        let population = value["population"].as_u64().expect("a whole number");
        assert!((1..=100_000_000).contains(&population), "{text}");
        let languages = value["languages"].as_array().expect("a list");
        assert!((1..=3).contains(&languages.len()), "{text}");
        for language in languages {
            let name = language.as_str().expect("a text");
            assert!(name.is_ascii() && (3..=16).contains(&name.len()), "{text}");
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
        }
    }
    let json_mode = daemon.http().post(
        "/api/generate",
        &json!({"model": MODEL, "stream": false, "format": "json",
            "prompt": "List two fruits as a JSON object.",
            "options": {"temperature": 0, "num_predict": 600}}),
    );
    let json_mode = json_mode.expect(200).json();
    let text = json_mode["response"].as_str().expect("a text");
    assert!(text.starts_with('{'), "{text}");
    if json_mode["done_reason"] == "stop" {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert!(value.is_object(), "{text}");
    }
}
