//! Generated text to what an API answers: thoughts, content and tool calls, as they stream.
//!
//! [`AnswerParser`] takes reasoning out first and looks for calls in what is left, so that a call that a model only
//! thinks about is none. Some models forget to end their thoughts before they call: where no more text comes, a call in
//! thoughts that were never closed is one. It ends them: what stands before it is the thought, what follows it the answer.
use crate::{
    ThinkingSplitter, ThinkingTags, ToolCall, ToolCallParser, ToolSyntax,
    harmony::{self, HarmonyParser},
    tools::Tools,
};
use serde_json::Value;

/// What became certain with one chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// More reasoning.
    pub thinking: String,
    /// More of the answer.
    pub content: String,
    /// More calls.
    pub tool_calls: Vec<ToolCall>,
}

impl Answer {
    /// Whether there is nothing new.
    pub fn is_empty(&self) -> bool {
        self.thinking.is_empty() && self.content.is_empty() && self.tool_calls.is_empty()
    }

    /// Adds what came later.
    pub fn extend(&mut self, later: Self) {
        self.thinking += &later.thinking;
        self.content += &later.content;
        self.tool_calls.extend(later.tool_calls);
    }
}

/// Parses one generation's text.
#[derive(Clone, Debug, Default)]
pub struct AnswerParser {
    form: Form,
    /// Texts of tokens that mean something here.
    markers: Vec<String>,
}

/// How thoughts, content and calls are told apart.
#[derive(Clone, Debug)]
enum Form {
    /// By tags and other marks in the text.
    Marked {
        thinking: Option<ThinkingSplitter>,
        tools: Option<Box<ToolCallParser>>,
    },
    /// By messages on channels.
    Harmony(Box<HarmonyParser>),
}

impl Default for Form {
    fn default() -> Self {
        Self::Marked {
            thinking: None,
            tools: None,
        }
    }
}

impl AnswerParser {
    /// A parser for the answer to `prompt`. `tools` are the syntax of calls and the tools that were offered, a JSON list
    /// of definitions; without, all text is content.
    pub fn new(
        prompt: &str,
        thinking: Option<ThinkingTags>,
        tools: Option<(ToolSyntax, &Value)>,
    ) -> Self {
        let is_harmony = thinking.as_ref().is_some_and(ThinkingTags::is_harmony)
            || tools.is_some_and(|(syntax, _)| syntax.is_harmony());
        if is_harmony {
            let tools = tools.map(|(_, definitions)| Tools::new(definitions));
            let parser = HarmonyParser::new(prompt, tools.unwrap_or_default());
            return Self {
                form: Form::Harmony(Box::new(parser)),
                markers: harmony::MARKERS.iter().map(|m| (*m).to_owned()).collect(),
            };
        }
        let mut markers = Vec::new();
        if let Some(tags) = &thinking {
            markers.extend(tags.texts().map(str::to_owned));
        }
        let mut call_marks = Vec::new();
        if let Some((syntax, _)) = tools {
            markers.extend(syntax.markers().map(str::to_owned));
            let opens = syntax.opens().iter().copied();
            call_marks.extend(opens.filter(|mark| mark.starts_with(['<', '['])));
        }
        let thinking = thinking.map(|tags| ThinkingSplitter::new(tags, prompt));
        let tools = tools.map(|(syntax, definitions)| ToolCallParser::new(syntax, definitions));
        Self {
            form: Form::Marked {
                thinking: thinking.map(|splitter| splitter.with_call_marks(call_marks)),
                tools: tools.map(Box::new),
            },
            markers,
        }
    }

    /// Texts of tokens that must reach the parser, even if they are control tokens that are hidden elsewhere.
    pub fn markers(&self) -> &[String] {
        &self.markers
    }

    /// Adds generated text.
    pub fn push(&mut self, text: &str) -> Answer {
        let (thinking, tools) = match &mut self.form {
            Form::Harmony(parser) => return parser.push(text),
            Form::Marked { thinking, tools } => (thinking, tools),
        };
        let (thinking, content) = match thinking {
            Some(splitter) => {
                let split = splitter.push(text);
                (split.thinking, split.content)
            }
            None => (String::new(), text.to_owned()),
        };
        without_calls(thinking, content, tools.as_deref_mut())
    }

    /// What was held back; call once at the end.
    pub fn finish(&mut self) -> Answer {
        let (thinking, tools) = match &mut self.form {
            Form::Harmony(parser) => return parser.finish(),
            Form::Marked { thinking, tools } => (thinking, tools),
        };
        if let (Some(splitter), Some(parser)) = (&thinking, &tools)
            && let Some(rest) = splitter.unclosed_call()
            && let Some((thinking, split)) = parser.as_ref().clone().first_call(rest)
        {
            return Answer {
                thinking,
                content: split.content,
                tool_calls: split.calls,
            };
        }
        let rest = thinking
            .as_mut()
            .map(ThinkingSplitter::finish)
            .unwrap_or_default();
        let mut answer = without_calls(rest.thinking, rest.content, tools.as_deref_mut());
        if let Some(parser) = tools {
            answer.extend(end_of_calls(parser));
        }
        answer
    }
}

fn without_calls(thinking: String, content: String, tools: Option<&mut ToolCallParser>) -> Answer {
    let (content, tool_calls) = match tools {
        Some(parser) if !content.is_empty() => {
            let split = parser.push(&content);
            (split.content, split.calls)
        }
        _ => (content, Vec::new()),
    };
    Answer {
        thinking,
        content,
        tool_calls,
    }
}

