//! Tokens to text as they come: whole UTF-8 characters only, stop strings cut out.
//!
//! [`TextStream`] composes two small machines: `utf8` turns bytes into characters, `stop` finds stop strings. Both go
//! byte by byte through a state of bounded size, so the text does not depend on how it was cut into tokens.

mod stop;
mod utf8;

#[cfg(test)]
mod tests;

use crate::tokenizer::{TokenId, Tokenizer};
use stop::StopMatcher;
use utf8::Utf8Assembler;

/// Turns one sequence's tokens into text deltas.
///
/// Bytes of an unfinished character and text that may yet become a stop string are held back.
#[derive(Debug)]
pub struct TextStream {
    characters: Utf8Assembler,
    stops: Vec<StopMatcher>,
    /// Control tokens that have a text all the same.
    shown: Vec<TokenId>,
    /// Characters not yet given out; at most one stop string and one token long.
    held: String,
    /// Nothing has come yet, and a space in front would be the one that the vocabulary puts before every text.
    drop_space: bool,
    /// The stop string that appeared.
    stopped_by: Option<String>,
}

/// What a token added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Text that is now certain (may be empty).
    Text(String),
    /// A stop string appeared: the text before it; nothing may follow.
    Stop(String),
}

impl TextStream {
    /// A stream that ends at any of `stop` (empty strings are ignored). Where several end at the same character, the
    /// longest is cut out.
    ///
    /// Of a model that puts a space before every text, one leading space is dropped.
    pub fn new(stop: Vec<String>) -> Self {
        Self {
            characters: Utf8Assembler::default(),
            stops: stop
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(StopMatcher::new)
                .collect(),
            shown: Vec::new(),
            held: String::new(),
            drop_space: true,
            stopped_by: None,
        }
    }
    /// A stream whose text goes on from `prompt`: after ordinary text a leading space is a real one and stays.
    pub fn after(prompt: &[TokenId], tokenizer: &Tokenizer, stop: Vec<String>) -> Self {
        Self {
            drop_space: prompt
                .last()
                .is_none_or(|&token| tokenizer.is_control(token)),
            ..Self::new(stop)
        }
    }
    /// The same stream, with the text of some control tokens.
    pub fn showing(mut self, shown: Vec<TokenId>) -> Self {
        self.shown = shown;
        self
    }
    /// The same stream, whose text is that of its tokens from the first on: a leading space stays.
    pub fn exact(mut self) -> Self {
        self.drop_space = false;
        self
    }
    /// Adds one generated token. Control tokens have no text, but for those that are shown.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: TokenId) -> Delta {
        if tokenizer.is_control(token) && !self.shown.contains(&token) {
            return self.push_bytes(&[], false);
        }
        self.push_bytes(&tokenizer.token_bytes(token), tokenizer.adds_space_prefix())
    }
    /// The stop string that appeared, if one has.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.as_deref()
    }
    /// Text that was held back; call once at the end.
    pub fn finish(&mut self) -> String {
        self.characters.finish();
        if self.stopped_by.is_some() {
            return String::new();
        }
        std::mem::take(&mut self.held)
    }

    fn push_bytes(&mut self, mut bytes: &[u8], space_prefix: bool) -> Delta {
        if self.drop_space && !bytes.is_empty() {
            self.drop_space = false;
            if space_prefix {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        let text = self.characters.push(bytes);
        self.push_text(&text)
    }

    fn push_text(&mut self, text: &str) -> Delta {
        if self.stopped_by.is_some() {
            return Delta::Stop(String::new());
        }
        if self.stops.is_empty() {
            return Delta::Text(text.to_owned());
        }
        let old_len = self.held.len();
        self.held.push_str(text);
        for (end, byte) in (old_len + 1..).zip(text.bytes()) {
            // every matcher must see every byte, so no short cut here
            let longest = self
                .stops
                .iter_mut()
                .filter_map(|stop| stop.push(byte))
                .max();
            if let Some(stop_len) = longest {
                let stop = self.held.get(end - stop_len..end);
                self.stopped_by = Some(stop.unwrap_or_default().to_owned());
                self.held.truncate(end - stop_len);
                return Delta::Stop(std::mem::take(&mut self.held));
            }
        }
        let n_held = self.stops.iter().map(StopMatcher::n_matched).max();
        let certain = self.held.len() - n_held.unwrap_or(0);
        let rest = self.held.split_off(certain);
        Delta::Text(std::mem::replace(&mut self.held, rest))
    }
}
