//! The only printer: data to stdout, everything else to stderr.
//!
//! A reader of stdout that has gone away is no failure: [`StdoutClosed`] travels up as an error and `main` ends with
//! success. Trouble with stderr is ignored, since there is nobody left to tell. Styles appear only where a terminal
//! shows them and `NO_COLOR` does not forbid it.

use std::io::{IsTerminal, Read, Write};

use anstyle::{AnsiColor, Style};

use crate::failure;
use crate::text::wrap::Wrap;

/// Whoever read stdout has gone.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct StdoutClosed;

/// The longest text that is read from stdin.
const MAX_STDIN_BYTES: u64 = 64 * 1024 * 1024;
/// Columns when the terminal does not say.
const DEFAULT_WIDTH: usize = 80;
/// Lines when the terminal does not say.
const DEFAULT_HEIGHT: usize = 24;

/// What is known about the three standard streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    stdin_is_terminal: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    stdout_has_style: bool,
    stderr_has_style: bool,
    is_quiet: bool,
}

impl Ui {
    /// Looks at the streams of this process.
    pub(crate) fn of_process() -> Self {
        let has_style = |choice| choice != anstream::ColorChoice::Never;
        Self {
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stdout_has_style: has_style(anstream::AutoStream::choice(&std::io::stdout())),
            stderr_has_style: has_style(anstream::AutoStream::choice(&std::io::stderr())),
            is_quiet: false,
        }
    }

    /// The same, which says nothing on stderr but warnings and errors if `is_quiet`.
    pub(crate) fn hushed(self, is_quiet: bool) -> Self {
        Self {
            stderr_is_terminal: self.stderr_is_terminal && !is_quiet,
            is_quiet,
            ..self
        }
    }

    /// From now on no stream has colours or other styles. Call this before [`Ui::of_process`].
    pub(crate) fn forbid_styles() {
        anstream::ColorChoice::Never.write_global();
    }

    /// Whether a person can be talked with: both input and output are a terminal.
    pub(crate) fn is_interactive(self) -> bool {
        self.stdin_is_terminal && self.stdout_is_terminal
    }

    /// Whether input is typed rather than piped.
    pub(crate) fn stdin_is_terminal(self) -> bool {
        self.stdin_is_terminal
    }

    /// Whether data goes to a terminal.
    pub(crate) fn stdout_is_terminal(self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether text may be given a form: a person reads it, on a terminal that shows styles.
    pub(crate) fn shows_form(self) -> bool {
        self.stdout_is_terminal && self.stdout_has_style
    }

    /// Whether progress may be drawn rather than listed.
    pub(crate) fn stderr_is_terminal(self) -> bool {
        self.stderr_is_terminal
    }

    /// Columns of the terminal.
    pub(crate) fn width(self) -> usize {
        terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(terminal_size::Width(width), _)| {
            width.into()
        })
    }

    /// Columns of the terminal that data goes to, where it goes to one.
    pub(crate) fn data_width(self) -> Option<usize> {
        self.stdout_is_terminal.then(|| self.width())
    }

    /// Columns of the terminal that notes go to, where they go to one.
    pub(crate) fn note_width(self) -> Option<usize> {
        self.stderr_is_terminal.then(|| self.width())
    }

    /// Lines of the terminal.
    pub(crate) fn height(self) -> usize {
        terminal_size::terminal_size()
            .map_or(DEFAULT_HEIGHT, |(_, terminal_size::Height(height))| {
                height.into()
            })
    }

