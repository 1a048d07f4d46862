//! Templates in Go's language: parsing ends, rendering ends, and the text is bounded.
use crate::{conversation, jinja_template::MAX_OUTPUT_BYTES};
use slm_chat::{ChatTemplate, go::GoTemplate};

/// The input is a template.
pub fn run(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let Ok(template) = GoTemplate::parse(&source) else {
        assert!(ChatTemplate::go(&source).is_err());
        return;
    };
    let _ = (template.thinking_tags(), template.tool_tag());
    let chat = ChatTemplate::go(&source).expect("it parsed before");
    for input in conversation::inputs() {
        match chat.render(&input) {
            Ok(text) => assert!(text.len() <= MAX_OUTPUT_BYTES),
            Err(error) => assert!(error.to_string().len() <= MAX_OUTPUT_BYTES),
        }
    }
}
