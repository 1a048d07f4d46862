//! Takes reasoning out of generated text as it streams: `<think>…</think>` first, the answer after it.
//!
//! Chunks may split a tag anywhere: what may yet become a tag is held back, so that no part of one ever leaks. White
//! space around tags is dropped. Only a block at the very start counts; later tags are ordinary text.

use std::borrow::Cow;

/// What stands around reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinkingTags {
    /// Opens it.
    pub open: Cow<'static, str>,
    /// Closes it.
    pub close: Cow<'static, str>,
}

/// Every pair that is known, by what templates mention.
const KNOWN_TAGS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>thought", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
];

impl ThinkingTags {
    /// The tags that a template mentions (it may split earlier answers at the closing one alone).
    pub fn of_template(source: &str) -> Option<Self> {
        let known = KNOWN_TAGS.iter().find(|(_, close)| source.contains(close));
        known.map(|(open, close)| Self {
            open: Cow::Borrowed(open),
            close: Cow::Borrowed(close),
        })
    }
}

/// Reasoning and answer that became certain with one chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// More reasoning.
    pub thinking: String,
    /// More of the answer.
    pub content: String,
}

impl Split {
    /// Whether there is nothing new.
    pub fn is_empty(&self) -> bool {
        self.thinking.is_empty() && self.content.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far: the tag may come.
    Start,
    /// Inside, before the first visible character.
    AfterOpen,
    Thinking,
    /// After the closing tag, before the first visible character.
    AfterClose,
    Content,
}

/// Splits one generation's text.
#[derive(Clone, Debug)]
pub struct ThinkingSplitter {
    tags: ThinkingTags,
    state: State,
    /// Text that cannot be judged yet.
    held: String,
}

impl ThinkingSplitter {
    /// A splitter for the answer to `prompt`. A prompt that ends with the opening tag starts it inside.
    pub fn new(tags: ThinkingTags, prompt: &str) -> Self {
        let inside = prompt.trim_end().ends_with(&*tags.open);
        Self {
            tags,
            state: if inside {
                State::AfterOpen
            } else {
                State::Start
            },
            held: String::new(),
        }
    }

    /// Adds generated text.
    pub fn push(&mut self, text: &str) -> Split {
        self.held.push_str(text);
        let mut split = Split::default();
        while self.step(&mut split) {}
        split
    }

    /// What was held back; call once at the end.
    pub fn finish(&mut self) -> Split {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Start | State::Content => Split {
                content: rest,
                ..Split::default()
            },
            State::AfterOpen | State::Thinking => Split {
                thinking: rest.trim_end().to_owned(),
                ..Split::default()
            },
            State::AfterClose => Split::default(),
        }
    }

    /// Handles a part of what is held; `false` when more text is needed.
    fn step(&mut self, split: &mut Split) -> bool {
        match self.state {
            State::Start => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(&*self.tags.open) {
                    self.held = rest.to_owned();
                    self.state = State::AfterOpen;
                    return true;
                }
                let undecided = self.tags.open.starts_with(text);
                if !undecided {
                    self.state = State::Content;
                }
                !undecided
            }
            State::AfterOpen | State::AfterClose => {
                self.held
                    .drain(..self.held.len() - self.held.trim_start().len());
                if self.held.is_empty() {
                    return false;
                }
                self.state = match self.state {
                    State::AfterOpen => State::Thinking,
                    _ => State::Content,
                };
                true
            }
            State::Thinking => {
                if let Some(at) = self.held.find(&*self.tags.close) {
                    split.thinking.push_str(self.held[..at].trim_end());
                    self.held.drain(..at + self.tags.close.len());
                    self.state = State::AfterClose;
                    return true;
                }
                let possible_tag = longest_prefix_at_end(&self.held, &self.tags.close);
                let certain = self.held[..self.held.len() - possible_tag].trim_end().len();
                split.thinking.extend(self.held.drain(..certain));
                false
            }
            State::Content => {
                split.content.push_str(&self.held);
                self.held.clear();
                false
            }
        }
    }
}

/// Length of the longest proper prefix of `tag` that `text` ends with.
fn longest_prefix_at_end(text: &str, tag: &str) -> usize {
    (1..tag.len())
        .rev()
        .find(|&len| tag.is_char_boundary(len) && text.ends_with(&tag[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: ThinkingTags = ThinkingTags {
        open: Cow::Borrowed("<think>"),
        close: Cow::Borrowed("</think>"),
    };

    /// Feeds `text` in chunks of every size; each way must give the same.
    #[track_caller]
    fn check(prompt: &str, text: &str, thinking: &str, content: &str) {
        let chars: Vec<char> = text.chars().collect();
        for chunk_len in 1..=chars.len().max(1) {
            let mut splitter = ThinkingSplitter::new(TAGS, prompt);
            let mut all = Split::default();
            let mut add = |split: Split| {
                all.thinking += &split.thinking;
                all.content += &split.content;
            };
            for chunk in chars.chunks(chunk_len) {
                add(splitter.push(&chunk.iter().collect::<String>()));
            }
            add(splitter.finish());
            assert_eq!(
                (all.thinking.as_str(), all.content.as_str()),
                (thinking, content),
                "chunks of {chunk_len}"
            );
        }
    }

    #[test]
    fn a_block_at_the_start_is_thinking() {
        check(
            "",
            "<think>\nsum it up\n</think>\n\nFour.",
            "sum it up",
            "Four.",
        );
        check("", "\n <think>a</think>b", "a", "b");
        check("", "<think></think>b", "", "b");
        check("", "<think>\n\n</think>\n\nGrüße", "", "Grüße");
    }

    #[test]
    fn text_without_a_block_is_content_unchanged() {
        check("", "  plain", "", "  plain");
        check("", "<thin air", "", "<thin air");
        check("", "<thin", "", "<thin");
        check("", "a <think>b</think>", "", "a <think>b</think>");
        check("", "", "", "");
    }

    #[test]
    fn a_prompt_that_opens_the_block_starts_inside() {
        check(
            "<|im_start|>assistant\n<think>\n",
            "why</think>because",
            "why",
            "because",
        );
        check("<think>", "never closed ", "never closed", "");
    }

    #[test]
    fn close_tags_count_once_and_near_tags_are_text() {
        check(
            "",
            "<think>a </thin b</think>c</think>",
            "a </thin b",
            "c</think>",
        );
        check("", "<think>a\n\n b  \n</think>c", "a\n\n b", "c");
        check("", "<think>cut </th", "cut </th", "");
    }

    #[test]
    fn nothing_of_a_tag_leaks_early() {
        let mut splitter = ThinkingSplitter::new(TAGS, "");
        assert!(splitter.push("<th").is_empty());
        assert_eq!(splitter.push("ink>x").thinking, "x");
        assert!(splitter.push("</thi").is_empty());
        assert_eq!(splitter.push("nk>y").content, "y");
    }

    #[test]
    fn tags_are_found_in_templates() {
        assert_eq!(
            ThinkingTags::of_template("{{ c.split('</think>') }}"),
            Some(TAGS)
        );
        assert_eq!(ThinkingTags::of_template("{{ messages }}"), None);
    }
}
