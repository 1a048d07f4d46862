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
