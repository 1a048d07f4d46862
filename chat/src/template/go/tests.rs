//! Rendered text equals that of Go's `text/template`, for Ollama's templates and for one probe per feature; hostile
//! templates end.
//!
//! The expected texts were made by `tests/data/templates/go/oracle.go`, which says how.
use super::*;
use serde_json::Value as Json;
use std::{collections::BTreeMap, path::PathBuf};

fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/templates/go")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses and renders with a conversation of `conversations.json`.
fn render(source: &str, conversation: &Json) -> Result<String, GoTemplateError> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let messages = conversation["messages"].as_array().unwrap().iter();
    let messages: Vec<Message> = messages
        .map(|message| Message {
            role: text(&message["role"]).unwrap(),
            content: text(&message["content"]).unwrap(),
            thinking: text(&message["thinking"]),
            tool_calls: message.get("tool_calls").cloned(),
            name: text(&message["tool_name"]),
            tool_call_id: text(&message["tool_call_id"]),
        })
        .collect();
    let is_think_set = conversation["think_set"].as_bool().unwrap_or(false);
    GoTemplate::parse(source)?.render(&PromptInput {
        messages: &messages,
        tools: conversation.get("tools"),
        suffix: conversation["suffix"].as_str(),
        enable_thinking: is_think_set.then(|| conversation["think"] == true),
        think_level: conversation["think_level"].as_str(),
        ..PromptInput::default()
    })
}

