//! What is wrong with a template, and in which line.

/// A complaint about a Go template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line} of the template)")]
pub struct GoTemplateError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and where it helps, what to do.
    pub message: String,
}

impl GoTemplateError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, GoTemplateError>;
