//! Bytes to characters as they come; what can no longer become a character is U+FFFD.

/// Holds back the bytes of an unfinished character (at most three).
#[derive(Debug, Default)]
pub(super) struct Utf8Assembler {
    pending: Vec<u8>,
}

impl Utf8Assembler {
    /// Takes bytes and gives the characters that are complete, exactly as `String::from_utf8_lossy` of the whole would,
    /// but for an unfinished one at the end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(n_invalid) = error.error_len() else {
                        break; // may still become a character
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[n_invalid..];
                }
            }
        }
        let n_done = self.pending.len() - rest.len();
        self.pending.drain(..n_done);
        text
    }
    /// Bytes held back.
    #[cfg(test)]
    pub(super) fn n_pending(&self) -> usize {
        self.pending.len()
    }
    /// The end: an unfinished character is none, as when an answer reached its longest length within one.
    pub(super) fn finish(&mut self) {
        self.pending.clear();
    }
}