#[test]
fn everything_renders_as_go_renders_it() {
    let conversations: Json = serde_json::from_str(&data("conversations.json")).unwrap();
    let probes: BTreeMap<String, Vec<String>> = serde_json::from_str(&data("probes.json")).unwrap();
    let expected: BTreeMap<String, Option<String>> =
        serde_json::from_str(&data("expected.json")).unwrap();
    let mut sources = BTreeMap::new();
    for (name, of_name) in &probes {
        for source in of_name {
            sources.insert(format!("{name}: {source}"), (source.clone(), name.clone()));
        }
    }
    let mut wrong = Vec::new();
    for (key, expected) in &expected {
        let (source, conversation) = match sources.get(key) {
            Some(found) => found.clone(),
            None => {
                let (file, conversation) = key.split_once('/').unwrap();
                (data(&format!("{file}.gotmpl")), conversation.to_owned())
            }
        };
        let found = render(&source, &conversations[&conversation]);
        if found.as_ref().ok() != expected.as_ref() {
            wrong.push(format!(
                "{key}\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
    }
    assert!(expected.len() > 400);
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// One user message.
fn hi() -> Json {
    serde_json::json!({"messages": [{"role": "user", "content": "Hi"}]})
}

#[test]
fn complaints_name_the_line_and_what_to_do() {
    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(render(source, &hi()).unwrap_err().to_string(), expected);
    }
    check(
        "a\n{{ if .Messages }}\nb",
        "`if` is not closed; add `{{ end }}` (line 2 of the template)",
    );
    check(
        "a\nb {{ .Messages | jsn }}",
        "there is no function `jsn` (line 2 of the template)",
    );
    check(
        "{{ range .Messages }}\n{{ .Rolle }}{{ end }}",
        "there is no field `.Rolle` here (line 2 of the template)",
    );
    check(
        "\n\n{{ .Messages",
        "an action does not end; close it with `}}` (line 3 of the template)",
    );
    check(
        "{{ end }}",
        "`{{ end }}` closes nothing; remove it (line 1 of the template)",
    );
    check(
        "{{ $x }}",
        "undefined variable `$x`; declare it with `:=` (line 1 of the template)",
    );
}

#[test]
fn what_a_template_can_do_follows_from_its_tree() {
    let parse = |name: &str| GoTemplate::parse(&data(&format!("{name}.gotmpl"))).unwrap();
    let facts = |name: &str| {
        let template = parse(name);
        (
            template.supports_tools(),
            template.supports_insert(),
            template.tool_tag(),
            template.thinking_tags(),
        )
    };
    let tag = |text: &str| Some(text.to_owned());
    let think = Some(("<think>".to_owned(), "</think>".to_owned()));
    assert_eq!(
        facts("qwen2.5-tools"),
        (true, true, tag("<tool_call>"), None)
    );
    assert_eq!(
        facts("mistral-tools"),
        (true, false, tag("[TOOL_CALLS] ["), None)
    );
    assert_eq!(facts("llama3.2-tools"), (true, false, None, None));
    assert_eq!(facts("thinking"), (true, false, tag("<tool_call>"), think));
    assert_eq!(facts("chatml"), (false, false, None, None));
    assert!(parse("qwen2.5-tools").tree().mentions("Suffix"));
}

#[test]
fn hostile_templates_end() {
    #[track_caller]
    fn check(source: &str, expected: &str) {
        let error = render(source, &hi()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check(
        "{{ range 100000 }}{{ range 100000 }}x{{ end }}{{ end }}",
        "budget of work",
    );
    check("{{ range 9223372036854775807 }}{{ end }}", "budget of work");
    check(
        "{{ $x := \"xxxxxxxxxxxxxxxx\" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}",
        "longer than",
    );
    check(
        "{{ $x := \"xxxxxxxxxxxxxxxx\" }}{{ range 20 }}{{ $x = print $x $x }}{{ end }}{{ range 99 }}{{ len (print $x) }}{{ end }}",
        "budget of work",
    );
    check(&"{{ $x := 1 }}".repeat(1000), "variables are in scope");
    check(
        "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}",
        "nested deeper",
    );
    check("{{ printf \"%1000000000d\" 1 }}", "width");
    check(&"{{ if 1 }}".repeat(100_000), "nested deeper");
    check(
        &format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        "nested deeper",
    );
    check(
        &format!(
            "{{{{ if 1 }}}}{}{{{{ end }}}}",
            "{{ else if 1 }}".repeat(100_000)
        ),
        "nested deeper",
    );
    check(&"{{ block \"x\" . }}".repeat(100_000), "nested deeper");
}

#[test]
fn work_that_makes_no_text_is_paid_for() {
    let long = serde_json::json!({"messages": [{"role": "user", "content": "x".repeat(1 << 20)}]});
    let text = "{{ $x := (index .Messages 0).Content }}{{ $y := print $x \"\" }}";
    for idle in [
        "{{ if eq $x $y }}{{ end }}",
        "{{ if lt $x $y }}{{ end }}",
        "{{ printf \"%.0s\" $x }}",
        "{{ printf \"%.0s\" $.Messages }}",
    ] {
        let error = render(
            &format!("{text}{{{{ range 10000 }}}}{idle}{{{{ end }}}}"),
            &long,
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("budget of work"), "{idle}: {error}");
    }
}

#[test]
fn a_long_conversation_fits_the_budget() {
    let turn = |role: &str| serde_json::json!({"role": role, "content": "word ".repeat(200)});
    let messages: Vec<Json> = (0..2000)
        .map(|i| turn(["user", "assistant"][i % 2]))
        .collect();
    let conversation = serde_json::json!({"messages": messages});
    let text = render(&data("qwen2.5-tools.gotmpl"), &conversation).unwrap();
    assert!(text.len() > 2_000_000);
}

/// A small, seeded generator: the same templates on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Words, braces and single characters.
fn pieces(source: &str) -> Vec<&str> {
    let mut rest = source;
    let mut pieces = Vec::new();
    while let Some(first) = rest.chars().next() {
        let word =
            rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '.' | '$' | '_'));
        let len = match rest.len() - word.len() {
            0 if rest.starts_with("{{") || rest.starts_with("}}") => 2,
            0 => first.len_utf8(),
            len => len,
        };
        pieces.push(&rest[..len]);
        rest = &rest[len..];
    }
    pieces
}

/// Templates with words deleted, doubled, swapped and put in: each renders or complains, and does so in time.
#[test]
fn mutated_templates_neither_panic_nor_hang() {
    let conversations: Json = serde_json::from_str(&data("conversations.json")).unwrap();
    let probes: BTreeMap<String, Vec<String>> = serde_json::from_str(&data("probes.json")).unwrap();
    let mut sources: Vec<String> = probes.into_values().flatten().collect();
    for name in [
        "qwen2.5-tools",
        "llama3.2-tools",
        "gemma-instruct",
        "thinking",
        "command-r",
    ] {
        sources.push(data(&format!("{name}.gotmpl")));
    }
    let vocabulary: Vec<&str> = sources.iter().flat_map(|source| pieces(source)).collect();
    let names: Vec<&String> = conversations.as_object().unwrap().keys().collect();
    let mut random = Random(5);
    let (mut n_rendered, mut n_refused) = (0, 0);
    for _ in 0..4000 {
        let mut words = pieces(&sources[random.below(sources.len())]);
        for _ in 0..1 + random.below(4) {
            if words.is_empty() {
                break;
            }
            let (at, other) = (random.below(words.len()), random.below(words.len()));
            match random.below(4) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, words[other]),
                2 => words.swap(at, other),
                _ => words[at] = vocabulary[random.below(vocabulary.len())],
            }
        }
        let conversation = &conversations[names[random.below(names.len())]];
        match render(&words.concat(), conversation) {
            Ok(_) => n_rendered += 1,
            Err(error) => {
                assert!(error.line > 0 && !error.message.is_empty());
                n_refused += 1;
            }
        }
    }
    assert!(
        n_rendered > 500 && n_refused > 500,
        "{n_rendered} {n_refused}"
    );
}
