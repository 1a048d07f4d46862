//! What every request passes through: an id and a log line, the `Host` check, CORS, and whether the daemon ends.

pub(crate) mod cors;
pub(crate) mod ending;
pub(crate) mod host_check;
pub(crate) mod request_log;
