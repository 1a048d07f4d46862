//! Takes reasoning out of generated text as it streams: `<think>…</think>` first, the answer after it.
//!
//! Chunks may split a tag anywhere: what may yet become a tag is held back, so that no part of one ever leaks. White
//! space around tags is dropped. Only a block at the very start counts; later tags are ordinary text. Some models write
//! tags around the answer, too, which are dropped. Thoughts that a call of a tool cuts short are held back from the call's
//! mark on, because only what follows says whether it was meant.

use crate::{Message, markers::prefix_at_end};
use std::borrow::Cow;

/// What stands around reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinkingTags {
    /// Opens it.
    pub open: Cow<'static, str>,
    /// Closes it.
    pub close: Cow<'static, str>,
    /// What may stand around the answer that follows.
    pub answer: Option<(&'static str, &'static str)>,
}

/// Opens thoughts in gpt-oss's text.
const HARMONY_OPEN: &str = "<|channel|>analysis<|message|>";

/// What a template mentions, and the pair that it stands for; the first match counts. The closing tag tells more than the
/// opening one: templates split earlier answers there.
const KNOWN_TAGS: &[(&str, &str, &str)] = &[
    ("<|channel|>analysis", HARMONY_OPEN, "<|end|>"),
    ("</think>", "<think>", "</think>"),
    ("[/THINK]", "[THINK]", "[/THINK]"), // Magistral, Ministral 3
    ("<channel|>", "<|channel>thought", "<channel|>"), // Gemma 4
    ("<|END_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"), // Command R and A
    ("</seed:think>", "<seed:think>", "</seed:think>"), // Seed-OSS
    ("</mm:think>", "<mm:think>", "</mm:think>"), // MiniMax M3
    ("</thought>", "<thought>", "</thought>"), // EXAONE Deep
    ("<|inner_suffix|>", "<|inner_prefix|>", "<|inner_suffix|>"), // Apertus
    ("◁/think▷", "◁think▷", "◁/think▷"), // Kimi VL
    (
        "[BEGIN FINAL RESPONSE]", // Apriel
        "Here are my reasoning steps:",
        "[BEGIN FINAL RESPONSE]",
    ),
];
/// Pairs around answers, by what a template mentions: Granite 3.3 and Ernie, Hunyuan, Command R, Command A.
const ANSWER_TAGS: &[(&str, &str)] = &[
    ("<response>", "</response>"),
    ("<answer>", "</answer>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|START_TEXT|>", "<|END_TEXT|>"),
];
/// Most text that is held back from the mark of a call in a thought on.
const MAX_HELD_BYTES: usize = 64 << 10;

impl ThinkingTags {
    /// The tags that a template mentions.
    pub fn of_template(source: &str) -> Option<Self> {
        let known = KNOWN_TAGS
            .iter()
            .find(|(mention, ..)| source.contains(mention));
        let answer = ANSWER_TAGS
            .iter()
            .find(|(open, close)| source.contains(open) && source.contains(close));
        known.map(|(_, open, close)| Self {
            open: Cow::Borrowed(open),
            close: Cow::Borrowed(close),
            answer: answer.copied(),
        })
    }

    /// The tags that a template's structure says, with what is known of their family. Channels need no structure.
    pub(crate) fn inferred(pair: Option<(String, String)>, source: &str) -> Option<Self> {
        let known = Self::of_template(source);
        if known.as_ref().is_some_and(Self::is_harmony) {
            return known;
        }
        let (open, close) = pair?;
        known.filter(|known| known.close == close).or(Some(Self {
            open: open.into(),
            close: close.into(),
            answer: None,
        }))
    }

    /// Whether these are not tags but messages on channels, as gpt-oss writes them.
    pub fn is_harmony(&self) -> bool {
        self.open == HARMONY_OPEN
    }

