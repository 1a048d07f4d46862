//! Answers that the client has begun: a last message of the assistant's is no turn of its own, but what the answer goes on
//! from.
//!
//! The template writes that message with a mark in place of its text, and the prompt is what stands before the mark, with
//! the text behind it. So the text is there to the last character, whatever the template trims or takes out of it, and
//! nothing ends the turn. A template that cannot show such a message is asked for the assistant's turn, and the text begins
//! it.

use super::{ChatTemplate, TemplateError};
use crate::{Message, PromptInput};

/// Stands for the text of the last message.
const MARK: &str = "slm-the-answer-goes-on-here";

impl Message {
    /// Whether it is the assistant's and calls nothing: as the last one, it is what the answer goes on from.
    fn is_open(&self) -> bool {
        self.role == "assistant" && self.tool_calls.is_none()
    }

    /// Whether it says nothing at all.
    fn is_blank(&self) -> bool {
        self.content.is_empty() && self.thinking.is_none()
    }
}

/// Whether the last message is the beginning of the answer.
pub fn is_begun(messages: &[Message]) -> bool {
    messages
        .last()
        .is_some_and(|last| last.is_open() && !last.is_blank())
}

impl ChatTemplate {
    /// The prompt text that an answer follows: the assistant's turn is open at its end, empty or with what the last message
    /// has begun.
    ///
    /// # Errors
    /// [`TemplateError::Render`].
    pub fn prompt(&self, input: &PromptInput<'_>) -> Result<String, TemplateError> {
        let asked = PromptInput {
            add_generation_prompt: true,
            ..input.clone()
        };
        let (last, earlier) = match input.messages {
            [earlier @ .., last] if last.is_open() && input.suffix.is_none() => (last, earlier),
            _ => return self.render(&asked),
        };
        let without = PromptInput {
            messages: earlier,
            ..asked.clone()
        };
        if last.is_blank() && !earlier.is_empty() {
            return self.render(&without);
        }
        if let Some(prompt) = self.up_to(last, input) {
            return Ok(prompt + &last.content);
        }
        if earlier.is_empty() {
            return self.render(&asked);
        }
        let mut prompt = self.render(&without)?;
        let tags = self.thinking_tags.as_ref().or(input.thinking_tags);
        if let Some(tags) = tags.filter(|tags| prompt.trim_end().ends_with(&*tags.open)) {
            let thinking = last.thinking.as_deref().unwrap_or_default();
            prompt += &format!("{thinking}\n{}\n\n", tags.close);
        }
        Ok(prompt + &last.content)
    }

