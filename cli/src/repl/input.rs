//! Lines of the editor become inputs: a message, a command, or one that goes over several lines between `"""`.

use super::command::is_command;

/// What a person has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing but blanks.
    Empty,
    /// A message to the model.
    Message(String),
    /// A line that starts with a slash.
    Command(String),
    /// A message that is to be written in the person's editor, and its beginning.
    Open(String),
    /// A system message that was set over several lines.
    System(String),
}

/// The longest message that is put together from lines.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const FENCE: &str = "\"\"\"";

/// Puts lines together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    is_system: bool,
    text: String,
}

impl Assembler {
    /// Whether a `"""` waits for its partner.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets what is open.
    pub(crate) fn clear(&mut self) {
        self.open = None;
    }

    /// Takes a line; `None` while more lines are needed.
    pub(crate) fn feed(&mut self, line: &str) -> Option<Input> {
        let Some(mut open) = self.open.take() else {
            return self.start(line);
        };
        if open.text.len() + line.len() > MAX_MESSAGE_BYTES {
            return Some(open.close());
        }
        if let Some(last) = line.trim_end().strip_suffix(FENCE) {
            open.text.push_str(last);
            return Some(open.close());
        }
        open.text.push_str(line);
        open.text.push('\n');
        self.open = Some(open);
        None
    }

    fn start(&mut self, line: &str) -> Option<Input> {
        let trimmed = line.trim();
        let system = trimmed
            .strip_prefix("/set")
            .and_then(|rest| rest.trim_start().strip_prefix("system"))
            .map(str::trim_start);
        let fenced = system.unwrap_or(trimmed).strip_prefix(FENCE);
        let Some(first) = fenced else {
            return Some(match trimmed {
                "" => Input::Empty,
                _ if is_command(trimmed) => Input::Command(trimmed.to_owned()),
                _ => Input::Message(line.to_owned()),
            });
        };
        let is_system = system.is_some();
        if let Some(text) = first.strip_suffix(FENCE) {
            let text = text.to_owned();
            return Some(Open { is_system, text }.close());
        }
        let mut text = first.to_owned();
        if !text.is_empty() {
            text.push('\n');
        }
        self.open = Some(Open { is_system, text });
        None
    }
}

impl Open {
    fn close(self) -> Input {
        if self.is_system {
            Input::System(self.text)
        } else if self.text.trim().is_empty() {
            Input::Empty
        } else {
            Input::Message(self.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Input) {
        let mut assembler = Assembler::default();
        let (last, before) = lines.split_last().expect("lines");
        for line in before {
            assert_eq!(assembler.feed(line), None, "{line}");
            assert!(assembler.is_open());
        }
        assert_eq!(assembler.feed(last), Some(expected));
        assert!(!assembler.is_open());
    }

    #[test]
    fn one_line() {
        check(&["hello"], Input::Message("hello".into()));
        check(&["  "], Input::Empty);
        check(&[" /bye "], Input::Command("/bye".into()));
        check(
            &["/etc/hosts why?"],
            Input::Message("/etc/hosts why?".into()),
        );
        check(&["a\nb"], Input::Message("a\nb".into()));
        check(&["\"quoted\""], Input::Message("\"quoted\"".into()));
    }

    #[test]
    fn many_lines() {
        check(&["\"\"\"one line\"\"\""], Input::Message("one line".into()));
        check(
            &["\"\"\"", "a", "", "b\"\"\""],
            Input::Message("a\n\nb".into()),
        );
        check(
            &["\"\"\"a", "/bye", "\"\"\""],
            Input::Message("a\n/bye\n".into()),
        );
        check(&["\"\"\"\"\"\""], Input::Empty);
        check(&["\"\"\"a\nb\"\"\""], Input::Message("a\nb".into()));
    }

    #[test]
    fn a_system_message() {
        check(
            &["/set system \"\"\"Be", "kind.\"\"\""],
            Input::System("Be\nkind.".into()),
        );
        check(
            &["/set  system \"\"\"Be kind.\"\"\""],
            Input::System("Be kind.".into()),
        );
        check(&["/set system x"], Input::Command("/set system x".into()));
    }

    #[test]
    fn what_is_open_can_be_given_up() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.feed("\"\"\"a"), None);
        assembler.clear();
        assert_eq!(assembler.feed("b"), Some(Input::Message("b".into())));
    }
}
