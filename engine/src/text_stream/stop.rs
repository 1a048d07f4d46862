//! One stop string, searched for in a text that comes byte by byte (Knuth, Morris and Pratt's automaton).
//!
//! The state is how much of the stop string the end of the text matches, which is also how much must be held back. A byte
//! costs constant time on average, however long or repetitive the stop string is.

/// The stop string and how much of it the text so far ends with.
#[derive(Debug)]
pub(super) struct StopMatcher {
    text: Vec<u8>,
    /// For each length matched: the longest shorter match that the same text ends with.
    shorter: Vec<usize>,
    n_matched: usize,
}

impl StopMatcher {
    /// A matcher for `text`, which must not be empty.
    pub(super) fn new(text: String) -> Self {
        let text = text.into_bytes();
        assert!(!text.is_empty(), "an empty stop string matches everywhere");
        let mut shorter = vec![0; text.len() + 1];
        let mut matched = 0;
        for end in 1..text.len() {
            while matched > 0 && text[matched] != text[end] {
                matched = shorter[matched];
            }
            matched += usize::from(text[matched] == text[end]);
            shorter[end + 1] = matched;
        }
        Self {
            text,
            shorter,
            n_matched: 0,
        }
    }
    /// Takes the next byte; the stop string's length when it is now complete.
    pub(super) fn push(&mut self, byte: u8) -> Option<usize> {
        // a complete match ends the stream, so `n_matched` indexes into the text
        while self.n_matched > 0 && self.text[self.n_matched] != byte {
            self.n_matched = self.shorter[self.n_matched];
        }
        self.n_matched += usize::from(self.text[self.n_matched] == byte);
        let complete = self.n_matched == self.text.len();
        if complete {
            self.n_matched = self.shorter[self.n_matched];
        }
        complete.then_some(self.text.len())
    }
    /// Bytes at the end of the text that may become the stop string.
    pub(super) fn n_matched(&self) -> usize {
        self.n_matched
    }
}
