//! Bytes of a fuzzer as choices and texts.
//!
//! A line of choices comes first, the text after it: a person can write such an input, and a fuzzer that changes a byte
//! of one leaves the other alone.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    /// One of `choices`, by the next byte: `0` the first, `9` the tenth, `a` the eleventh.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(digit(self.byte())) % choices.len()]
    }

    /// Six flags, by the next byte's digit.
    pub fn flags(&mut self) -> [bool; 6] {
        let bits = digit(self.byte());
        std::array::from_fn(|at| bits >> at & 1 == 1)
    }

    /// Up to the next line feed, which is taken too.
    pub fn line(&mut self) -> &'a [u8] {
        let len = self.rest.iter().position(|&byte| byte == b'\n');
        let (line, rest) = match len {
            Some(len) => (&self.rest[..len], &self.rest[len + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        line
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Everything that is left, as text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.rest).into_owned()
    }
}

/// `0`–`9` as 0–9, `a`–`z` as 10–35, other bytes as something.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'z' => byte - b'a' + 10,
        _ => byte,
    }
}

/// Lengths of chunks, in characters: the digits of `choices` again and again, 0 counting as 1.
pub fn chunks<'t>(text: &'t str, choices: &'t [u8]) -> impl Iterator<Item = &'t str> {
    let mut lens = choices
        .iter()
        .map(|&byte| usize::from(digit(byte)).max(1))
        .cycle();
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = lens.next().unwrap_or(1);
        let end = rest
            .char_indices()
            .nth(len)
            .map_or(rest.len(), |(at, _)| at);
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_text_again() {
        let of = |choices| chunks("aébc\u{1f980}d", choices).collect::<Vec<_>>();
        assert_eq!(of(b"2"), ["aé", "bc", "\u{1f980}d"]);
        assert_eq!(of(b"13"), ["a", "ébc", "\u{1f980}", "d"]);
        assert_eq!(of(b"").len(), 6);
        assert_eq!(of(b"\xff"), ["aébc\u{1f980}d"]);
    }

    #[test]
    fn choices_come_before_the_text() {
        let mut input = Input::new(b"b5x\nline\nrest\n");
        let choices: Vec<u32> = (0..20).collect();
        assert_eq!(input.choose(&choices), 11);
        assert_eq!(input.flags(), [true, false, true, false, false, false]);
        assert_eq!(input.line(), b"x");
        assert_eq!(input.line(), b"line");
        assert_eq!(input.text(), "rest\n");
        assert_eq!(input.rest(), b"rest\n");
    }
}
