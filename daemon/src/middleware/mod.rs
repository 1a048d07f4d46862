//! What every request passes through: an id and a log line, the `Host` check, CORS.

pub(crate) mod cors;
pub(crate) mod host_check;
pub(crate) mod request_log;