fn end_of_calls(parser: &mut ToolCallParser) -> Answer {
    let split = parser.finish();
    Answer {
        content: split.content,
        tool_calls: split.calls,
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parser(prompt: &str) -> (AnswerParser, Value) {
        let tools = json!([{"function": {"name": "now"}}]);
        let source = "</think> <tool_call>";
        let syntax = ToolSyntax::of_template(source);
        let parser = AnswerParser::new(
            prompt,
            ThinkingTags::of_template(source),
            Some((syntax, &tools)),
        );
        (parser, tools)
    }

    fn parse(prompt: &str, text: &str, chunk_len: usize) -> Answer {
        let mut parser = parser(prompt).0;
        let mut answer = Answer::default();
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(chunk_len) {
            answer.extend(parser.push(&chunk.iter().collect::<String>()));
        }
        answer.extend(parser.finish());
        answer
    }

    #[test]
    fn thoughts_content_and_calls_come_apart() {
        let text = "<think>\nI <tool_call>{\"name\": \"now\"}</tool_call>?\n</think>\n\nSo:\n<tool_call>\n{\"name\": \"now\"}\n</tool_call>";
        for chunk_len in 1..=text.len() {
            let answer = parse("", text, chunk_len);
            assert_eq!(
                answer.thinking,
                "I <tool_call>{\"name\": \"now\"}</tool_call>?"
            );
            assert_eq!(answer.content, "So:");
            assert_eq!(answer.tool_calls.len(), 1, "chunks of {chunk_len}");
        }
        let answer = parse("<think>\n", "hm</think><tool_call>{\"name\": \"now\"}", 3);
        assert_eq!(
            (answer.thinking.as_str(), answer.tool_calls.len()),
            ("hm", 1)
        );
    }

    #[test]
    fn a_call_in_a_thought_that_is_never_closed_is_one() {
        let text = "<think>\nI call it. \n<tool_call>\n{\"name\": \"now\"}\n</tool_call>";
        for chunk_len in 1..=text.len() {
            let answer = parse("", text, chunk_len);
            assert_eq!(
                (answer.thinking.as_str(), answer.content.as_str()),
                ("I call it.", "")
            );
            assert_eq!(answer.tool_calls.len(), 1, "chunks of {chunk_len}");
        }
        // what is none stays a thought
        for text in [
            "I <tool_call>",
            "I <tool_call>{\"name\": \"x\"}</tool_call> so",
            "I <tool_ca",
        ] {
            for chunk_len in 1..=text.len() {
                let answer = parse("<think>\n", text, chunk_len);
                assert_eq!(
                    (answer.thinking.as_str(), answer.content.as_str()),
                    (text, "")
                );
                assert!(answer.tool_calls.is_empty());
            }
        }
        // what stands before the call is the thought, marks that open none included; what follows it is the answer
        let call = "<tool_call>{\"name\": \"now\"}</tool_call>";
        let text = format!("I <tool_call> no,\n<tool_call>x\n{call}\nSo.");
        for chunk_len in 1..=text.len() {
            let answer = parse("<think>\n", &text, chunk_len);
            assert_eq!(
                (answer.thinking.as_str(), answer.content.as_str()),
                ("I <tool_call> no,\n<tool_call>x", "So.")
            );
            assert_eq!(answer.tool_calls.len(), 1, "chunks of {chunk_len}");
        }
        // a mark that much text follows no longer counts, the next one does
        let text = format!("a <tool_call> {}\n{call}", "é".repeat(40_000));
        let thought = &text[..text.len() - call.len() - 1];
        for chunk_len in [1000, 39_990, usize::MAX] {
            let answer = parse("<think>\n", &text, chunk_len);
            assert_eq!(answer.thinking, thought, "chunks of {chunk_len}");
            assert_eq!(answer.tool_calls.len(), 1, "chunks of {chunk_len}");
        }
        // a mark does not hold back a long thought for ever
        let mut parser = parser("<think>\n").0;
        let mut thinking = parser.push("a <tool_call> ").thinking;
        for _ in 0..100 {
            thinking += &parser.push(&"x".repeat(1000)).thinking;
        }
        assert!(thinking.len() > 60_000);
    }

    #[test]
    fn without_tags_and_tools_all_text_is_content() {
        let mut parser = AnswerParser::new("", None, None);
        let text = "<think>a</think><tool_call>{}</tool_call>";
        assert_eq!(parser.push(text).content, text);
        assert!(parser.finish().is_empty());
        assert!(parser.markers().is_empty());
    }

    #[test]
    fn its_markers_are_those_of_both() {
        let markers = parser("").0.markers().to_vec();
        for marker in ["<think>", "</think>", "<tool_call>"] {
            assert!(markers.iter().any(|known| known == marker), "{marker}");
        }
    }

    #[test]
    fn random_streams_do_not_depend_on_chunks() {
        const PIECES: &[&str] = &[
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "{\"name\": \"now\"}",
            "text",
            " ",
            "\n",
            "<",
            "é",
        ];
        let mut state = 9_u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for _ in 0..2000 {
            let text: String = (0..1 + below(10))
                .map(|_| PIECES[below(PIECES.len())])
                .collect();
            let whole = parse("", &text, usize::MAX);
            for chunk_len in [1, 2, 5] {
                assert_eq!(
                    parse("", &text, chunk_len),
                    whole,
                    "{text:?} in chunks of {chunk_len}"
                );
            }
        }
    }
}
