//! A client of the daemon's REST API.

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("cannot connect to slmd at {url}")]
    Connect {
        /// Base URL.
        url: String,
    },
    /// The daemon refused: its status and its own words.
    #[error("{message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The `error` field.
        message: String,
    },
}
