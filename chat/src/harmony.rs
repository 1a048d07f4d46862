//! gpt-oss's text: messages on channels, each with a header.
//!
//! `<|channel|>analysis<|message|>` thoughts `<|end|>`, `<|start|>assistant<|channel|>final<|message|>` answer, and calls as
//! messages to a tool: `<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}`, the recipient in front of
//! the channel or behind it. Headers never reach the answer. A message to a tool that was not offered, or whose text is no
//! JSON object, is text as it was written; so is what comes in no message at all.
use crate::{Answer, markers::prefix_at_end, tools::Tools};
use serde_json::{Map, Value};

const START: &str = "<|start|>";
const CHANNEL: &str = "<|channel|>";
const CONSTRAIN: &str = "<|constrain|>";
const MESSAGE: &str = "<|message|>";
/// What ends a message; the last two end a generation, too.
const ENDS: &[&str] = &["<|end|>", "<|call|>", "<|return|>"];
/// Tokens that must reach the parser.
pub(crate) const MARKERS: &[&str] = &[START, CHANNEL, CONSTRAIN, MESSAGE, ENDS[0]];
/// What a header may begin with.
const HEADER_STARTS: &[&str] = &[START, CHANNEL, MESSAGE, CONSTRAIN, "to="];
/// Longest header; what is longer is text.
const MAX_HEADER_BYTES: usize = 1 << 10;

#[derive(Clone, Debug)]
enum State {
    /// Before the `<|message|>` of the next message.
    Header,
    Thinking,
    Content,
    /// A call; with the header as it was written.
    Call {
        name: String,
        header: String,
    },
}

/// Takes one generation's text apart.
#[derive(Clone, Debug)]
pub(crate) struct HarmonyParser {
    tools: Tools,
    state: State,
    /// Text that cannot be judged yet.
    held: String,
}

impl HarmonyParser {
    /// A parser for the answer to `prompt`, which may have begun a header or a message already.
    pub(crate) fn new(prompt: &str, tools: Tools) -> Self {
        let begun = prompt.rfind(START).map_or("", |at| &prompt[at..]);
        let mut parser = Self {
            tools,
            state: State::Header,
            held: String::new(),
        };
        if let Some((header, body)) = begun.split_once(MESSAGE)
            && !ENDS.iter().any(|end| body.contains(end))
        {
            parser.state = parser.state_after(header);
        }
        parser
    }

    /// Adds generated text.
    pub(crate) fn push(&mut self, text: &str) -> Answer {
        self.held.push_str(text);
        let mut answer = Answer::default();
        while self.step(&mut answer) {}
        answer
    }

    /// What was held back; call once at the end.
    pub(crate) fn finish(&mut self) -> Answer {
        let rest = std::mem::take(&mut self.held);
        let mut answer = Answer::default();
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header | State::Content => answer.content = rest,
            State::Thinking => answer.thinking = rest,
            State::Call { name, header } => self.call(&name, &header, &rest, "", &mut answer),
        }
        answer
    }

    /// Handles a part of what is held; `false` when more text is needed.
    fn step(&mut self, answer: &mut Answer) -> bool {
        if matches!(self.state, State::Header) {
            return self.header();
        }
        let end = ENDS.iter().filter_map(|end| {
            let at = self.held.find(end)?;
            Some((at, *end))
        });
        let Some((at, end)) = end.min() else {
            if !matches!(self.state, State::Call { .. }) {
                let possible = ENDS.iter().map(|end| prefix_at_end(&self.held, end));
                let certain = self.held.len() - possible.max().unwrap_or(0);
                let text: String = self.held.drain(..certain).collect();
                match self.state {
                    State::Thinking => answer.thinking += &text,
                    _ => answer.content += &text,
                }
            }
            return false;
        };
        let body: String = self.held.drain(..at).collect();
        self.held.drain(..end.len());
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header => {}
            State::Thinking => answer.thinking += &body,
            State::Content => answer.content += &body,
            State::Call { name, header } => self.call(&name, &header, &body, end, answer),
        }
        true
    }

    fn header(&mut self) -> bool {
        if let Some(at) = self.held.find(MESSAGE) {
            let header = &self.held[..at];
            if header.len() <= MAX_HEADER_BYTES && starts_header(&self.held) {
                self.state = self.state_after(header);
                self.held.drain(..at + MESSAGE.len());
            } else {
                self.state = State::Content;
            }
            return true;
        }
        let text = self.held.trim_start();
        let may_become = HEADER_STARTS.iter().any(|start| start.starts_with(text));
        let is_short = self.held.len() < MAX_HEADER_BYTES + MESSAGE.len();
        if is_short && (may_become || starts_header(text)) {
            return false;
        }
        self.state = State::Content;
        true
    }

    /// What a message with this header is.
    fn state_after(&self, header: &str) -> State {
        match word_after(header, "to=") {
            None | Some("" | "assistant") => match word_after(header, CHANNEL) {
                Some("analysis") => State::Thinking,
                _ => State::Content,
            },
            Some(recipient) => State::Call {
                name: recipient
                    .strip_prefix("functions.")
                    .unwrap_or(recipient)
                    .to_owned(),
                header: header.to_owned(),
            },
        }
    }

    fn call(&self, name: &str, header: &str, body: &str, end: &str, answer: &mut Answer) {
        let call = arguments(body).and_then(|arguments| self.tools.call(name, arguments));
        match call {
            Some(call) => answer.tool_calls.push(call),
            // models address tools of their training in their thoughts
            None if word_after(header, CHANNEL) == Some("analysis") => answer.thinking += body,
            None => answer.content.extend([header, MESSAGE, body, end]),
        }
    }
}

