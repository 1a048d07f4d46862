//! Thoughts, content and calls together: the same however the text is cut, and what the parts say one after the other. In
//! thoughts that were never closed there may be calls, too.
use crate::{
    conversation::TOOLS,
    input::{Input, chunks},
    thinking, tool_calls,
};
use slm_chat::{Answer, AnswerParser, ThinkingTags, ToolSyntax};

/// The first line: which tags, which family, flags (a thought is open, no tags, no tools), how the text is cut.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let tags = ThinkingTags::of_template(input.choose(&thinking::TAGS)).expect("known tags");
    let syntax = ToolSyntax::of_template(input.choose(&tool_calls::FAMILIES));
    let [opened, no_tags, no_tools, ..] = input.flags();
    let cuts = input.line();
    let text = input.text();
    let prompt = if opened { &*tags.open } else { "" };
    let parse = |cuts: &[u8]| {
        let mut parser = AnswerParser::new(
            prompt,
            (!no_tags).then(|| tags.clone()),
            (!no_tools).then_some((syntax, &*TOOLS)),
        );
        let mut answer = Answer::default();
        for chunk in chunks(&text, cuts) {
            answer.extend(parser.push(chunk));
        }
        answer.extend(parser.finish());
        answer
    };
    let split = if no_tags {
        slm_chat::Split {
            content: text.clone(),
            ..slm_chat::Split::default()
        }
    } else {
        thinking::split_whole(&tags, opened, &text)
    };
    let parsed = if no_tools {
        tool_calls::Parsed {
            content: split.content,
            ..tool_calls::Parsed::default()
        }
    } else {
        tool_calls::parse(syntax, &split.content, b"\xff")
    };
    let expected = Answer {
        thinking: split.thinking,
        content: parsed.content,
        tool_calls: parsed.calls,
    };
    let whole = parse(b"\xff");
    for cuts in [cuts, b"1"] {
        assert_eq!(parse(cuts), whole, "{text:?} cut by {cuts:?}");
    }
    let thought = thinking::thought_on(&tags, opened, &text);
    let unclosed = thought.filter(|thought| !thought.contains(&*tags.close));
    match unclosed.filter(|_| !no_tags && !no_tools) {
        Some(thought) if has_call(syntax, thought, &whole) => {}
        _ => assert_eq!(whole, expected, "{text:?}"),
    }
}

/// Whether a thought that was never closed has a call from one of the opening marks on, and then that it is found: text
/// before it is thought, text behind it content.
fn has_call(syntax: ToolSyntax, thought: &str, answer: &Answer) -> bool {
    let opens = syntax.opens().iter().filter(|m| m.starts_with(['<', '[']));
    let Some(at) = opens.filter_map(|mark| thought.find(mark)).min() else {
        return false;
    };
    let (before, rest) = thought.split_at(at);
    let parsed = tool_calls::parse(syntax, rest, b"\xff");
    if parsed.calls.is_empty() {
        return false;
    }
    let visible = |parts: [&str; 2]| parts.concat().split_whitespace().collect::<String>();
    assert_eq!(answer.tool_calls, parsed.calls, "{thought:?}");
    assert!(answer.thinking.starts_with(before.trim_end()), "{answer:?}");
    assert_eq!(
        visible([&answer.thinking, &answer.content]),
        visible([before, &parsed.content])
    );
    true
}
