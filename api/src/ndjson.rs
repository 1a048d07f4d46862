//! Newline-delimited JSON: bytes in any chunking on one side, whole lines on the other.
//!
//! [`LineDecoder`] bounds a line at [`MAX_LINE_BYTES`], so that a peer that never sends a newline cannot fill the
//! memory. Blank lines are skipped, a carriage return before the newline is dropped, and the last line needs no newline.

/// The longest line that a client accepts. Ollama's clients stop at 8 MB.
pub const MAX_LINE_BYTES: usize = 8_000_000;

/// A line was longer than the decoder allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct LineDecoder {
    /// Bytes that arrived; those before `start` were handed out.
    buffer: Vec<u8>,
    start: usize,
    /// No newline lies in `buffer[start..scanned]`.
    scanned: usize,
    limit: usize,
}

impl Default for LineDecoder {
    fn default() -> Self {
        Self::new(MAX_LINE_BYTES)
    }
}

impl LineDecoder {
    /// A decoder whose lines have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            limit,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its newline, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`LineTooLong`], after which the stream is of no use.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        loop {
            let newline = self.buffer[self.scanned..].iter().position(|&b| b == b'\n');
            let Some(offset) = newline else {
                self.scanned = self.buffer.len();
                self.check_length(self.scanned)?;
                return Ok(None);
            };
            let end = self.scanned + offset;
            self.check_length(end)?;
            let begin = std::mem::replace(&mut self.start, end + 1);
            self.scanned = self.start;
            let line = self.buffer[begin..end].trim_ascii();
            // Borrowed again for the return: a blank line goes on with the loop.
            if !line.is_empty() {
                return Ok(Some(self.buffer[begin..end].trim_ascii()));
            }
        }
    }

    /// What follows the last newline, once the stream has ended.
    pub fn rest(&mut self) -> Option<&[u8]> {
        let begin = std::mem::replace(&mut self.start, self.buffer.len());
        self.scanned = self.start;
        let line = self.buffer[begin..].trim_ascii();
        (!line.is_empty()).then_some(line)
    }

    fn check_length(&self, end: usize) -> Result<(), LineTooLong> {
        if end - self.start > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        Ok(())
    }
}

/// One value as a line: compact JSON and a newline.
///
/// # Errors
/// When the value has no JSON form, such as a map with keys that are no text.
pub fn to_line<T: serde::Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = LineDecoder::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(line) = decoder.next_line().expect("short lines") {
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        if let Some(line) = decoder.rest() {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        lines
    }

    #[test]
    fn any_chunking_gives_the_same_lines() {
        let text = "{\"a\":1}\n\n{\"b\":\"ß€😀\"}\r\n  \n{\"c\":3}".as_bytes();
        let whole = lines_of(&[text]);
        assert_eq!(whole, ["{\"a\":1}", "{\"b\":\"ß€😀\"}", "{\"c\":3}"]);
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(lines_of(&chunks), whole, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_and_a_full_one_is_not() {
        let mut decoder = LineDecoder::new(4);
        decoder.push(b"1234\n1234");
        assert_eq!(decoder.next_line(), Ok(Some(&b"1234"[..])));
        assert_eq!(decoder.next_line(), Ok(None));
        decoder.push(b"5");
        assert_eq!(decoder.next_line(), Err(LineTooLong { limit: 4 }));

        let mut decoder = LineDecoder::new(4);
        decoder.push(b"12345\n");
        assert_eq!(decoder.next_line(), Err(LineTooLong { limit: 4 }));
    }

    #[test]
    fn the_buffer_forgets_what_was_read() {
        let mut decoder = LineDecoder::new(16);
        for _ in 0..10_000 {
            decoder.push(b"0123456789\n01");
            assert!(decoder.next_line().expect("short").is_some());
            decoder.push(b"\n");
            assert!(decoder.next_line().expect("short").is_some());
        }
        assert!(decoder.buffer.len() <= 32);
    }

    #[test]
    fn a_value_is_one_line() {
        let line = to_line(&serde_json::json!({"text": "a\nb"})).expect("json");
        assert_eq!(line, b"{\"text\":\"a\\nb\"}\n");
    }
}