/// The word behind the last `mark` in a header.
fn word_after<'a>(header: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = header.rsplit_once(mark)?;
    rest.split(|c: char| c.is_whitespace() || c == '<').next()
}

fn starts_header(text: &str) -> bool {
    let text = text.trim_start();
    HEADER_STARTS.iter().any(|start| text.starts_with(start))
}

/// A JSON object, or nothing for a tool without parameters.
fn arguments(text: &str) -> Option<Map<String, Value>> {
    if text.trim().is_empty() {
        return Some(Map::new());
    }
    match serde_json::from_str(text).ok()? {
        Value::Object(arguments) => Some(arguments),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PROMPT: &str = "<|start|>user<|message|>Hi<|end|><|start|>assistant";

    fn tools() -> Tools {
        Tools::new(&json!([{"function": {"name": "get_weather"}}, {"function": {"name": "now"}}]))
    }

    /// Feeds `text` in chunks of every size; each way must give the same.
    #[track_caller]
    fn check(prompt: &str, text: &str, thinking: &str, content: &str, calls: &[(&str, &str)]) {
        let chars: Vec<char> = text.chars().collect();
        for chunk_len in 1..=chars.len().max(1) {
            let mut parser = HarmonyParser::new(prompt, tools());
            let mut all = Answer::default();
            for chunk in chars.chunks(chunk_len) {
                all.extend(parser.push(&chunk.iter().collect::<String>()));
            }
            all.extend(parser.finish());
            let found: Vec<(String, String)> = all
                .tool_calls
                .into_iter()
                .map(|call| (call.name, Value::Object(call.arguments).to_string()))
                .collect();
            let found: Vec<(&str, &str)> = found.iter().map(|(n, a)| (&**n, &**a)).collect();
            assert_eq!(
                (&*all.thinking, &*all.content, &*found),
                (thinking, content, calls),
                "chunks of {chunk_len}"
            );
        }
    }

    #[test]
    fn channels_come_apart() {
        check(
            PROMPT,
            "<|channel|>analysis<|message|>Be kind.\n<|end|><|start|>assistant<|channel|>final<|message|>Hello <|you|>!",
            "Be kind.\n",
            "Hello <|you|>!",
            &[],
        );
        // a preamble, a constraint, a stray channel, and the token at the end
        check(
            PROMPT,
            "<|channel|>commentary<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>\
             <|start|>assistant<|channel|>final <|constrain|>json<|message|>{}<|return|>",
            "a",
            "b{}",
            &[],
        );
        check(
            PROMPT,
            "<|channel|>commentary to=assistant<|channel|>analysis<|message|>a",
            "a",
            "",
            &[],
        );
        check(
            PROMPT,
            "<|channel|>analysis<|message|>cut <|en",
            "cut <|en",
            "",
            &[],
        );
    }

    #[test]
    fn a_prompt_may_have_begun_the_message() {
        check(
            "<|start|>assistant<|channel|>final<|message|>The sky",
            " is blue<|return|>",
            "",
            " is blue",
            &[],
        );
        check(
            "<|start|>assistant<|channel|>analysis<|message|>",
            "hm<|end|><|start|>assistant<|channel|>final<|message|>x",
            "hm",
            "x",
            &[],
        );
        check(
            "<|start|>user<|message|>Hi<|end|>",
            "<|start|>assistant<|channel|>final<|message|>x",
            "",
            "x",
            &[],
        );
    }

    #[test]
    fn messages_to_tools_are_calls() {
        let arguments = r#"{"city":"Zürich","days":1.0,"at":{"b":[1],"a":null}}"#;
        for header in [
            "<|channel|>commentary to=functions.get_weather <|constrain|>json",
            "<|channel|>commentary to=functions.get_weather<|constrain|>json",
            " to=functions.get_weather<|channel|>commentary json",
            "<|channel|>analysis to=functions.get_weather",
            "<|channel|>commentary to=get_weather",
        ] {
            for end in ["", "<|call|>"] {
                check(
                    PROMPT,
                    &format!(
                        "<|channel|>analysis<|message|>ask<|end|><|start|>assistant{header}<|message|>{arguments}{end}"
                    ),
                    "ask",
                    "",
                    &[("get_weather", arguments)],
                );
            }
        }
        // several, one without arguments
        check(
            PROMPT,
            "<|channel|>commentary to=functions.now<|message|><|call|><|start|>assistant<|channel|>commentary to=functions.now<|message|>{ }<|call|>",
            "",
            "",
            &[("now", "{}"); 2],
        );
    }

    #[test]
    fn what_is_no_call_is_text_as_it_was_written() {
        for text in [
            "<|channel|>commentary to=functions.nope <|constrain|>json<|message|>{}<|call|>",
            "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{\"a\"",
            "<|channel|>commentary to=functions.now<|message|>[1]<|end|>",
            "plain",
            "to be or not <|message|> to be",
            "to=5",
            "<|chan",
            "<|channel|>final",
            "  ",
        ] {
            check(PROMPT, text, "", text, &[]);
        }
        check(
            PROMPT,
            "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
            "print(1)",
            "",
            &[],
        );
    }

    #[test]
    fn an_endless_header_becomes_text() {
        let mut parser = HarmonyParser::new(PROMPT, tools());
        let text = "<|channel|>".to_owned() + &"x".repeat(2 * MAX_HEADER_BYTES);
        assert_eq!(parser.push(&text).content, text);
    }

    #[test]
    fn random_streams_do_not_depend_on_chunks() {
        const PIECES: &[&str] = &[
            "<|start|>",
            "assistant",
            "<|channel|>",
            "analysis",
            "final",
            "commentary",
            " to=functions.now",
            "<|constrain|>",
            "json",
            "<|message|>",
            "{}",
            "{\"a\": 1}",
            "<|end|>",
            "<|call|>",
            "text",
            " ",
            "<|",
            "é",
        ];
        let mut state = 5_u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let parse = |text: &str, chunk_len: usize| {
            let mut parser = HarmonyParser::new(PROMPT, tools());
            let mut all = Answer::default();
            let chars: Vec<char> = text.chars().collect();
            for chunk in chars.chunks(chunk_len) {
                all.extend(parser.push(&chunk.iter().collect::<String>()));
            }
            all.extend(parser.finish());
            all
        };
        for _ in 0..3000 {
            let n_pieces = 1 + below(14);
            let text: String = (0..n_pieces).map(|_| PIECES[below(PIECES.len())]).collect();
            let whole = parse(&text, usize::MAX);
            for chunk_len in [1, 2, 5] {
                assert_eq!(
                    parse(&text, chunk_len),
                    whole,
                    "{text:?} in chunks of {chunk_len}"
                );
            }
        }
    }
}
