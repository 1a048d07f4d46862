//! A message written in the person's own editor.

use std::io::{Read, Write};
use std::process::Command;

use anyhow::Context;

use super::command::split_quoted;
use crate::failure::Advice;

/// The longest message.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// When no variable names another.
const DEFAULT: &str = if cfg!(windows) { "notepad" } else { "vi" };

/// Opens `text` in the editor and returns what it is afterwards, less blanks at the end.
///
/// # Errors
/// When the editor cannot be run, fails, or leaves no text.
pub(super) fn edit(editor: Option<&str>, text: &str) -> anyhow::Result<String> {
    let words = split_quoted(editor.unwrap_or(DEFAULT));
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Advice::new("no editor is named", "set VISUAL or EDITOR"))?;
    let mut file = tempfile::Builder::new()
        .prefix("slm-")
        .suffix(".md")
        .tempfile()
        .context("cannot write the message to a file")?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.flush())
        .context("cannot write the message to a file")?;
    let status = Command::new(program)
        .args(arguments)
        .arg(file.path())
        .status()
        .map_err(|error| {
            let message = format!("cannot run the editor `{program}`");
            Advice::new(message, "set VISUAL or EDITOR to one that is there").because(error)
        })?;
    if !status.success() {
        let message = format!("the editor `{program}` gave up ({status})");
        return Err(Advice::new(message, "leave it with success to send the message").into());
    }
    // Editors may have put a new file in its place.
    let mut edited = String::new();
    let n_bytes = std::fs::File::open(file.path())
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut edited))
        .context("cannot read what the editor wrote")?;
    anyhow::ensure!(
        n_bytes as u64 <= MAX_BYTES,
        "the message is longer than {MAX_BYTES} bytes"
    );
    Ok(edited.trim_end().to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_the_editor_leaves_is_the_message() {
        let edited = edit(Some("sed -i \"s/b c/x/\""), "a b c\n").expect("edited");
        assert_eq!(edited, "a x");
        assert_eq!(edit(Some("true"), "same\n\n").expect("edited"), "same");
    }

    #[test]
    fn an_editor_that_fails_is_named() {
        let message = |editor| edit(Some(editor), "").expect_err("failed").to_string();
        assert_eq!(
            message("/no/such/editor -x"),
            "cannot run the editor `/no/such/editor`"
        );
        assert!(message("false").starts_with("the editor `false` gave up"));
        assert_eq!(message(""), "no editor is named");
    }
}
