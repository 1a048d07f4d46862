//! The line editor: prompts, history, completion, a placeholder, a key for new lines and one for a larger editor.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext,
    EventHandler, Helper, KeyEvent, RepeatCount,
};

use super::completion::{Names, complete};
#[cfg(unix)]
use crate::keyboard;
use crate::settings::Settings;
use crate::ui::Ui;

const PROMPT: &str = ">>> ";
const CONTINUATION: &str = "... ";
const PLACEHOLDER: &str = "Send a message (/? for help)";
const MAX_HISTORY_LINES: usize = 1000;

/// What the keyboard gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, or several that were pasted.
    Text(String),
    /// A line that is to be opened in the person's editor.
    Open(String),
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
    /// Whether the line was ended by the key for the person's editor.
    opens: Arc<AtomicBool>,
    names: Arc<Mutex<Names>>,
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
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).context("cannot use this terminal")?;
        let names = Arc::default();
        editor.set_helper(Some(Assistant {
            placeholder: ui.grey(PLACEHOLDER),
            is_first_line: true,
            names: Arc::clone(&names),
            home: settings.home_dir.clone(),
        }));
        editor.bind_sequence(KeyEvent::ctrl('J'), Cmd::Newline);
        let opens = Arc::new(AtomicBool::new(false));
        let open = EventHandler::Conditional(Box::new(OpenKey(Arc::clone(&opens))));
        editor.bind_sequence(KeyEvent::ctrl('G'), open);
        #[cfg(unix)]
        editor.bind_sequence(
            KeyEvent::ctrl('Z'),
            EventHandler::Conditional(Box::new(StopKey)),
        );
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
            opens,
            names,
        })
    }

    /// Where the names are that Tab completes.
    pub(super) fn names(&self) -> Arc<Mutex<Names>> {
        Arc::clone(&self.names)
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
        self.opens.store(false, Ordering::Relaxed);
        match self.editor.readline(prompt) {
            Ok(line) if self.opens.load(Ordering::Relaxed) => Ok(Line::Open(line)),
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
    names: Arc<Mutex<Names>>,
    home: Option<PathBuf>,
}

/// The key that opens the line in the person's editor: ends it, and says why.
struct OpenKey(Arc<AtomicBool>);

impl ConditionalEventHandler for OpenKey {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(true, Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// The key that stops the program: the editor's own would leave the terminal to the task that waits for signals, too.
#[cfg(unix)]
struct StopKey;

#[cfg(unix)]
impl ConditionalEventHandler for StopKey {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        keyboard::suspend();
        Some(Cmd::Repaint)
    }
}

/// Puts other names in their place.
pub(super) fn set(names: &Mutex<Names>, new: Names) {
    *lock(names) = new;
}

/// The names behind their lock; what a panic left there is as good.
fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
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
        Ok(complete(
            &line[..pos],
            &lock(&self.names),
            self.home.as_deref(),
        ))
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}