    /// What the template writes before the text of `last`; `None` where it does not show that.
    fn up_to(&self, last: &Message, input: &PromptInput<'_>) -> Option<String> {
        let mut messages = input.messages.to_vec();
        *messages.last_mut()? = Message {
            content: MARK.to_owned(),
            ..last.clone()
        };
        let shown = self.render(&PromptInput {
            messages: &messages,
            add_generation_prompt: false,
            ..input.clone()
        });
        let mut prompt = shown.ok()?;
        prompt.truncate(prompt.rfind(MARK)?);
        Some(prompt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::data;
    use serde_json::json;

    fn prompt(source: &str, messages: &[Message], enable_thinking: Option<bool>) -> String {
        let template = ChatTemplate::parse(source).unwrap();
        let prompt = template.prompt(&PromptInput {
            messages,
            enable_thinking,
            bos_token: "<s>",
            eos_token: "</s>",
            ..PromptInput::default()
        });
        prompt.unwrap()
    }

    fn begun(text: &str) -> [Message; 2] {
        [Message::new("user", "Hi"), Message::new("assistant", text)]
    }

    #[test]
    fn an_answer_that_was_begun_goes_on_within_its_turn() {
        for (file, think, tail) in [
            (
                "go/chatml.gotmpl",
                None,
                "<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "jinja/smollm2.jinja",
                None,
                "<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "go/qwen2.5-tools.gotmpl",
                None,
                "<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "go/llama3-instruct.gotmpl",
                None,
                "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (
                "jinja/llama3-like.jinja",
                None,
                "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (
                "go/gemma-instruct.gotmpl",
                None,
                "<end_of_turn>\n<start_of_turn>model\n",
            ),
            (
                "jinja/gemma3-like.jinja",
                None,
                "<end_of_turn>\n<start_of_turn>model\n",
            ),
            ("go/phi-3.gotmpl", None, "<|end|>\n<|assistant|>\n"),
            ("jinja/phi-4-mini.jinja", None, "<|end|><|assistant|>"),
            ("go/mistral-instruct.gotmpl", None, "[/INST] "),
            // what is begun is not thought about, in the way of the template
            (
                "jinja/qwen3.jinja",
                Some(true),
                "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            ),
            (
                "jinja/qwen3.jinja",
                Some(false),
                "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            ),
            (
                "jinja/deepseek-r1-distill.jinja",
                Some(true),
                "<｜Assistant｜>",
            ),
            (
                "jinja/gpt-oss.jinja",
                Some(true),
                "<|end|><|start|>assistant<|channel|>final<|message|>",
            ),
        ] {
            // templates trim, and know tags of thoughts: the text stays as it is
            for text in ["Once upon", " {\"a\": \n", "a </think> b"] {
                let prompt = prompt(&data(file), &begun(text), think);
                let expected = format!("Hi{tail}{text}");
                assert!(prompt.ends_with(&expected), "{file}: {prompt:?}");
            }
        }
    }

    #[test]
    fn every_template_lets_answers_go_on() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/templates");
        let mut n_templates = 0;
        for folder in ["go", "jinja"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let extension = path.extension().and_then(|extension| extension.to_str());
                if !matches!(extension, Some("gotmpl" | "jinja")) {
                    continue;
                }
                n_templates += 1;
                let source = std::fs::read_to_string(&path).unwrap();
                let prompt = prompt(&source, &begun("Once upon"), None);
                let asked = prompt.find("Hi").expect("the question is there");
                assert!(
                    prompt[asked..].ends_with("Once upon"),
                    "{path:?}: {prompt:?}"
                );
                assert!(!prompt.contains(MARK), "{path:?}: {prompt:?}");
            }
        }
        assert!(n_templates >= 50, "only {n_templates} templates");
    }

    #[test]
    fn thoughts_that_were_had_stand_before_the_answer() {
        let thought = |content: &str| {
            let mut messages = begun(content);
            messages[1].thinking = Some("hm".into());
            messages
        };
        let head = "Hi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\n";
        for content in ["So", ""] {
            let prompt = prompt(&data("jinja/qwen3.jinja"), &thought(content), Some(true));
            assert!(prompt.ends_with(&format!("{head}{content}")), "{prompt:?}");
            assert!(is_begun(&thought(content)));
        }
    }

    #[test]
    fn blank_messages_and_calls_begin_no_answer() {
        let source = data("jinja/qwen3.jinja");
        let asked = prompt(&source, &begun("")[..1], Some(true));
        assert!(asked.ends_with("Hi<|im_end|>\n<|im_start|>assistant\n"));
        assert_eq!(prompt(&source, &begun(""), Some(true)), asked);
        assert!(!is_begun(&begun("")) && !is_begun(&begun("x")[..1]) && !is_begun(&[]));
        let mut called = begun("x");
        called[1].tool_calls =
            Some(json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]));
        assert!(!is_begun(&called));
        let prompt = prompt(&source, &called, None);
        assert!(
            prompt.ends_with("<|im_end|>\n<|im_start|>assistant\n"),
            "{prompt:?}"
        );
    }

    #[test]
    fn a_template_that_shows_no_answers_is_asked_for_one() {
        let source = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}\
            {% if add_generation_prompt %}<a>{% if enable_thinking %}<think>\n{% endif %}{% endif %}{# </think> #}";
        assert_eq!(prompt(source, &begun("So"), None), "[Hi]<a>So");
        // open thoughts are closed first
        let mut messages = begun("So");
        messages[1].thinking = Some("hm".into());
        assert_eq!(
            prompt(source, &messages, Some(true)),
            "[Hi]<a><think>\nhm\n</think>\n\nSo"
        );
        // and one that refuses them
        let source = "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}\
            [{{ m.content }}]{% endfor %}<a>";
        assert_eq!(prompt(source, &begun("So"), None), "[Hi]<a>So");
    }

    #[test]
    fn a_text_that_holds_the_mark_is_a_text() {
        let messages = [
            Message::new("user", format!("Hi {MARK}")),
            Message::new("assistant", format!("a {MARK} b")),
        ];
        let prompt = prompt(&data("go/chatml.gotmpl"), &messages, None);
        let expected =
            format!("<|im_start|>user\nHi {MARK}<|im_end|>\n<|im_start|>assistant\na {MARK} b");
        assert!(prompt.ends_with(&expected), "{prompt:?}");
    }
}
