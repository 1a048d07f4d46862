//! Thoughts, content and calls together: the same however the text is cut, and what the parts say one after the other.
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
    for cuts in [cuts, b"1", b"\xff"] {
        assert_eq!(parse(cuts), expected, "{text:?} cut by {cuts:?}");
    }
}
