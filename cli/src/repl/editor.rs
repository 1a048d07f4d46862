//! The line editor: prompts, history, completion of commands and a placeholder.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::command::COMPLETIONS;
use crate::settings::Settings;
use crate::ui::Ui;

const PROMPT: &str = ">>> ";
const CONTINUATION: &str = "... ";
const PLACEHOLDER: &str = "Send a message (/? for help)";
const MAX_HISTORY_LINES: usize = 1000;

/// What the keyboard gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

/// The editor.
pub(crate) struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history_file: Option<PathBuf>,
    keeps_history: bool,
}

impl LineEditor {
    /// An editor that keeps its history in the data folder.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(crate) fn new(settings: &Settings, ui: Ui) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .context("cannot set up the line editor")?
            .auto_add_history(false)
            .build();
        let mut editor = Editor::with_config(config).context("cannot use this terminal")?;
        editor.set_helper(Some(Assistant {
            placeholder: ui.grey(PLACEHOLDER),
            is_first_line: true,
        }));
        let history_file = settings.data_dir.as_ref().and_then(|folder| {
            std::fs::create_dir_all(folder).ok()?;
            Some(folder.join("history"))
        });
        if let Some(path) = &history_file
            && settings.history
        {
            // There is none at the first start, and a damaged one is no reason not to chat.
            let _ = editor.load_history(path);
        }
        Ok(Self {
            editor,
            history_file,
            keeps_history: settings.history,
        })
    }

    /// Waits for a line; `is_first` is false within a message of several lines.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(crate) fn read(&mut self, is_first: bool) -> anyhow::Result<Line> {
        if let Some(helper) = self.editor.helper_mut() {
            helper.is_first_line = is_first;
        }
        let prompt = if is_first { PROMPT } else { CONTINUATION };
        match self.editor.readline(prompt) {
            Ok(line) => {
                self.remember(&line);
                Ok(Line::Text(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(anyhow::Error::new(error).context("cannot read the terminal")),
        }
    }

    /// Whether lines are remembered from now on.
    pub(crate) fn keep_history(&mut self, keep: bool) {
        self.keeps_history = keep;
    }

    fn remember(&mut self, line: &str) {
        if !self.keeps_history || line.trim().is_empty() {
            return;
        }
        // A history that cannot be written is no reason not to chat.
        if self.editor.add_history_entry(line).unwrap_or(false)
            && let Some(path) = &self.history_file
        {
            let _ = self.editor.append_history(path);
        }
    }
}

/// What helps while typing.
struct Assistant {
    placeholder: String,
    is_first_line: bool,
}

/// A hint that is only looked at: no key takes it over.
struct Placeholder(String);

impl Hint for Placeholder {
    fn display(&self) -> &str {
        &self.0
    }
    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Assistant {
    type Hint = Placeholder;
    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<Placeholder> {
        (line.is_empty() && self.is_first_line).then(|| Placeholder(PLACEHOLDER.to_owned()))
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if hint == PLACEHOLDER {
            Cow::Owned(self.placeholder.clone())
        } else {
            Cow::Borrowed(hint)
        }
    }
}

impl Completer for Assistant {
    type Candidate = String;
    fn complete(
        &self,
        line: &str,
        pos: usize,
        _ctx: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, completions(&line[..pos])))
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}

fn completions(start: &str) -> Vec<String> {
    if !start.starts_with('/') {
        return Vec::new();
    }
    let matching = COMPLETIONS.iter().filter(|line| line.starts_with(start));
    matching.map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed_and_messages_are_not() {
        assert_eq!(completions("/by"), ["/bye"]);
        assert_eq!(completions("/set no").len(), 4);
        assert!(completions("").is_empty());
        assert!(completions("hello").is_empty());
    }
}
