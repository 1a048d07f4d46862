//! Templates of the families that matter, and hostile ones.
use super::*;
use serde_json::json;

/// In the style of small ChatML models: a default system prompt where the conversation has none.
const CHATML: &str = "{% for message in messages %}\
{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\nYou are a test model.<|im_end|>\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Features that Qwen-like templates use: tools as JSON, namespaces, reverse slices, splitting at the closing tag.
const QWEN_LIKE: &str = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last_query=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not message.content.startswith('<tool_response>') %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' + content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or loop.previtem.role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != "tool" %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

/// Features of Llama-3-like templates: BOS, `is defined`, dates, macros, trimming, tools in the first user turn.
const LLAMA_LIKE: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- macro header(role) -%}
<|start_header_id|>{{ role }}<|end_header_id|>

{% endmacro %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- header('system') }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if not tools is none %}
    {%- if messages | length == 0 %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- header('user') }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
    {%- endfor %}
    {{- messages[0]['content'] | trim + "<|eot_id|>" }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {{- header(message['role']) + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- header('assistant') }}
{%- endif %}
"#;

/// Without a system role, strictly alternating.
const GEMMA_LIKE: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate') }}{% endif %}\
{{ '<start_of_turn>' + message['role'].replace('assistant', 'model') + '\n' + message['content'] | trim + '<end_of_turn>\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

fn tools() -> serde_json::Value {
    json!([{"type": "function", "function": {"name": "add", "parameters":
        {"type": "object", "properties": {"b": {"type": "number"}, "a": {"type": "number"}}}}}])
}

fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
    ChatTemplate::jinja(source)?.render(&PromptInput {
        messages,
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        ..PromptInput::default()
    })
}

fn hi() -> [Message; 1] {
    [Message::new("user", "Hi <b> & \"you\"")]
}