    /// Writes data to stdout as it is and flushes it.
    ///
    /// # Errors
    /// [`StdoutClosed`], or why it cannot be written.
    pub(crate) fn data(self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(StdoutClosed.into())
            }
            Err(error) => Err(anyhow::Error::new(error).context("cannot write to stdout")),
            Ok(()) => Ok(()),
        }
    }

    /// Writes text of a model to stdout. On a terminal, control characters in it are dropped: a model must not be able
    /// to steer the terminal.
    ///
    /// # Errors
    /// As [`Ui::data`].
    pub(crate) fn model_text(self, text: &str) -> anyhow::Result<()> {
        if self.stdout_is_terminal && text.contains(is_unwelcome) {
            return self.data(&text.replace(is_unwelcome, ""));
        }
        self.data(text)
    }

    /// Writes the thoughts of a model: grey on the terminal of the answer, and beside the answer where that is data.
    ///
    /// # Errors
    /// As [`Ui::data`].
    pub(crate) fn thought(self, text: &str) -> anyhow::Result<()> {
        let text = text.replace(is_unwelcome, "");
        if self.stdout_is_terminal {
            return self.data(&styled(self.stdout_has_style, grey(), &text));
        }
        if !self.is_quiet {
            self.complain(&styled(self.stderr_has_style, grey(), &text));
        }
        Ok(())
    }

    /// Shows a grey line in place of the one that is there: what goes on, on a terminal with [`Ui::shows_form`].
    ///
    /// # Errors
    /// As [`Ui::data`].
    pub(crate) fn status(self, line: &str) -> anyhow::Result<()> {
        self.data(&format!("\r\u{1b}[K{}", self.grey(line)))
    }

    /// Says something beside the data: a line to stderr, broken between words on a terminal.
    pub(crate) fn note(self, line: &str) {
        if !self.is_quiet {
            let mut wrap = Wrap::new(self.note_width());
            self.complain(&format!("{}{}\n", wrap.push(line), wrap.finish()));
        }
    }

    /// Says that something is not as wished, though the work goes on.
    pub(crate) fn warn(self, line: &str) {
        let line = line.replace(is_unwelcome, "");
        self.labelled(AnsiColor::Yellow, "warning:", &line);
    }

    /// Says why the work ended, and what can be done.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let (message, hint) = failure::describe(error);
        // a daemon passes on what models and registries say
        let message = message.to_string().replace(is_unwelcome, "");
        let hint = hint.map(|hint| hint.to_string().replace(is_unwelcome, ""));
        self.labelled(AnsiColor::Red, "error:", &message);
        if let Some(hint) = hint {
            self.labelled(AnsiColor::Cyan, "hint:", &hint);
        }
    }

    /// A line to stderr behind a label, broken between words on a terminal.
    fn labelled(self, color: AnsiColor, name: &str, text: &str) {
        let mut wrap = Wrap::new(self.note_width());
        let line = wrap.push(&format!("{name} {text}")) + &wrap.finish();
        let text = line.strip_prefix(name).unwrap_or(&line);
        let name = styled(self.stderr_has_style, label(color), name);
        self.complain(&format!("{name}{text}\n"));
    }

    /// Text in grey, for a line editor that draws to stdout.
    pub(crate) fn grey(self, text: &str) -> String {
        styled(self.stdout_has_style, grey(), text)
    }

    fn complain(self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to be told that stderr cannot be written.
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}

/// All of stdin as text.
///
/// # Errors
/// When it cannot be read, is no UTF-8 or is larger than anyone's prompt.
pub(crate) fn read_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    let n_bytes = stdin
        .take(MAX_STDIN_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| anyhow::Error::new(error).context("cannot read stdin"))?;
    anyhow::ensure!(
        n_bytes as u64 <= MAX_STDIN_BYTES,
        "the text on stdin is longer than {MAX_STDIN_BYTES} bytes"
    );
    String::from_utf8(bytes)
        .map_err(|error| anyhow::Error::new(error).context("the text on stdin is not UTF-8"))
}

/// A file as text.
///
/// # Errors
/// When it cannot be read, is no UTF-8 or has more than `limit` bytes.
pub(crate) fn read_text(path: &std::path::Path, limit: u64) -> anyhow::Result<String> {
    let fail =
        |error| anyhow::Error::new(error).context(format!("cannot read `{}`", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    let n_bytes = file
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    anyhow::ensure!(
        n_bytes as u64 <= limit,
        "`{}` is longer than {limit} bytes",
        path.display()
    );
    Ok(text)
}

fn grey() -> Style {
    AnsiColor::BrightBlack.on_default()
}

fn label(color: AnsiColor) -> Style {
    color.on_default().bold()
}

fn styled(is_on: bool, style: Style, text: &str) -> String {
    if is_on && !text.is_empty() {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// Text without what could steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.replace(is_unwelcome, "")
}

/// Control characters other than newline and tab.
fn is_unwelcome(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_wrap_text_only_where_they_are_shown() {
        assert_eq!(styled(false, grey(), "a"), "a");
        assert_eq!(styled(true, grey(), ""), "");
        assert_eq!(styled(true, grey(), "a"), "\u{1b}[90ma\u{1b}[0m");
    }

    #[test]
    fn control_characters_are_unwelcome_but_line_ends_are_not() {
        let text = "a\u{1b}[2Jb\u{7}\u{9b}c\n\td";
        assert_eq!(text.replace(is_unwelcome, ""), "a[2Jbc\n\td");
    }
}
