//! Tokens to text as they come: whole UTF-8 characters only, stop strings cut out.
use crate::tokenizer::{TokenId, Tokenizer};

/// Turns one sequence's tokens into text deltas.
///
/// Bytes of an unfinished character and text that may yet become a stop string are held back.
#[derive(Debug)]
pub struct TextStream {}

/// What a token added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Text that is now certain (may be empty).
    Text(String),
    /// A stop string appeared: the text before it; nothing may follow.
    Stop(String),
}

impl TextStream {
    /// A stream that ends at any of `stop`.
    pub fn new(_stop: Vec<String>) -> Self {
        todo!()
    }
    /// Adds one generated token.
    pub fn push(&mut self, _tokenizer: &Tokenizer, _token: TokenId) -> Delta {
        todo!()
    }
    /// What was held back; call once at the end.
    pub fn finish(&mut self) -> String {
        todo!()
    }
}