#[test]
fn chatml_adds_its_default_system_prompt_and_escapes_nothing() {
    assert_eq!(
        render(CHATML, &hi()).unwrap(),
        "<|im_start|>system\nYou are a test model.<|im_end|>\n<|im_start|>user\nHi <b> & \"you\"<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    let with_system = [Message::new("system", "Be brief."), hi()[0].clone()];
    assert_eq!(
        render(CHATML, &with_system).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b> & \"you\"<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn capabilities_are_probed() {
    let probe = |source: &str| {
        let template = ChatTemplate::jinja(source).unwrap();
        (template.supports_tools(), template.supports_thinking())
    };
    assert_eq!(probe(CHATML), (false, false));
    assert_eq!(probe(QWEN_LIKE), (true, true));
    assert_eq!(probe(LLAMA_LIKE), (true, false));
    assert_eq!(probe(GEMMA_LIKE), (false, false));
}

#[test]
fn qwen_like_tools_have_pythons_spacing_and_the_order_of_their_keys() {
    let template = ChatTemplate::jinja(QWEN_LIKE).unwrap();
    let definitions = tools();
    let prompt = template
        .render(&PromptInput {
            messages: &hi(),
            tools: Some(&definitions),
            add_generation_prompt: true,
            enable_thinking: Some(false),
            ..PromptInput::default()
        })
        .unwrap();
    assert_eq!(
        prompt,
        "<|im_start|>system\n<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": \
         {\"type\": \"object\", \"properties\": {\"b\": {\"type\": \"number\"}, \"a\": {\"type\": \"number\"}}}}}\
         \n</tools><|im_end|>\n<|im_start|>user\nHi <b> & \"you\"<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    );
}

#[test]
fn qwen_like_history_loses_old_thoughts_and_keeps_calls() {
    let messages = [
        Message::new("user", "2+2?"),
        Message {
            tool_calls: Some(
                json!([{"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2.5}}}]),
            ),
            ..Message::new("assistant", "<think>hm</think>\n\nLet me see.")
        },
        Message::new("tool", "4.5"),
        Message::new("tool", "5"),
    ];
    assert_eq!(
        render(QWEN_LIKE, &messages).unwrap(),
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\nLet me see.\n<tool_call>\n{\"name\": \"add\", \
         \"arguments\": {\"a\": 2, \"b\": 2.5}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n4.5\n\
         </tool_response>\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn llama_like_has_bos_date_and_indented_tools() {
    let prompt = render(LLAMA_LIKE, &hi()).unwrap();
    assert!(prompt.starts_with("<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: "));
    assert!(prompt.ends_with("<|start_header_id|>user<|end_header_id|>\n\nHi <b> & \"you\"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"), "{prompt}");
    let definitions = json!([{"a": [], "b": {"c": 1}}]);
    let prompt = ChatTemplate::jinja(LLAMA_LIKE)
        .unwrap()
        .render(&PromptInput {
            messages: &hi(),
            tools: Some(&definitions),
            ..PromptInput::default()
        })
        .unwrap();
    assert!(
        prompt.contains("{\n    \"a\": [],\n    \"b\": {\n        \"c\": 1\n    }\n}Hi"),
        "{prompt}"
    );
}

#[test]
fn a_template_without_a_system_role_gets_it_in_the_user_turn() {
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "Hi"),
    ];
    assert_eq!(
        render(GEMMA_LIKE, &messages).unwrap(),
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    );
}

pub(super) fn data(name: &str) -> String {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/templates")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assistant(thinking: Option<&str>, content: &str) -> Message {
    Message {
        thinking: thinking.map(str::to_owned),
        ..Message::new("assistant", content)
    }
}

/// Which thoughts stay is Ollama's rule: answers before the last user message lose them.
#[test]
fn thoughts_in_the_text_of_earlier_answers_do_not_reach_a_go_template() {
    let template = ChatTemplate::go(&data("go/thinking.gotmpl")).unwrap();
    let render = |messages: &[Message]| {
        template
            .render(&PromptInput {
                messages,
                enable_thinking: Some(true),
                ..PromptInput::default()
            })
            .unwrap()
    };
    let user = |text: &str| Message::new("user", text);
    for (text, expected) in [
        ("<think>Let me think... about it</think>\n\nOne.", "One."),
        (" <think>\n\n</think>\n\nOne.", "One."),
        ("<think>never closed", ""),
        (
            "One. <think>not a thought</think>",
            "One. <think>not a thought</think>",
        ),
        ("One.", "One."),
    ] {
        let old = [user("a"), assistant(None, text), user("b")];
        let clean = [user("a"), assistant(None, expected), user("b")];
        assert_eq!(render(&old), render(&clean), "{text}");
        assert!(render(&old).contains(&format!("<|im_start|>assistant\n{expected}<|im_end|>")));
    }
    // behind the last user message they are thoughts like any other
    let tool = Message::new("tool", "1");
    let inline = [
        user("a"),
        assistant(None, "<think>hm</think>\nSo:"),
        tool.clone(),
    ];
    let apart = [user("a"), assistant(Some("hm"), "So:"), tool.clone()];
    assert_eq!(render(&inline), render(&apart));
    assert!(render(&apart).contains("<think>hm</think>\nSo:<|im_end|>"));
    // a message that has both keeps both
    let both = [
        user("a"),
        assistant(Some("x"), "<think>hm</think>So:"),
        tool,
    ];
    assert!(render(&both).contains("<think>x</think>\n<think>hm</think>So:"));
    // a user's words are no thoughts
    let quoted = [user("<think>a</think>b")];
    assert!(render(&quoted).contains("<think>a</think>b"));
}

#[test]
fn a_go_template_without_thoughts_is_told_what_they_look_like() {
    let template = ChatTemplate::go(&data("go/chatml.gotmpl")).unwrap();
    let tags = ThinkingTags::of_template("</think>");
    let render = |messages: &[Message], tags: Option<&ThinkingTags>| {
        template
            .render(&PromptInput {
                messages,
                thinking_tags: tags,
                ..PromptInput::default()
            })
            .unwrap()
    };
    let user = Message::new("user", "a");
    let inline = assistant(None, "<think>hm</think>So.");
    let old = [user.clone(), inline.clone(), user.clone()];
    assert!(render(&old, None).contains("\n<think>hm</think>So.<"));
    assert!(render(&old, tags.as_ref()).contains("\nSo.<"));
    // they would be lost here
    let current = [user, inline];
    assert!(render(&current, tags.as_ref()).contains("\n<think>hm</think>So."));
}

#[test]
fn gpt_oss_reads_thoughts_under_another_name_and_never_beside_text() {
    let template = ChatTemplate::jinja(&data("jinja/gpt-oss.jinja")).unwrap();
    assert!(template.supports_thinking() && template.supports_tools());
    assert!(template.thinking_tags().unwrap().is_harmony());
    let call = Message {
        tool_calls: Some(
            json!([{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]),
        ),
        ..assistant(Some("ask first"), "I look it up.")
    };
    let messages = [Message::new("user", "a"), call, Message::new("tool", "1")];
    let render = |level: Option<&str>| {
        template
            .render(&PromptInput {
                messages: &messages,
                enable_thinking: Some(true),
                think_level: level,
                add_generation_prompt: true,
                ..PromptInput::default()
            })
            .unwrap()
    };
    let prompt = render(None);
    assert!(
        prompt.contains("<|channel|>analysis<|message|>ask first<|end|>"),
        "{prompt}"
    );
    assert!(
        prompt.contains("to=functions.f<|channel|>commentary json<|message|>{\"x\": 1}<|call|>")
    );
    assert!(!prompt.contains("look it up"));
    assert!(prompt.contains("\nReasoning: medium\n"));
    assert!(render(Some("low")).contains("\nReasoning: low\n"));
    assert!(render(Some("max")).contains("\nReasoning: high\n"));
}

#[test]
fn gpt_oss_has_channels_in_a_go_template_too() {
    let template = ChatTemplate::go(
        "{{ range .Messages }}<|start|>{{ .Role }}<|channel|>final<|message|>{{ .Content }}<|end|>{{ end }}\
         {{ .Tools }}<|start|>system<|message|>Reasoning: {{ .ThinkLevel }}<|end|><|start|>assistant\
         {{ if false }}<|channel|>analysis<|message|>{{ end }}",
    )
    .unwrap();
    assert!(template.thinking_tags().unwrap().is_harmony());
    assert_eq!(template.tool_syntax().name(), "harmony");
    let prompt = template.render(&PromptInput {
        messages: &hi(),
        think_level: Some("max"),
        enable_thinking: Some(true),
        ..PromptInput::default()
    });
    assert!(
        prompt
            .unwrap()
            .ends_with("Reasoning: high<|end|><|start|>assistant")
    );
    // where a known family's tags are inferred, what is known about it holds as well
    let source = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}";
    let tags = |source: &str| {
        ChatTemplate::go(source)
            .unwrap()
            .thinking_tags()
            .cloned()
            .unwrap()
    };
    assert_eq!(tags(source).answer, None);
    let granite = source.to_owned() + "Write your response between <response></response>";
    assert_eq!(tags(&granite).answer, Some(("<response>", "</response>")));
    let own = source.replace("think>", "own>");
    assert_eq!((&*tags(&own).open, &*tags(&own).close), ("<own>", "</own>"));
}

#[test]
fn a_template_that_reads_tools_from_the_system_message_finds_them_there() {
    let template = ChatTemplate::jinja(&data("jinja/phi-4-mini.jinja")).unwrap();
    assert!(template.supports_tools());
    assert_eq!(template.tool_syntax().name(), "list");
    let definitions = tools();
    let render = |messages: &[Message], tools| {
        template
            .render(&PromptInput {
                messages,
                tools,
                add_generation_prompt: true,
                ..PromptInput::default()
            })
            .unwrap()
    };
    let user = Message::new("user", "Hi");
    assert_eq!(
        render(
            &[Message::new("system", "S"), user.clone()],
            Some(&definitions)
        ),
        "<|system|>S<|tool|>[{\"name\": \"add\", \"parameters\": {\"type\": \"object\", \"properties\": \
         {\"b\": {\"type\": \"number\"}, \"a\": {\"type\": \"number\"}}}}]<|/tool|><|end|><|user|>Hi<|end|><|assistant|>"
    );
    assert!(
        render(std::slice::from_ref(&user), Some(&definitions)).starts_with("<|system|><|tool|>[")
    );
    assert_eq!(render(&[user], None), "<|user|>Hi<|end|><|assistant|>");
}

/// What the request says about thinking reaches each language under the names that its templates read.
#[test]
fn thinking_on_off_and_levels_reach_templates() {
    let jinja = "{{ [enable_thinking is defined and enable_thinking, thinking is defined and thinking, \
        enable_thinking is defined, reasoning_effort | default('none')] | tojson }}";
    let go = "{{ range .Messages }}{{ end }}{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}";
    let render = |source: &str, enable_thinking, think_level| {
        let template = ChatTemplate::parse(source).unwrap();
        template
            .render(&PromptInput {
                messages: &hi(),
                enable_thinking,
                think_level,
                ..PromptInput::default()
            })
            .unwrap()
    };
    for (thinking, level, in_jinja, in_go) in [
        (
            None,
            None,
            r#"[false, false, false, "none"]"#,
            "false  false",
        ),
        (
            Some(false),
            None,
            r#"[false, false, true, "none"]"#,
            "false  true",
        ),
        (
            Some(true),
            None,
            r#"[true, true, true, "none"]"#,
            "true medium true",
        ),
        (
            Some(true),
            Some("low"),
            r#"[true, true, true, "low"]"#,
            "true low true",
        ),
        (
            Some(true),
            Some("max"),
            r#"[true, true, true, "max"]"#,
            "true max true",
        ),
    ] {
        assert_eq!(render(jinja, thinking, level), in_jinja);
        assert_eq!(render(go, thinking, level), in_go);
    }
}

#[test]
fn the_families_templates_say_how_their_models_write() {
    let facts = |name: &str| {
        let template = ChatTemplate::jinja(&data(&format!("jinja/{name}.jinja"))).unwrap();
        let open = template.thinking_tags().map(|tags| tags.open.to_string());
        (template.tool_syntax().name(), open)
    };
    for (name, syntax, open) in [
        ("qwen2.5", "hermes", None),
        ("qwen3", "hermes", Some("<think>")),
        ("qwen3-coder", "qwen-coder", None),
        ("qwen3.5", "qwen-coder", Some("<think>")),
        ("qwq", "hermes", Some("<think>")),
        ("llama3-like", "llama3", None),
        ("phi-4-mini", "list", None),
        ("granite-3.3", "list", Some("<think>")),
        ("granite-4.0", "hermes", None),
        ("mistral-nemo", "mistral", None),
        ("mistral-small-3.2", "mistral", None),
        ("ministral-3", "mistral", Some("[THINK]")),
        ("gpt-oss", "harmony", Some("<|channel|>analysis<|message|>")),
        ("gemma4", "gemma4", Some("<|channel>thought")),
        ("lfm2-like", "lfm2", Some("<think>")),
        ("seed-oss", "seed", Some("<seed:think>")),
        ("deepseek-r1-distill", "deepseek", Some("<think>")),
        ("deepseek-v3.1", "deepseek", Some("<think>")),
        ("glm-4.6", "glm", Some("<think>")),
    ] {
        assert_eq!(facts(name), (syntax, open.map(str::to_owned)), "{name}");
    }
}

/// DeepSeek-R1, QwQ, Qwen3-Thinking and others open the thought in the prompt.
#[test]
fn an_answer_starts_in_a_thought_where_the_prompt_opens_it() {
    for (name, enable_thinking, inside) in [
        ("qwq", Some(true), true),
        ("qwq", Some(false), false),
        ("qwen3.5", Some(true), true),
        ("qwen3.5", Some(false), false),
        ("deepseek-r1-distill", Some(true), true),
        ("deepseek-v3.1", Some(true), true),
        ("deepseek-v3.1", Some(false), false),
        ("qwen3", Some(true), false),
        ("qwen3", Some(false), false),
    ] {
        let template = ChatTemplate::jinja(&data(&format!("jinja/{name}.jinja"))).unwrap();
        let prompt = template.render(&PromptInput {
            messages: &hi(),
            enable_thinking,
            add_generation_prompt: true,
            ..PromptInput::default()
        });
        let tags = template.thinking_tags().cloned();
        let mut parser = crate::AnswerParser::new(&prompt.unwrap(), tags, None);
        let mut answer = parser.push("first");
        answer.extend(parser.finish());
        assert_eq!(answer.thinking == "first", inside, "{name}");
        assert_eq!(answer.content == "first", !inside, "{name}");
    }
}

#[test]
fn a_template_that_wants_arguments_as_text_gets_them() {
    let source = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}\
        {{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}";
    let messages = [Message {
        tool_calls: Some(json!([{"function": {"name": "f", "arguments": {"x": 1}}}])),
        ..Message::new("assistant", "")
    }];
    assert_eq!(render(source, &messages).unwrap(), "f{\"x\":1}");
}

#[test]
fn none_is_not_iterable() {
    let source = "{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}";
    assert_eq!(render(source, &hi()).unwrap(), "none");
    let source = "{{ [[] is iterable, {} is iterable, 'x' is iterable, 1 is iterable, none is iterable] | tojson }}";
    assert_eq!(
        render(source, &hi()).unwrap(),
        "[true, true, true, false, false]"
    );
}

#[test]
fn the_words_of_raise_exception_reach_the_caller() {
    let twice = [Message::new("user", "a"), Message::new("user", "b")];
    let error = render(GEMMA_LIKE, &twice).unwrap_err().to_string();
    assert_eq!(
        error,
        "the chat template cannot render these messages: Conversation roles must alternate (line 1 of the template)"
    );
}

#[test]
fn what_a_template_says_in_errors_is_short_and_printable() {
    let long = "x".repeat(10_000);
    for source in [
        format!("{{{{ raise_exception('\u{1b}[31m\\n{long}') }}}}"),
        format!("{{{{ '\u{1b}[31m' | f{long} }}}}"),
        format!("{{{{ {long} \u{1b}[31m"),
        format!("{{{{ range .Messages }}}}{{{{ .{long} }}}}{{{{ end }}}}"),
        format!("{{{{ if .Messages }}}}{{{{ {long}\u{1b} }}}}"),
        format!("{{{{ .Messages | \"\u{1b}[31m{long}\" }}}}"),
    ] {
        let error = match ChatTemplate::parse(&source) {
            Ok(template) => template
                .render(&PromptInput {
                    messages: &hi(),
                    ..PromptInput::default()
                })
                .unwrap_err(),
            Err(error) => error,
        };
        let line = error.to_string();
        assert!(line.chars().count() < 700, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn generation_blocks_are_transparent() {
    let source =
        "{% for m in messages %}{%- generation -%}{{ m.content }}{% endgeneration %}!{% endfor %}";
    assert_eq!(render(source, &[Message::new("user", "x")]).unwrap(), "x!");
}

#[test]
fn tojson_writes_what_python_writes() {
    #[track_caller]
    fn check(expression: &str, expected: &str) {
        assert_eq!(
            render(&format!("{{{{ {expression} }}}}"), &hi()).unwrap(),
            expected
        );
    }
    check("1.0 | tojson", "1.0");
    check("1e16 | tojson", "1e+16");
    check("0.00001 | tojson", "1e-05");
    check("12345678901234567890 | tojson", "12345678901234567890");
    check("'<é\\n\\u0001😀' | tojson", "\"<é\\n\\u0001😀\"");
    check(
        "'é😀' | tojson(ensure_ascii=true)",
        "\"\\u00e9\\ud83d\\ude00\"",
    );
    check(
        "{'b': none, 'a': [true]} | tojson",
        "{\"b\": null, \"a\": [true]}",
    );
    check(
        "{'b': 1, 'a': 2} | tojson(sort_keys=true)",
        "{\"a\": 2, \"b\": 1}",
    );
    check("[1, 2] | tojson(separators=(',', ':'))", "[1,2]");
}

#[test]
fn without_a_template_the_texts_are_the_prompt() {
    let template = ChatTemplate::plain();
    let render = |messages: &[Message]| {
        template
            .render(&PromptInput {
                messages,
                ..PromptInput::default()
            })
            .unwrap()
    };
    assert_eq!(render(&hi()), "Hi <b> & \"you\"");
    assert_eq!(
        render(&[Message::new("system", "S"), Message::new("user", "U")]),
        "S\n\nU"
    );
    assert!(!template.supports_tools() && !template.supports_thinking());
}

#[test]
fn a_template_that_does_not_parse_says_where() {
    let error = ChatTemplate::jinja("ok\n{% if %}").unwrap_err().to_string();
    assert!(
        error.starts_with("the chat template does not parse: ") && error.contains("line 2"),
        "{error}"
    );
}

#[test]
fn hostile_templates_end() {
    #[track_caller]
    fn check(source: &str, expected: &str) {
        let error = ends(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let nested_loops =
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
    check(nested_loops, "budget of work");
    check(
        "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "budget of work",
    );
    check("{{ 'x' * 20000000 }}", "longer than");
    check("{{ 'x' * 100000000000000 }}", "budget of work");
    check(
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "recursion",
    );
    check(
        "{% set a = 'x' * 10000000 %}{{ a.replace('x', a) }}",
        "budget of work",
    );
    check(
        "{% set a = 'x' * 10000000 %}{{ a.join(range(100000)) | length }}",
        "budget of work",
    );
    check("{{ '{:>1000000000}'.format('x') | length }}", "width");
    check(
        "{{ '{:>{}}'.format('x', 1000000000) | length }}",
        "format spec",
    );
    check("{{ messages | tojson(indent=1000000000) }}", "indent");
    let sums = "{% set ns = namespace(a=['x']) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}";
    check(sums, "too long for `+`");
    check("{% set a = [0] * 100000000 %}{{ a + a }}", "budget of work");
    let doubling = "{% set ns = namespace(a=['x'], b=['x']) %}{% for i in range(60) %}\
        {% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
    check(doubling, "budget of work");
    check("{{ ','.join([messages]) }}", "expected text");
    check("{{ '{}'.format(messages) }}", "expected text");
    // in a load, with all of its probes
    assert!(render(doubling, &hi()).is_err());
}

/// Lists that hold themselves twice, 60 times over, are exponentially long when they are written out.
#[test]
fn values_that_share_their_parts_are_refused() {
    for maker in [
        "[ns.x, ns.x]",
        "{'a': ns.x, 'b': ns.x}",
        "{ns.x: ns.x}",
        "(ns.x, ns.x)",
        "ns.x, ns.x",
        "dict(a=ns.x, b=ns.x)",
        "namespace(a=ns.x, b=ns.x)",
        "ns.x|slice(2, ns.x)",
        "[0, 1]|map(attribute='a', default=ns.x)|list",
        "[ns.x] * 2",
        "[ns.x] + [ns.x]",
        "[ns.x]|chain([ns.x])|list",
        "[ns.x]|zip([ns.x])|list",
        "[ns.x, ns.x]|reverse",
        "{0: ns.x, 1: ns.x}|items|list",
        "{0: ns.x, 1: ns.x}.items()|list",
    ] {
        let made = format!(
            "{{% set ns = namespace(x=[0]) %}}{{% for i in range(60) %}}{{% set ns.x = {maker} %}}{{% endfor %}}\
             {{{{ ns.x ~ '' }}}}"
        );
        assert!(ends(&made).is_err(), "{maker}");
    }
}

/// `+` looks at the top level alone; what it gives is refused where it would be written out, compared or hashed.
#[test]
fn values_too_long_for_one_instruction_are_refused() {
    let long = "{% set ns = namespace(x=[0], y=0) %}{% for i in range(14) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
        {% set ns.x = [ns.x] %}{% for i in range(15) %}{% set ns.x = ns.x + ns.x %}{% endfor %}\
        {% set ns.y = ns.x + [] %}";
    assert_eq!(
        ends(&format!("{long}{{{{ ns.x|length }}}}")).unwrap(),
        "32768"
    );
    for user in [
        "ns.x ~ ''",
        "'' ~ ns.x",
        "(ns.x + ns.x) ~ ''",
        "ns.x + [] ~ '' ~ ns.y",
        "ns.x",
        "ns.x|string",
        "ns.x|join",
        "ns.x[1:]|join",
        "ns.x|reverse|join",
        "'%s'|format(ns.x)",
        "'%s'|format(*[ns.x])",
        "ns.x|replace('a', 'b')",
        "'a'|replace('a', ns.x)",
        "ns.x|upper",
        "ns.x|trim",
        "ns.x|title",
        "ns.x|indent",
        "ns.x|e",
        "ns.x|pprint",
        "ns.x|tojson",
        "ns.x in 'abc'",
        "ns.x in [1, ns.y]",
        "ns.x not in [1, ns.y]",
        "{ns.x: 1}",
        "{'a': 1}[ns.x]",
        "{'a': 1}.get(ns.x)",
        "raise_exception(ns.x)",
        "ns.x == ns.y",
        "ns.x != ns.y",
        "ns.x < ns.y",
        "ns.x + [] == ns.y",
        "1 if ns.x == ns.y == 1",
        "ns.x is eq(ns.y)",
        "ns.x is eq ns.y",
        "ns.x is in(ns.y)",
        "ns.x|select('eq', ns.y)|list",
        "ns.x|sort",
        "ns.x|unique",
        "ns.x|map('string')|list",
        "ns.x.count(ns.y)",
        "'abc'.startswith(ns.x)",
        "'abc'.replace('a', ns.x)",
        "ns.x|sum(start='')",
        "[ns.x]",
        "dict(a=ns.x)",
        "namespace(a=ns.x)",
        "debug()",
    ] {
        let error = ends(&format!("{long}{{{{ {user} }}}}")).unwrap_err();
        assert!(!error.to_string().is_empty(), "{user}");
    }
    for user in [
        "{% for i in [1, 2] %}{{ loop.changed(ns.x) }}{% endfor %}",
        "{% set y %}{{ ns.x }}{% endset %}",
        "{% filter replace('a', ns.x) %}a{% endfilter %}",
        "{% set y | replace('a', ns.x) %}a{% endset %}",
        "{% if ns.x == ns.y %}{% endif %}",
    ] {
        assert!(ends(&format!("{long}{user}")).is_err(), "{user}");
    }
}

/// Views of views, chains of values, and single words that ask for much.
#[test]
fn loops_around_dear_instructions_end() {
    for maker in [
        "ns.x[:]",
        "ns.x[::-1]",
        "ns.x|reverse",
        "ns.x|batch(1)",
        "ns.x|batch(100)",
        "ns.x|slice(3)",
        "ns.x|unique",
        "ns.x|sort",
        "ns.x|map('default')",
        "ns.x|select",
        "ns.x|zip(ns.x)",
        "ns.x|chain(ns.x)",
        "ns.x|items",
        "ns.x + [1]",
        "[ns.x]",
        "(ns.x,)",
        "ns.x, 1",
        "{'a': ns.x}",
        "{'a': ns.x}.items()",
        "namespace(n=ns.x)",
        "dict(n=ns.x)",
        "ns",
        "[ns]",
        "[0] * 100000000",
        "ns.x * 2",
        "('a,' * 40000000).split(',')",
        "('a,' * 40000000)|split(',')",
        "('a\\n' * 40000000).splitlines()",
        "('a\\n' * 40000000)|lines",
        "('a' * 40000000)|list",
        "('a' * 40000000) == ('a' * 40000000)",
        "range(100000)|list",
        "[range(100000)] * 100000",
        "1 if ns.x == ns.x",
        "1 if ns.x|list == ns.x|list",
        "ns.x if {ns.x|list: 1}",
    ] {
        // whether it renders does not matter
        let _ = ends(&format!(
            "{{% set ns = namespace(x=range(30000)|list) %}}{{% for i in range(100000) %}}{{% for i in range(100) %}}\
             {{% set ns.x = {maker} %}}{{% endfor %}}{{% endfor %}}{{{{ ns.x|length }}}}"
        ));
    }
    let chain = "{% set ns = namespace() %}{% for i in range(100000) %}{% set a = namespace() %}\
        {% set a.n = ns.n %}{% set ns.n = a %}{% endfor %}";
    assert!(ends(chain).unwrap_err().to_string().contains("stored"));
    let closures = "{% set ns = namespace() %}{% for i in range(100000) %}{% set p = ns.p %}\
        {% macro f() %}{{ p }}{% endmacro %}{% set ns.p = f %}{% endfor %}";
    assert!(ends(closures).unwrap_err().to_string().contains("stored"));
    let many = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(80_000));
    assert!(ends(&many).is_err());
    let few = format!("{{% if 0 %}}{}x{{% endif %}}", "{% elif 1 %}".repeat(512));
    assert_eq!(ends(&few).unwrap(), "");
    let nested = "{% if 1 %}".repeat(80_000) + &"{% endif %}".repeat(80_000);
    assert!(ends(&nested).is_err());
    for word in [
        "[0] * 100000000",
        "([0] * 100000000)|list",
        "([0] * 100000000)|join",
        "([0] * 100000000)|last",
        "[0] * 100000000 == [0] * 100000000",
        "([0] * 100000000)[1:]",
        "[[0] * 100000000] * 100000000",
        "[[[0] * 1000] * 1000] * 1000 == [[[0] * 1000] * 1000] * 1000",
        "'a'|indent(1000000000)",
        "'a\\nb'|indent(1000000000)",
        "'%99999999d'|format(1)",
        "'%.99999999f'|format(1)",
        "'%*d'|format(1000000000, 1)",
        "'%.*f'|format(99999999, 1)",
        "'%5.*f'|format(99999999, 1)",
        "'%(a).99999999f'|format(a=1)",
        "1.5|round(2000000000)",
        "[1]|batch(1000000000, 1)",
        "[1]|slice(1000000000, 1)",
        "messages|tojson(indent=1000000000)",
        "range(100000000)|list",
        "('a' * 100000000).replace('a', 'bb')",
        "('a' * 100000000)|replace('a', 'bb')",
    ] {
        let _ = ends(&format!("{{{{ {word} }}}}"));
    }
    assert_eq!(
        ends("{{ '%08.3f|%%|20251125'|format(1.5) }}").unwrap(),
        "0001.500|%|20251125"
    );
    for (before, word, after) in [
        ("0", "+ 0 ", ""),
        ("a", ".a", ""),
        ("a", "[:]", ""),
        ("a", "|list", ""),
        ("", "not ", "0"),
        ("", "- ", "0"),
        ("0", " if 0 else 0", ""),
        ("", "(", ""),
        ("0", " == 0", ""),
        ("[0]", " * 1", ""),
        ("[", "0,", "]"),
    ] {
        let _ = ends(&format!("{{{{ {before}{}{after} }}}}", word.repeat(1000)));
        let error = ends(&format!("{{{{ {before}{}{after} }}}}", word.repeat(80_000)));
        assert!(error.is_err(), "{word}");
    }
}

/// Renders once, in a thread, and fails where that takes much longer than a budget allows.
#[track_caller]
fn ends(source: &str) -> Result<String, TemplateError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let owned = source.to_owned();
    std::thread::spawn(move || {
        let rendered = ChatTemplate::compile(&owned).and_then(|template| {
            template.render_as_is(&PromptInput {
                messages: &hi(),
                ..PromptInput::default()
            })
        });
        sender.send(rendered)
    });
    let received = receiver.recv_timeout(std::time::Duration::from_secs(20));
    received.unwrap_or_else(|_| panic!("does not end: {source:.1000}"))
}

#[test]
fn a_long_conversation_fits_the_budget() {
    let messages: Vec<Message> = (0..2000)
        .map(|i| {
            Message::new(
                if i % 2 == 0 { "user" } else { "assistant" },
                "word ".repeat(200),
            )
        })
        .collect();
    assert!(render(QWEN_LIKE, &messages).unwrap().len() > 2_000_000);
}

#[test]
fn go_and_jinja_are_told_apart() {
    for go in [
        "{{ .Prompt }}",
        "{{- if .System }}{{ .System }}{{ end }}",
        "{{ range $i, $m := .Messages }}{{ end }}",
        "{{/* a comment */}}x",
        "<s>{{ if or .System .Tools }}",
    ] {
        assert!(is_go(go), "{go}");
    }
    for jinja in [
        "{{ messages[0].content }}",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{- bos_token }}",
        "{% if x %}{{ x ~ ' .5' }}{% endif %}",
        "plain text",
    ] {
        assert!(!is_go(jinja), "{jinja}");
    }
}

#[test]
fn a_go_template_is_a_chat_template_like_any_other() {
    let template = ChatTemplate::parse(
        "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ if .ToolCalls }}[TOOL_CALLS]{{ end }}{{ end }}{{ .Tools }}",
    )
    .unwrap();
    let prompt = template.render(&PromptInput {
        messages: &hi(),
        ..PromptInput::default()
    });
    assert_eq!(prompt.unwrap(), "<user>Hi <b> & \"you\"null");
    assert!(template.supports_tools() && template.supports_tool_calls());
    assert!(!template.supports_thinking() && !template.supports_insert());
    assert_eq!(template.tool_syntax().name(), "mistral");
    let error = ChatTemplate::parse("{{ if .X }}").unwrap_err().to_string();
    assert_eq!(
        error,
        "the chat template does not parse: `if` is not closed; add `{{ end }}` (line 1 of the template)"
    );
}

/// Templates with pieces deleted, doubled and swapped: each renders or complains.
#[test]
fn mutated_templates_neither_panic_nor_hang() {
    let mut state = 3_u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for round in 0..300 {
        let source = [CHATML, QWEN_LIKE, LLAMA_LIKE, GEMMA_LIKE][round % 4];
        let mut words: Vec<&str> = source.split_inclusive([' ', '\n', '}', '(', '.']).collect();
        for _ in 0..1 + below(3) {
            let (at, other) = (below(words.len()), below(words.len()));
            match below(3) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, words[other]),
                _ => words.swap(at, other),
            }
        }
        if let Err(error) = render(&words.concat(), &hi()) {
            assert!(error.to_string().starts_with("the chat template "));
        }
    }
}
