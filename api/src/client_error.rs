//! Why a call to the daemon failed, and what a person can do about it.

use std::path::PathBuf;

use crate::ollama::ENDING;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The HTTP client could not be made.
    #[error("cannot prepare a client for `{url}`")]
    Build {
        /// Base URL.
        url: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// Nobody listens there.
    #[error("cannot connect to slmd at {url}")]
    Connect {
        /// Base URL.
        url: String,
        /// Cause.
        source: Option<reqwest::Error>,
    },
    /// The daemon refused: its status and its own words.
    #[error("{message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The `error` field.
        message: String,
    },
    /// The daemon gave up in the middle of a stream: its own words.
    #[error("{message}")]
    Failed {
        /// The `error` field.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to slmd at {url} broke")]
    Broken {
        /// Base URL.
        url: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// The stream ended before it said that it was complete.
    #[error("slmd at {url} ended its answer before it was complete")]
    EndedEarly {
        /// Base URL.
        url: String,
    },
    /// The answer is not what this route answers.
    #[error("cannot read the answer of slmd at {url}")]
    Decode {
        /// Base URL.
        url: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// A line of a stream is too long to be read.
    #[error(transparent)]
    LineTooLong(#[from] crate::ndjson::LineTooLong),
    /// A file to be sent cannot be read.
    #[error("cannot read `{}`", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

impl ClientError {
    /// What the user can do now, as one imperative sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { .. } => {
                Some("start the daemon with `slmd serve`, or set SLM_HOST to where it runs".into())
            }
            _ if self.is_ending() => Some(
                "start the daemon again with `slmd serve` once it has ended, and ask again".into(),
            ),
            Self::Status { status: 503, .. } => {
                Some("the daemon is busy: try again in a moment".into())
            }
            // Ollama's words, which do not say what a name is
            Self::Status { message, .. } | Self::Failed { message }
                if message == "invalid model name" =>
            {
                Some("write it as MODEL, MODEL:TAG or HOST/NAMESPACE/MODEL:TAG, with letters, digits, `-`, `_` and `.`".into())
            }
            Self::Broken { .. } | Self::EndedEarly { .. } => {
                Some("look at the daemon's log with `slm logs`: it may have been stopped; `slmd serve` starts it again".into())
            }
            Self::Decode { .. } | Self::LineTooLong(_) => {
                Some("check that SLM_HOST names an slmd and not another server".into())
            }
            Self::Build { .. } => Some("check SLM_HOST: it is no usable address".into()),
            Self::Status { .. } | Self::Failed { .. } | Self::ReadFile { .. } => None,
        }
    }

    /// The HTTP status, where the daemon answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon says that it is about to end.
    pub fn is_ending(&self) -> bool {
        match self {
            Self::Status { message, .. } | Self::Failed { message } => message.starts_with(ENDING),
            _ => false,
        }
    }

    /// Whether the daemon says that it has no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
