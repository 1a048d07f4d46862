//! Each family's calls, in chunks of every size; text that is no call; streams that end early.
use super::*;
use serde_json::{Value, json};

fn offered() -> Value {
    json!([
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "zip": {"type": ["string", "null"]}}}}},
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {
            "a": {"type": "number"}, "b": {"type": "number"}, "why": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "now"}}
    ])
}

/// Content and `(name, arguments as JSON)` of `text` in chunks of `chunk_len` characters.
fn parse(template: &str, text: &str, chunk_len: usize) -> (String, Vec<(String, String)>) {
    let mut parser = ToolCallParser::new(ToolSyntax::of_template(template), &offered());
    let chars: Vec<char> = text.chars().collect();
    let mut splits: Vec<ToolSplit> = Vec::new();
    for chunk in chars.chunks(chunk_len) {
        splits.push(parser.push(&chunk.iter().collect::<String>()));
    }
    splits.push(parser.finish());
    let content = splits.iter().map(|split| split.content.as_str()).collect();
    let calls = splits.into_iter().flat_map(|split| split.calls);
    let calls = calls.map(|call| (call.name, Value::Object(call.arguments).to_string()));
    (content, calls.collect())
}

#[track_caller]
fn check(template: &str, text: &str, content: &str, calls: &[(&str, &str)]) {
    let calls: Vec<(String, String)> = calls
        .iter()
        .map(|(n, a)| ((*n).to_owned(), (*a).to_owned()))
        .collect();
    for chunk_len in 1..=text.chars().count().max(1) {
        let found = parse(template, text, chunk_len);
        assert_eq!(
            found,
            (content.to_owned(), calls.clone()),
            "chunks of {chunk_len}"
        );
    }
}

const HERMES: &str = "<tool_call>";

