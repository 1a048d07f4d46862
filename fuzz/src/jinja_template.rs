//! Templates in Jinja: compiling and probing end, rendering ends, and the text is bounded.
use crate::conversation;
use slm_chat::ChatTemplate;

/// Longest text that a template may make.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// The input is a template.
pub fn run(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let Ok(template) = ChatTemplate::jinja(&source) else {
        return;
    };
    for input in conversation::inputs() {
        match template.render(&input) {
            Ok(text) => assert!(text.len() <= MAX_OUTPUT_BYTES),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
