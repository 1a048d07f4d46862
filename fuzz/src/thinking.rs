//! Thoughts in streaming text: the same however it is cut, and what the rule says about the whole text.
use crate::input::{Input, chunks};
use slm_chat::{Split, ThinkingSplitter, ThinkingTags};

/// A text that mentions each known pair of tags.
pub const TAGS: [&str; 5] = [
    "</think>",
    "[/THINK]",
    "<channel|>",
    "<|END_THINKING|>",
    "</seed:think>",
];

/// The first line: which tags, whether the prompt opens a thought, how the text is cut. Then the text.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let tags = ThinkingTags::of_template(input.choose(&TAGS)).expect("known tags");
    let [opened, ..] = input.flags();
    let prompt = if opened {
        format!("Hi {}\n", tags.open)
    } else {
        "Hi".to_owned()
    };
    let cuts = input.line();
    let text = input.text();
    let expected = split_whole(&tags, opened, &text);
    for cuts in [cuts, b"1", b"\xff"] {
        let mut splitter = ThinkingSplitter::new(tags.clone(), &prompt);
        let mut all = Split::default();
        for chunk in chunks(&text, cuts) {
            extend(&mut all, splitter.push(chunk));
        }
        extend(&mut all, splitter.finish());
        assert_eq!(all, expected, "{text:?} cut by {cuts:?}");
        assert!(splitter.finish().is_empty());
    }
}

fn extend(all: &mut Split, more: Split) {
    all.thinking += &more.thinking;
    all.content += &more.content;
}

/// The rule itself, on text that is there as a whole.
pub fn split_whole(tags: &ThinkingTags, opened: bool, text: &str) -> Split {
    let Some(inside) = thought_on(tags, opened, text) else {
        return Split {
            content: text.to_owned(),
            ..Split::default()
        };
    };
    let (thinking, content) = inside.split_once(&*tags.close).unwrap_or((inside, ""));
    Split {
        thinking: thinking.trim_end().to_owned(),
        content: content.trim_start().to_owned(),
    }
}

/// The text behind what opens a thought, if one is open. A text that opens it once more, behind a prompt that did, opens
/// none of its own.
pub fn thought_on<'t>(tags: &ThinkingTags, opened: bool, text: &'t str) -> Option<&'t str> {
    let behind = text.trim_start().strip_prefix(&*tags.open);
    let inside = behind.or(opened.then_some(text));
    inside.map(str::trim_start)
}
