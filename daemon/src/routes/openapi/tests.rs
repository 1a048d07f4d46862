use super::table::document;
use crate::{routes, testing::TestDaemon};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Method and path of each operation of the document.
fn described() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// Those that the daemon answers, as its own `Allow` says. `HEAD` goes without saying where there is `GET`.
async fn answered(daemon: &TestDaemon) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for path in routes::table().paths() {
        let answer = daemon.call("BREW", path, "").await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer.headers["allow"].to_str().unwrap();
        let methods: Vec<&str> = allowed.split(',').collect();
        let wanted = methods
            .iter()
            .filter(|method| **method != "HEAD" || !methods.contains(&"GET"));
        all.extend(wanted.map(|method| ((*method).to_owned(), path.replace("{*", "{"))));
    }
    all
}

#[tokio::test]
async fn every_route_is_described_and_what_is_described_is_a_route() {
    let daemon = TestDaemon::new();
    let (described, answered) = (described(), answered(&daemon).await);
    let undescribed: Vec<_> = answered.difference(&described).collect();
    assert!(
        undescribed.is_empty(),
        "add to openapi/table.rs: {undescribed:?}"
    );
    let absent: Vec<_> = described.difference(&answered).collect();
    assert!(absent.is_empty(), "no routes: {absent:?}");
}

#[tokio::test]
async fn the_document_is_served() {
    let answer = TestDaemon::new().get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json(), document());
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

fn each<'v>(value: &'v Value, see: &mut impl FnMut(&'v serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            see(fields);
            fields.values().for_each(|value| each(value, see));
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, see)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_every_schema_is_used_and_no_two_types_share_a_name() {
    let document = document();
    let mut used = HashSet::new();
    each(&document, &mut |fields| {
        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
            let there = document.pointer(target.trim_start_matches('#'));
            assert!(there.is_some(), "{target}");
            used.insert(target.rsplit('/').next().unwrap());
        }
    });
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(used.contains(&**name), "{name}");
        let is_numbered = name.ends_with(|c: char| c.is_ascii_digit());
        assert!(
            !is_numbered,
            "{name}: rename one of the types for the document"
        );
    }
}

#[test]
fn every_part_of_a_path_is_a_parameter_and_no_two_operations_share_an_id() {
    let document = document();
    let mut ids = HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].to_string()), "{path}");
            let parameters = operation["parameters"].as_array();
            let in_path = parameters.into_iter().flatten();
            let in_path = in_path.filter(|parameter| parameter["in"] == "path");
            let names: Vec<String> = in_path
                .map(|p| format!("{{{}}}", p["name"].as_str().unwrap()))
                .collect();
            assert_eq!(names.len(), path.matches('{').count(), "{path}");
            assert!(
                names.iter().all(|name| path.contains(name)),
                "{path}: {names:?}"
            );
        }
    }
}

#[test]
fn what_answers_always_have_may_be_missing_in_requests() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["Message"]["required"],
        serde_json::json!(["role", "content"])
    );
    assert_eq!(schemas["MessageInput"]["required"], Value::Null);
    let messages = &schemas["ChatRequest"]["properties"]["messages"];
    assert_eq!(
        messages["items"]["$ref"],
        "#/components/schemas/MessageInput"
    );
    let chat = &document["paths"]["/api/chat"]["post"];
    let body = &chat["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/ChatRequest");
    assert_eq!(body["required"], serde_json::json!(["model"]));
    let answers = chat["responses"]["200"]["content"].as_object().unwrap();
    let kinds: Vec<&String> = answers.keys().collect();
    assert_eq!(kinds, ["application/json", "application/x-ndjson"]);
}

#[test]
fn models_are_described_in_both_dialects() {
    let document = document();
    for (path, name) in [
        ("/v1/models", "ModelList"),
        ("/v1/models/{name}", "OpenAiModel"),
    ] {
        let operation = &document["paths"][path]["get"];
        let refs = |status: &str| {
            let schema = &operation["responses"][status]["content"]["application/json"]["schema"];
            let both = schema["anyOf"].as_array().unwrap().iter();
            both.map(|one| one["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
                .collect::<Vec<_>>()
        };
        let anthropics = format!("Anthropic{}", name.trim_start_matches("OpenAi"));
        assert_eq!(refs("200"), [name, &anthropics]);
        assert_eq!(refs("500"), ["OpenAiError", "AnthropicError"]);
        let parameters = operation["parameters"].as_array().unwrap();
        let header = parameters.iter().find(|one| one["in"] == "header").unwrap();
        assert_eq!(header["name"], "anthropic-version");
        assert_eq!(header["required"], false);
    }
}
