//! Where commands put what was asked for. A reader that has seen enough and goes is no failure; a full disk is one.

use anyhow::Context;
use std::io::{self, Write};

/// Whoever read the output has gone: the program ends, and well.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(super) struct Closed;

/// Writes a text as it is.
///
/// # Errors
/// [`Closed`], or why it cannot be written.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes());
    checked(written.and_then(|()| out.flush()))
}

/// Writes a line.
///
/// # Errors
/// As [`write`].
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    write(&format!("{text}\n"))
}

/// What came of writing to standard output.
///
/// # Errors
/// As [`write`].
pub(super) fn checked<T>(written: io::Result<T>) -> anyhow::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_is_told_from_a_disk_that_is_full() {
        let gone = checked::<()>(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert!(gone.is::<Closed>());
        let full = checked::<()>(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(!full.is::<Closed>());
        assert!(format!("{full:#}").starts_with("cannot write to standard output: "));
        assert_eq!(checked(Ok(5)).unwrap(), 5);
    }
}
