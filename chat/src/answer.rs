//! Generated text to what an API answers: thoughts, content and tool calls, as they stream.
//!
//! [`AnswerParser`] takes reasoning out first and looks for calls in what is left, so that a call that a model only
//! thinks about is none.
use crate::{ThinkingSplitter, ThinkingTags, ToolCall, ToolCallParser, ToolSyntax};
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
    thinking: Option<ThinkingSplitter>,
    tools: Option<ToolCallParser>,
    /// Texts of tokens that mean something here.
    markers: Vec<String>,
}

impl AnswerParser {
    /// A parser for the answer to `prompt`. `tools` are the syntax of calls and the tools that were offered, a JSON list
    /// of definitions; without, all text is content.
    pub fn new(
        prompt: &str,
        thinking: Option<ThinkingTags>,
        tools: Option<(ToolSyntax, &Value)>,
    ) -> Self {
        let mut markers = Vec::new();
        if let Some(tags) = &thinking {
            markers.extend([tags.open.to_string(), tags.close.to_string()]);
        }
        if let Some((syntax, _)) = tools {
            markers.extend(syntax.markers().map(str::to_owned));
        }
        Self {
            thinking: thinking.map(|tags| ThinkingSplitter::new(tags, prompt)),
            tools: tools.map(|(syntax, definitions)| ToolCallParser::new(syntax, definitions)),
            markers,
        }
    }

    /// Texts of tokens that must reach the parser, even if they are control tokens that are hidden elsewhere.
    pub fn markers(&self) -> &[String] {
        &self.markers
    }

    /// Adds generated text.
    pub fn push(&mut self, text: &str) -> Answer {
        let (thinking, content) = match &mut self.thinking {
            Some(splitter) => {
                let split = splitter.push(text);
                (split.thinking, split.content)
            }
            None => (String::new(), text.to_owned()),
        };
        self.answer(thinking, content)
    }

    /// What was held back; call once at the end.
    pub fn finish(&mut self) -> Answer {
        let rest = self
            .thinking
            .as_mut()
            .map(ThinkingSplitter::finish)
            .unwrap_or_default();
        let mut answer = self.answer(rest.thinking, rest.content);
        if let Some(parser) = &mut self.tools {
            let split = parser.finish();
            answer.content += &split.content;
            answer.tool_calls.extend(split.calls);
        }
        answer
    }

    fn answer(&mut self, thinking: String, content: String) -> Answer {
        let (content, tool_calls) = match &mut self.tools {
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