    /// All texts that stand for themselves.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let answer = self
            .answer
            .into_iter()
            .flat_map(|(open, close)| [open, close]);
        [&*self.open, &*self.close].into_iter().chain(answer)
    }

    /// The messages with thoughts apart, where an answer of the assistant begins with them: behind the last user message
    /// they move to where templates look for them, before it they are dropped. For a template that looks nowhere they stay
    /// in the text there. `None` when no answer does.
    pub(crate) fn apart(&self, messages: &[Message], are_read: bool) -> Option<Vec<Message>> {
        let begins = |message: &Message| {
            message.role == "assistant" && message.content.trim_start().starts_with(&*self.open)
        };
        if self.is_harmony() || !messages.iter().any(begins) {
            return None;
        }
        let last_user = messages.iter().rposition(|message| message.role == "user");
        let mut messages = messages.to_vec();
        for (at, message) in messages.iter_mut().enumerate().filter(|(_, m)| begins(m)) {
            let is_current = last_user.is_none_or(|last| at > last);
            if is_current && (message.thinking.is_some() || !are_read) {
                continue;
            }
            let mut splitter = ThinkingSplitter::new(self.clone(), "");
            let split = splitter.push(&message.content);
            let rest = splitter.finish();
            message.content = split.content + &rest.content;
            let thinking = split.thinking + &rest.thinking;
            if is_current && !thinking.is_empty() {
                message.thinking = Some(thinking);
            }
        }
        Some(messages)
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
    /// Nothing but white space so far: a tag may come.
    Start,
    /// The prompt opened the block; some models open it once more.
    Opened,
    /// Inside, before the first visible character.
    AfterOpen,
    Thinking,
    /// After the closing tag, before the first visible character.
    AfterClose,
    /// Behind the tag that opens the answer, before the first visible character.
    AfterAnswerOpen,
    Answer,
    /// Behind the tag that closes the answer.
    AfterAnswer,
    Content,
}

