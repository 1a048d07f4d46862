//! Tool calls in streaming text, for every family: the same however it is cut, and no text is lost.
use crate::{
    conversation::TOOLS,
    input::{Input, chunks},
};
use slm_chat::{ToolCall, ToolCallParser, ToolSyntax};

/// What a template must mention for each family, in the order of the first line's digits.
pub const FAMILIES: [&str; 15] = [
    "<tool_call>",
    "<|tool_call>call:",
    "<start_function_call>",
    "<|tool_call_start|>",
    "<｜tool▁call▁begin｜>",
    "<arg_key>",
    "<function= <parameter=",
    "[TOOL_CALLS]",
    "<|START_ACTION|>",
    "<|tool_call|>",
    "functools[",
    "tool_code",
    "python_tag",
    "xml_tools",
    "no marker",
];

/// Content and calls of a text.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    /// What is no call.
    pub content: String,
    /// The calls.
    pub calls: Vec<ToolCall>,
}

/// The first line: which family, how the text is cut. Then the text.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let syntax = ToolSyntax::of_template(input.choose(&FAMILIES));
    let cuts = input.line();
    let text = input.text();
    let whole = parse(syntax, &text, b"\xff");
    for cuts in [cuts, b"1", b"z"] {
        assert_eq!(
            parse(syntax, &text, cuts),
            whole,
            "{} {text:?} cut by {cuts:?}",
            syntax.name()
        );
    }
    check_nothing_is_lost(syntax, &text, &whole);
}

/// Parses `text` in chunks.
pub fn parse(syntax: ToolSyntax, text: &str, cuts: &[u8]) -> Parsed {
    let mut parser = ToolCallParser::new(syntax, &TOOLS);
    let mut parsed = Parsed::default();
    let mut splits: Vec<_> = chunks(text, cuts).map(|chunk| parser.push(chunk)).collect();
    splits.push(parser.finish());
    for split in splits {
        parsed.content += &split.content;
        parsed.calls.extend(split.calls);
    }
    parsed
}

/// Text that is not content is white space, separates calls, or follows a marker that opened one.
pub fn check_nothing_is_lost(syntax: ToolSyntax, text: &str, parsed: &Parsed) {
    let offered = TOOLS.as_array().into_iter().flatten();
    let names: Vec<_> = offered.map(|tool| &tool["function"]["name"]).collect();
    for call in &parsed.calls {
        assert!(names.iter().any(|name| **name == call.name.as_str()));
    }
    if parsed.calls.is_empty() {
        assert_eq!(parsed.content, text, "{}", syntax.name());
        return;
    }
    let markers: Vec<&str> = syntax.markers().chain(["{", "["]).collect();
    assert!(
        is_left_over(text, &parsed.content, &markers),
        "{} {text:?} gave {parsed:?}",
        syntax.name()
    );
}

/// Whether `content` is `text` without white space, separators and parts that begin with a marker.
fn is_left_over(text: &str, content: &str, markers: &[&str]) -> bool {
    let content: Vec<char> = content.chars().collect();
    // how much of the content may be found so far: outside of a part that is left out, and within one
    let mut outside = vec![false; content.len() + 1];
    let mut within = outside.clone();
    outside[0] = true;
    for (at, c) in text.char_indices() {
        let is_marker = markers.iter().any(|marker| text[at..].starts_with(marker));
        let may_go = c.is_whitespace() || matches!(c, ';' | ',');
        let mut next = vec![false; content.len() + 1];
        for found in 0..=content.len() {
            within[found] |= is_marker && outside[found];
            next[found] |= within[found] || may_go && outside[found];
            if outside[found] && content.get(found) == Some(&c) {
                next[found + 1] = true;
            }
        }
        outside = next;
    }
    outside[content.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_text_is_noticed() {
        let markers = ["<call>"];
        assert!(is_left_over("a <call>x</call> b", "a b", &markers));
        assert!(!is_left_over("a <call>x</call> b", "a<call>b", &markers));
        assert!(!is_left_over("a <call>x</call> b", "b", &markers));
        assert!(!is_left_over("a <call>x</call> b", "ba", &markers));
        assert!(!is_left_over("a b", "a b c", &markers));
    }

    #[test]
    fn every_family_is_reached() {
        let mut names: Vec<_> = FAMILIES
            .iter()
            .map(|source| ToolSyntax::of_template(source).name())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names,
            [
                "cohere",
                "deepseek",
                "function-gemma",
                "gemma4",
                "glm",
                "hermes",
                "json",
                "lfm2",
                "list",
                "llama3",
                "mistral",
                "qwen-coder",
                "tool-code"
            ]
        );
    }
}