#[test]
fn hermes() {
    let one = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 1.0}}\n</tool_call>";
    check(
        HERMES,
        one,
        "",
        &[("get_weather", r#"{"city":"Paris","days":1.0}"#)],
    );
    check(
        HERMES,
        &format!("Let me see.\n\n{one}\n{one}"),
        "Let me see.",
        &[("get_weather", r#"{"city":"Paris","days":1.0}"#); 2],
    );
    // Ollama's templates show several calls in one block
    check(
        HERMES,
        "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"add\", \"arguments\": {\"b\": 2, \"a\": 1}}\n</tool_call>\n",
        "",
        &[("now", "{}"), ("add", r#"{"b":2,"a":1}"#)],
    );
    // arguments as text, or none; no closing tag at the end
    check(
        HERMES,
        r#"<tool_call>{"name":"add","arguments":"{\"a\":1}"}"#,
        "",
        &[("add", r#"{"a":1}"#)],
    );
    check(
        HERMES,
        r#"<tool_call>{"name":"now"}</tool_call>"#,
        "",
        &[("now", "{}")],
    );
    check(
        HERMES,
        r#"<tool_call>{"name":"add","arguments":{"why":"}</tool_call>{"}}</tool_call> Done."#,
        "Done.",
        &[("add", r#"{"why":"}</tool_call>{"}"#)],
    );
}

/// What Qwen2.5-Coder writes, which was shown its calls between doubled braces.
#[test]
fn hermes_without_its_tags() {
    let call = &[("add", r#"{"a":1,"b":{"c":2}}"#)];
    let plain = r#"{"name": "add", "arguments": {"a": 1, "b": {"c": 2}}}"#;
    for text in [
        plain.to_owned(),
        format!("{{{plain}}}"),
        format!("{{{plain}"),
        format!("\n```json\n{plain}\n```"),
        format!("```json\n{{{plain}}}\n```"),
        format!("<tools>\n{plain}\n</tools>"),
        format!("<tool_call>\n{{{plain}\n}}\n</tool_call>\n"),
    ] {
        check(HERMES, &text, "", call);
    }
    check(HERMES, &format!("{{{plain}}} Done."), "Done.", call);
    let two = format!("{{{plain}}}\n{{{plain}}}");
    check(HERMES, &two, "", &[call[0]; 2]);
}

#[test]
fn what_follows_a_call_does_not_depend_on_chunks() {
    let now = &[("now", "{}")];
    check(HERMES, "<tool_call>{\"name\": \"now\"}1/x", "1/x", now);
    check(HERMES, "<tool_call>{\"name\": \"now\"}nul", "nul", now);
    check(
        "<function= <parameter=",
        "<function=now>\n</function>\n</tool_call> x",
        "x",
        now,
    );
    check(
        "<function= <parameter=",
        "<function=now></function>\n</tool_cal",
        "</tool_cal",
        now,
    );
}

#[test]
fn a_mark_far_behind_a_call_is_not_its_own() {
    const MISTRAL: &str = "[TOOL_CALLS]";
    let now = &[("now", "{}")];
    check(MISTRAL, "[TOOL_CALLS]now{}a[ARGS]", "a[ARGS]", now);
    let text = "[TOOL_CALLS]now[CALL";
    check(MISTRAL, &format!("{text}[TOOL_CALLS]now{{}}"), text, now);
}

#[test]
fn separators_before_any_mark_belong_to_neither_call() {
    let call = "<tool_call>{\"name\":\"now\"}</tool_call>";
    let now = ("now", "{}");
    check(HERMES, &format!("{call}; {call},"), "", &[now; 2]);
    check(HERMES, &format!("{call}; <tool_x"), "; <tool_x", &[now]);
    // behind text they are text
    check(HERMES, &format!("{call} a, {call}"), "a,", &[now; 2]);
}

#[test]
fn a_name_in_a_tag_is_on_one_line() {
    for text in ["<function=\nnow></function>", "<function=now\n></function>"] {
        check("<function= <parameter=", text, text, &[]);
    }
}

#[test]
fn an_escape_may_be_cut() {
    check(
        "ipython",
        "<|python_tag|>add.call(why=\"a\\\"b\\u00e9\")",
        "",
        &[("add", "{\"why\":\"a\\\"bé\"}")],
    );
}

#[test]
fn a_name_may_begin_like_a_value_of_json() {
    for name in ["3d", "null_device"] {
        let tools = json!([{"name": name}]);
        let text = format!("<|python_tag|>{name}.call()");
        for cut in 0..=text.len() {
            let mut parser = ToolCallParser::new(ToolSyntax::of_template("ipython"), &tools);
            let mut calls = parser.push(&text[..cut]).calls;
            calls.extend(parser.push(&text[cut..]).calls);
            assert_eq!(calls.len(), 1, "{name} cut at {cut}");
        }
    }
}

#[test]
fn what_only_looks_like_a_call_is_text() {
    for text in [
        "",
        "plain",
        "  a < b, <tool> and <tool_cal",
        "Use the <tool_call> tag.",
        "<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"now\", \"arguments\": [1]}\n</tool_call>",
        "<tool_call>\n{\"name\": \"now\", \"argum",
        "<tool_call>",
        "<tool_call></tool_call>",
        "x <tool_call>{]}</tool_call> y\n",
        "{\"name\": \"unknown\", \"arguments\": {}}",
        "{\"name\": \"Anna\", \"age\": 3}",
        "{{\"name\": \"unknown\"}}",
        "{{user}} is here",
        "See {\"name\": \"now\"}",
        "<tools> are listed",
    ] {
        check(HERMES, text, text, &[]);
    }
    check(
        HERMES,
        "<tool_call> no, <tool_call>{\"name\": \"now\"}</tool_call>",
        "<tool_call> no,",
        &[("now", "{}")],
    );
}

#[test]
fn content_streams_while_nothing_can_become_a_call() {
    let mut parser = ToolCallParser::new(ToolSyntax::of_template(HERMES), &offered());
    assert_eq!(parser.push("Hello").content, "Hello");
    assert_eq!(parser.push(" you <").content, " you");
    assert_eq!(parser.push("b").content, " <b");
    assert!(
        parser
            .push("<tool_call>{\"name\": \"now\"}")
            .calls
            .is_empty()
    );
    assert_eq!(parser.push("</tool_call>").calls.len(), 1);
    assert_eq!(
        parser
            .push("\n<tool_call>{\"name\": \"now\"}</tool_call>")
            .calls
            .len(),
        1
    );
    assert_eq!(parser.finish(), ToolSplit::default());
}

#[test]
fn qwen_coder() {
    const QWEN: &str = "<tool_call> <function= <parameter=";
    let call = "<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\n York\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
        <parameter=zip>\nnull\n</parameter>\n</function>\n</tool_call>";
    let expected = [(
        "get_weather",
        r#"{"city":"New\n York","days":3,"zip":null}"#,
    )];
    check(QWEN, call, "", &expected);
    check(QWEN, &format!("Hm.\n{call}\n"), "Hm.", &expected);
    // without the outer tag; a value of no stated type
    check(
        QWEN,
        "<function=add><parameter=a>1</parameter><parameter=why>7</parameter><parameter=c>x y</parameter></function>",
        "",
        &[("add", r#"{"a":1,"why":"7","c":"x y"}"#)],
    );
    check(
        QWEN,
        "<tool_call><function=now></function></tool_call>",
        "",
        &[("now", "{}")],
    );
    for text in [
        "<function=unknown></function>",
        "<tool_call>x",
        "<function=now><parameter=a>1",
        "<function=add>\nlet x\n",
    ] {
        check(QWEN, text, text, &[]);
    }
}

#[test]
fn llama3() {
    const LLAMA: &str = "ipython";
    check(
        LLAMA,
        "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
        "",
        &[("get_weather", r#"{"city":"Paris"}"#)],
    );
    check(
        LLAMA,
        "\n{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"add\", \"parameters\": {\"a\": 1}}\n",
        "",
        &[("now", "{}"), ("add", r#"{"a":1}"#)],
    );
    check(
        LLAMA,
        "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}",
        "",
        &[("now", "{}")],
    );
    check(
        LLAMA,
        "<|python_tag|>add.call(a=1, why=\"x) y\")",
        "",
        &[("add", r#"{"a":1,"why":"x) y"}"#)],
    );
    for text in [
        "{\"answer\": 42}",
        "{\"name\": \"Paris\", \"parameters\": {}}",
        "The call is {\"name\": \"now\", \"parameters\": {}}",
        "[1, 2]",
        "{ not JSON }",
        "{\"name\": \"now\", \"para",
        "<|python_tag|>print(1)",
    ] {
        check(LLAMA, text, text, &[]);
    }
}

#[test]
fn mistral() {
    const MISTRAL: &str = "[TOOL_CALLS]";
    check(
        MISTRAL,
        "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"123456789\"}]",
        "",
        &[("now", "{}"), ("add", r#"{"a":1}"#)],
    );
    check(
        MISTRAL,
        " [TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]",
        "",
        &[("now", "{}")],
    );
    check(
        MISTRAL,
        "Ok[TOOL_CALLS]add[CALL_ID]abc123DEF[ARGS]{\"a\": 1}[TOOL_CALLS]now[ARGS]{}",
        "Ok",
        &[("add", r#"{"a":1}"#), ("now", "{}")],
    );
    check(MISTRAL, "[TOOL_CALLS]now{}", "", &[("now", "{}")]);
    for text in [
        "[TOOL",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]what is it",
        "[TOOL_CALLS][{\"name\": \"x\"}]",
        "[TOOL_CALLS]now[ARGS]{",
    ] {
        check(MISTRAL, text, text, &[]);
    }
}

#[test]
fn lists_of_granite_and_phi() {
    const GRANITE: &str = "<|tool_call|>";
    let list =
        "[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"add\", \"arguments\": {\"a\": 1}}]";
    let expected = [("now", "{}"), ("add", r#"{"a":1}"#)];
    check(GRANITE, &format!("<|tool_call|>{list}"), "", &expected);
    check(
        GRANITE,
        &format!("<|tool_call|> {list}<|/tool_call|>"),
        "",
        &expected,
    );
    check("<|tool|>", &format!("functools{list}"), "", &expected);
    check(
        GRANITE,
        "<|tool_call|>[{\"name\"",
        "<|tool_call|>[{\"name\"",
        &[],
    );
    check(GRANITE, "the functools module", "the functools module", &[]);
}

#[test]
fn lfm2_and_python_fences() {
    const LFM2: &str = "<|tool_list_start|>";
    check(
        LFM2,
        "<|tool_call_start|>[get_weather(city=\"São Paulo\", days=2), add(a=-1.5, b=[1, {'x': True}], why='it\\'s')]<|tool_call_end|>Wait.",
        "Wait.",
        &[
            ("get_weather", r#"{"city":"São Paulo","days":2}"#),
            ("add", r#"{"a":-1.5,"b":[1,{"x":true}],"why":"it's"}"#),
        ],
    );
    check(LFM2, "<|tool_call_start|>[now()]", "", &[("now", "{}")]);
    for text in [
        "<|tool_call_start|>[nope()]<|tool_call_end|>",
        "<|tool_call_start|>[now(]<|tool_call_end|>",
        "<|tool_call_start|>now",
        "<|tool_call_start|>[now(x)]<|tool_call_end|>",
    ] {
        check(LFM2, text, text, &[]);
    }
    check(
        "tool_code",
        "```tool_code\nadd(a=1, b=2)\n```",
        "",
        &[("add", r#"{"a":1,"b":2}"#)],
    );
    check(
        "tool_code",
        "```tool_code\nprint(1)\n```",
        "```tool_code\nprint(1)\n```",
        &[],
    );
}

#[test]
fn gemma() {
    check(
        "<|tool_call>call:",
        "<|tool_call>call:get_weather{city:<|\"|>Paris, {FR}<|\"|>,days:3}<tool_call|><|tool_call>call:now{}<tool_call|>",
        "",
        &[
            ("get_weather", r#"{"city":"Paris, {FR}","days":3}"#),
            ("now", "{}"),
        ],
    );
    check(
        "<|tool_call>call:",
        "<|tool_call>call:add{a:{x:[1,true,null,<|\"|>t<|\"|>]},why:bare}<tool_call|>",
        "",
        &[("add", r#"{"a":{"x":[1,true,null,"t"]},"why":"bare"}"#)],
    );
    check(
        "<start_function_call>",
        "<start_function_call>call:get_weather{city:<escape>Rome<escape>}<end_function_call>",
        "",
        &[("get_weather", r#"{"city":"Rome"}"#)],
    );
    for text in [
        "<|tool_call>call:nope{}<tool_call|>",
        "<|tool_call>call:now{",
        "<|tool_call>x<tool_call|>",
    ] {
        check("<|tool_call>call:", text, text, &[]);
    }
}

#[test]
fn deepseek() {
    const DEEPSEEK: &str = "<｜tool▁call▁begin｜>";
    check(
        DEEPSEEK,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>\
         <｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        &[("add", r#"{"a":1}"#), ("now", "{}")],
    );
    check(
        DEEPSEEK,
        "Hm <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Hm",
        &[("add", r#"{"a":1}"#)],
    );
    let cut = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\"";
    check(DEEPSEEK, cut, cut, &[]);
}

#[test]
fn kimi() {
    const KIMI: &str = "<|tool_call_argument_begin|>";
    check(
        KIMI,
        "Hm.<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{\"b\": 2, \"a\": 1}<|tool_call_end|>\
         <|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "Hm.",
        &[("add", r#"{"b":2,"a":1}"#), ("now", "{}")],
    );
    // without the outer marks, or with the bare name
    check(
        KIMI,
        "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "",
        &[("now", "{}")],
    );
    check(
        KIMI,
        "<|tool_calls_section_begin|><|tool_call_begin|>now<|tool_call_argument_begin|>{}",
        "",
        &[("now", "{}")],
    );
    for text in [
        "<|tool_call_begin|>functions.nope:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{\"a\"",
        "<|tool_calls_section_begin|><|tool_calls_section_end|>",
    ] {
        check(KIMI, text, text, &[]);
    }
}

#[test]
fn minicpm() {
    const MINICPM: &str = "<function name=\"function-name\"><param name=\"param-name\">";
    check(
        MINICPM,
        "Let me see.\n<function name=\"get_weather\"><param name=\"city\">Paris</param><param name=\"days\">3</param></function>\n\
         <function name=\"now\"></function>",
        "Let me see.",
        &[
            ("get_weather", r#"{"city":"Paris","days":3}"#),
            ("now", "{}"),
        ],
    );
    // a value that would end its tag
    check(
        MINICPM,
        "<function name=\"add\"><param name=\"why\"><![CDATA[a</param></function>\n & b]]></param>\n<param name=\"a\">1.0</param></function>!",
        "!",
        &[("add", r#"{"why":"a</param></function>\n & b","a":1.0}"#)],
    );
    for text in [
        "<function name=\"nope\"></function>",
        "<function name=\"now\">",
        "<function name=\"now\"><param name=\"a\">1</param>",
        "<function name=\"now\"><param name=\"a\"><![CDATA[1]]>2</param></function>",
        "<function name=\"now\n\"></function>",
        "<function name=now></function>",
        "<function name=\"now\">text</function>",
    ] {
        check(MINICPM, text, text, &[]);
    }
}

#[test]
fn minimax_and_dsml() {
    const MINIMAX: &str = "<minimax:tool_call>";
    let weather = "<invoke name=\"get_weather\">\n<parameter name=\"city\">New York</parameter>\n\
         <parameter name=\"days\">2</parameter>\n</invoke>\n";
    let expected = [
        ("get_weather", r#"{"city":"New York","days":2}"#),
        ("now", "{}"),
    ];
    for close in ["</minimax:tool_call>", ""] {
        check(
            MINIMAX,
            &format!(
                "Ok.\n<minimax:tool_call>\n{weather}<invoke name=\"now\">\n</invoke>\n{close}"
            ),
            "Ok.",
            &expected,
        );
    }
    for text in [
        "<minimax:tool_call>",
        "<minimax:tool_call>\n</minimax:tool_call>",
        "<minimax:tool_call>\n<invoke name=\"nope\"></invoke></minimax:tool_call>",
        "<minimax:tool_call>\n<invoke name=\"now\"></invoke> and <invoke",
    ] {
        check(MINIMAX, text, text, &[]);
    }
    check(
        "'｜DSML｜'",
        "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"add\">\n<｜DSML｜parameter name=\"c\" string=\"true\">7</｜DSML｜parameter>\n\
         <｜DSML｜parameter name=\"a\" string=\"false\">[1, 2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "",
        &[("add", r#"{"c":"7","a":[1,2]}"#)],
    );
    check(
        "'｜DSML｜'",
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        "",
        &[("now", "{}")],
    );
}

#[test]
fn olmo() {
    const OLMO: &str = "<function_calls>";
    check(
        OLMO,
        "I look.\n<function_calls>\nget_weather(city=\"San Francisco\", days=2)\nadd(a=1, why='b, c)')\n</function_calls>",
        "I look.",
        &[
            ("get_weather", r#"{"city":"San Francisco","days":2}"#),
            ("add", r#"{"a":1,"why":"b, c)"}"#),
        ],
    );
    check(OLMO, "<function_calls>now()", "", &[("now", "{}")]);
    for text in [
        "<function_calls>\n</function_calls>",
        "<function_calls>\nnope()\n</function_calls>",
        "<function_calls>\nnow()\nadd(a=1",
    ] {
        check(OLMO, text, text, &[]);
    }
}

#[test]
fn seed() {
    check(
        "<seed:tool_call>\n<function=x>\n<parameter=y>",
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Berlin</parameter>\n<parameter=days>2</parameter>\n</function>\n\
         </seed:tool_call><seed:tool_call><function=now></function></seed:tool_call>",
        "",
        &[
            ("get_weather", r#"{"city":"Berlin","days":2}"#),
            ("now", "{}"),
        ],
    );
}

#[test]
fn lists_in_tags() {
    let list = "[{\"name\": \"add\", \"arguments\": {\"b\": 1e2, \"a\": 1}}, {\"name\": \"now\", \"arguments\": {}}]";
    let expected = [("add", r#"{"b":100.0,"a":1}"#), ("now", "{}")];
    for tag in ["tool_calls", "TOOLCALL"] {
        let template = format!("<{tag}>");
        check(
            &template,
            &format!("Hm.\n<{tag}>{list}</{tag}>"),
            "Hm.",
            &expected,
        );
        check(&template, &format!("<{tag}>{list}"), "", &expected);
        let cut = format!("<{tag}>{}", &list[..40]);
        check(&template, &cut, &cut, &[]);
    }
    check(
        "<tool_calls>",
        "<tool_calls>\n{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"now\"}\n</tool_calls>",
        "",
        &[("now", "{}"); 2],
    );
}

#[test]
fn glm_and_cohere() {
    check(
        "<arg_key>",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key><arg_value>2</arg_value></tool_call>",
        "",
        &[("get_weather", r#"{"city":"Paris","days":2}"#)],
    );
    // only the closing tag says that no argument is missing
    let cut = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>";
    check("<arg_key>", cut, cut, &[]);
    check(
        "<|START_ACTION|>",
        "<|START_ACTION|>[\n{\"tool_call_id\": \"0\", \"tool_name\": \"add\", \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
        "",
        &[("add", r#"{"a":1}"#)],
    );
    const ACTION: &str = "Write 'Action:' followed by a list: \"tool_name\"";
    let list = "[\n    {\n        \"tool_name\": \"add\",\n        \"parameters\": {\"why\": \"```\"}\n    },\n    {\"tool_name\": \"now\", \"parameters\": {}}\n]";
    let expected = [("add", r#"{"why":"```"}"#), ("now", "{}")];
    for end in ["```", "\n```\n", ""] {
        let text = format!("I look.\nAction:\n```json\n{list}{end}");
        check(ACTION, &text, "I look.", &expected);
    }
    for text in [
        "Action: wait",
        "Action:\n```json\n[{\"tool_name\": \"directly-answer\", \"parameters\": {}}]```",
        "Action: ```json\n[{\"tool_name\": \"now\"",
        "<|START_ACTION|>[]<|END_ACTION|>",
    ] {
        check(ACTION, text, text, &[]);
    }
}

#[test]
fn a_model_without_markers_may_answer_in_json() {
    check(
        "",
        "```json\n{\"name\": \"now\", \"arguments\": {}}\n```",
        "",
        &[("now", "{}")],
    );
    check(
        "",
        "[{\"name\": \"now\", \"arguments\": {}}]",
        "",
        &[("now", "{}")],
    );
    for text in [
        "```json\n{\"a\": 1}\n```",
        "```js\nx\n```",
        "{\"a\": 1}",
        "`",
        "See {\"name\": \"now\"}",
    ] {
        check("", text, text, &[]);
    }
}

#[test]
fn the_table_knows_the_families() {
    let names = [
        ("{'<tool_call>'}<function= <parameter=", "qwen-coder"),
        ("<tool_call>", "hermes"),
        ("[TOOL_CALLS]", "mistral"),
        ("<|tool_call|>", "list"),
        ("role == 'ipython'", "llama3"),
        ("<|tool_list_start|>", "lfm2"),
        ("+ \"List of tools: [\" -%}", "lfm2"),
        ("within <function_calls></function_calls>", "olmo3"),
        ("<|channel|>analysis<|message|>", "harmony"),
        ("<seed:tool_call>\n<function=x>\n<parameter=y>", "seed"),
        ("xml_tools", "hermes"),
        ("<|tool|>", "list"),
        ("<|python_tag|>", "llama3"),
        ("nothing", "json"),
    ];
    for (template, name) in names {
        assert_eq!(ToolSyntax::of_template(template).name(), name);
    }
}

/// A small, seeded generator: the same texts on every machine.
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

/// Random streams of markers and pieces of calls: how they are cut into chunks changes nothing, and text that is no call
/// comes out as it went in, white space aside.
#[test]
fn random_streams_do_not_depend_on_chunks_and_lose_nothing() {
    const PIECES: &[&str] = &[
        "<tool_call>",
        "</tool_call>",
        "<function=now>",
        "</function>",
        "<parameter=a>",
        "</parameter>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "<|tool_call|>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<|python_tag|>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<|tool_call>",
        "<tool_call|>",
        "<function name=\"now\">",
        "<minimax:tool_call>",
        "</minimax:tool_call>",
        "<invoke name=\"now\">",
        "</invoke>",
        "<param name=\"a\">",
        "</param>",
        "<function_calls>",
        "</function_calls>",
        "Action:",
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "call:now",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"",
        "{\"name\": \"now\", \"arguments\": {}}",
        "{\"name\": \"no\"}",
        "now()",
        "now",
        "add",
        "a=1",
        ":",
        ",",
        ";",
        " ",
        "\n",
        "é",
        "text",
        "<",
        "```json",
        "```",
        "\\",
    ];
    let templates = FAMILY_MARKERS;
    let mut random = Random(11);
    for round in 0..3000 {
        let template = templates[round % templates.len()];
        let n_pieces = 1 + random.below(12);
        let text: String = (0..n_pieces)
            .map(|_| PIECES[random.below(PIECES.len())])
            .collect();
        let whole = parse(template, &text, usize::MAX);
        for chunk_len in [1, 2, 3, 7] {
            assert_eq!(
                parse(template, &text, chunk_len),
                whole,
                "{template}: {text:?} in chunks of {chunk_len}"
            );
        }
        if whole.1.is_empty() {
            assert_eq!(whole.0, text, "{template}");
        }
    }
}

const FAMILY_MARKERS: &[&str] = &[
    "<|tool_call>call:",
    "<start_function_call>",
    "<|tool_list_start|>",
    "<｜tool▁call▁begin｜>",
    "<|tool_call_argument_begin|>",
    "<minimax:tool_call>",
    "<function name=\" <param name=\"",
    "<function_calls>",
    "<arg_key>",
    "<function= <parameter=",
    "<tool_calls>",
    "<tool_call>",
    "[TOOL_CALLS]",
    "<|START_ACTION|>",
    "Action: tool_name",
    "<|tool_call|>",
    "tool_code",
    "ipython",
    "",
];

#[test]
fn an_endless_region_becomes_text() {
    let mut parser =
        ToolCallParser::new(ToolSyntax::of_template("<|tool_list_start|>"), &offered());
    let mut content = parser.push("<|tool_call_start|>").content;
    let chunk = "x".repeat(1000);
    for _ in 0..400 {
        content += &parser.push(&chunk).content;
    }
    assert!(content.len() > 256 << 10);
    content += &parser.finish().content;
    assert_eq!(content.len(), "<|tool_call_start|>".len() + 400_000);
    // in one piece it is as long
    let long = format!(
        "<|tool_call_start|>[add(why='{}')]<|tool_call_end|>",
        "é".repeat(200_000)
    );
    for chunk_len in [1000, usize::MAX] {
        assert_eq!(
            parse("<|tool_list_start|>", &long, chunk_len),
            (long.clone(), vec![])
        );
    }
}