/// Splits one generation's text.
#[derive(Clone, Debug)]
pub struct ThinkingSplitter {
    tags: ThinkingTags,
    /// What opens a call of a tool.
    call_marks: Vec<&'static str>,
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
            call_marks: Vec::new(),
            state: if inside { State::Opened } else { State::Start },
            held: String::new(),
        }
    }

    /// Thoughts may break off where one of these marks opens a call.
    pub(crate) fn with_call_marks(mut self, marks: Vec<&'static str>) -> Self {
        self.call_marks = marks;
        self
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
        let (mut thinking, mut content) = (String::new(), String::new());
        match self.state {
            State::Start | State::Content | State::AfterClose => content = rest,
            State::Opened | State::AfterOpen => thinking = rest.trim().to_owned(),
            State::Thinking => thinking = rest.trim_end().to_owned(),
            State::AfterAnswerOpen | State::Answer | State::AfterAnswer => {
                content = rest.trim_end().to_owned();
            }
        }
        Split { thinking, content }
    }

    /// In a thought that is not closed: what is held back from the mark of a call on, and the white space before it.
    pub(crate) fn unclosed_call(&self) -> Option<&str> {
        self.call_at().filter(|_| self.state == State::Thinking)?;
        Some(&self.held)
    }

    /// Where the first mark stands that not too much text follows.
    fn call_at(&self) -> Option<usize> {
        let first = self.held.len().saturating_sub(MAX_HELD_BYTES);
        let marks = self.call_marks.iter();
        let places = marks.filter_map(|mark| {
            let mut places = self.held.match_indices(mark).map(|(at, _)| at);
            places.find(|at| *at >= first)
        });
        places.min()
    }

    /// Handles a part of what is held; `false` when more text is needed.
    fn step(&mut self, split: &mut Split) -> bool {
        let tags = self.tags.clone();
        let opens_thought = (&*tags.open, State::AfterOpen);
        let opens_answer = tags.answer.map(|(open, _)| (open, State::AfterAnswerOpen));
        match self.state {
            State::Start => {
                let openings = [opens_thought].into_iter().chain(opens_answer);
                self.begin(openings, State::Content)
            }
            State::Opened => self.begin([opens_thought].into_iter(), State::AfterOpen),
            State::AfterClose => {
                self.skip_blank();
                self.begin(opens_answer.into_iter(), State::Content)
            }
            State::AfterOpen | State::AfterAnswerOpen | State::AfterAnswer => {
                self.skip_blank();
                let next = match self.state {
                    State::AfterOpen => State::Thinking,
                    State::AfterAnswerOpen => State::Answer,
                    _ => State::Content,
                };
                self.begin(std::iter::empty(), next)
            }
            State::Thinking => self.up_to(&tags.close, &mut split.thinking, State::AfterClose),
            State::Answer => {
                let close = tags.answer.map_or("", |(_, close)| close);
                self.up_to(close, &mut split.content, State::AfterAnswer)
            }
            State::Content => {
                split.content.push_str(&self.held);
                self.held.clear();
                false
            }
        }
    }

    fn skip_blank(&mut self) {
        self.held
            .drain(..self.held.len() - self.held.trim_start().len());
    }

    /// Goes to the state of the tag that comes, or to another once none can come.
    fn begin<'a>(
        &mut self,
        openings: impl Iterator<Item = (&'a str, State)> + Clone,
        otherwise: State,
    ) -> bool {
        let text = self.held.trim_start();
        for (tag, state) in openings.clone() {
            if let Some(rest) = text.strip_prefix(tag) {
                self.held = rest.to_owned();
                self.state = state;
                return true;
            }
        }
        let undecided =
            text.is_empty() || openings.into_iter().any(|(tag, _)| tag.starts_with(text));
        if !undecided {
            self.state = otherwise;
        }
        !undecided
    }

    /// Passes on what stands before `close`.
    fn up_to(&mut self, close: &str, out: &mut String, next: State) -> bool {
        if let Some(at) = self.held.find(close) {
            out.push_str(self.held[..at].trim_end());
            self.held.drain(..at + close.len());
            self.state = next;
            return true;
        }
        let mut possible = prefix_at_end(&self.held, close);
        let mut limit = self.held.len();
        if self.state == State::Thinking {
            let marks = self.call_marks.iter();
            possible = marks.fold(possible, |most, mark| {
                most.max(prefix_at_end(&self.held, mark))
            });
            limit = self.call_at().unwrap_or(limit);
        }
        let certain = self.held[..limit.min(self.held.len() - possible)].trim_end();
        let certain = certain.len();
        out.extend(self.held.drain(..certain));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: ThinkingTags = ThinkingTags {
        open: Cow::Borrowed("<think>"),
        close: Cow::Borrowed("</think>"),
        answer: None,
    };

    /// Feeds `text` in chunks of every size; each way must give the same.
    #[track_caller]
    fn check(prompt: &str, text: &str, thinking: &str, content: &str) {
        check_tags(&TAGS, prompt, text, thinking, content);
    }

    #[track_caller]
    fn check_tags(tags: &ThinkingTags, prompt: &str, text: &str, thinking: &str, content: &str) {
        let chars: Vec<char> = text.chars().collect();
        for chunk_len in 1..=chars.len().max(1) {
            let mut splitter = ThinkingSplitter::new(tags.clone(), prompt);
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
    fn a_block_that_the_prompt_and_the_model_open_is_one() {
        check("<think>\n", "<think>\nwhy</think>so", "why", "so");
        check("<think>\n", "\n<thinly", "<thinly", "");
        check("<think>\n", "\n<thi", "<thi", "");
        check("<think>", "<think>a<think>b</think>c", "a<think>b", "c");
        check("<think>", "</think>c", "", "c");
        check("<think>", "", "", "");
        check("<think>\n\n</think>\n\n", "plain", "", "plain");
    }

    #[test]
    fn tags_around_the_answer_are_dropped() {
        let granite = "Write your thoughts between <think></think> and your response between <response></response>";
        let command = "<|START_THINKING|> <|END_THINKING|> <|START_RESPONSE|> <|END_RESPONSE|>";
        for (template, text, thinking, content) in [
            (
                granite,
                "<think>a b</think>\n<response> c </respond> </response>\n",
                "a b",
                "c </respond>",
            ),
            (granite, "<think>a</think> c", "a", "c"),
            (
                granite,
                "<think>a</think>\n<response>cut </resp",
                "a",
                "cut </resp",
            ),
            (granite, "<think>a</think><resp", "a", "<resp"),
            (granite, "<response>c</response> d", "", "cd"),
            (granite, " c <response>", "", " c <response>"),
            (
                command,
                "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>c<|END_RESPONSE|>",
                "a",
                "c",
            ),
            (command, "<|START_RESPONSE|>c", "", "c"),
        ] {
            let tags = ThinkingTags::of_template(template).unwrap();
            check_tags(&tags, "", text, thinking, content);
        }
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
        for (template, open) in [
            ("c.split('[/THINK]')", "[THINK]"),
            ("'<channel|>' in text", "<|channel>thought"),
            ("<|START_THINKING|><|END_THINKING|>", "<|START_THINKING|>"),
            ("set think_end_token = '</seed:think>'", "<seed:think>"),
            ("content.split(\"</thought>\")", "<thought>"),
            (
                "\"<|channel|>analysis<|message|>\" in content",
                "<|channel|>analysis<|message|>",
            ),
        ] {
            assert_eq!(ThinkingTags::of_template(template).unwrap().open, open);
        }
    }
}
