//! The data of server-sent events, one after the other.

use crate::client_error::ClientError;
use crate::ndjson::LineDecoder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Response;
use std::pin::Pin;

/// The events of a streaming route. Drop it to cancel.
pub struct Events {
    url: String,
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    lines: LineDecoder,
    has_ended: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(url: String, response: Response) -> Self {
        Self {
            url,
            bytes: Box::pin(response.bytes_stream()),
            lines: LineDecoder::default(),
            has_ended: false,
        }
    }

    /// The data of the next event that has any, one line each; `None` behind the last. Names, ids and comments are
    /// passed over.
    ///
    /// # Errors
    /// The connection broke, or a line is too long.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let line = match self.has_ended {
                true => self.lines.rest(),
                false => self.lines.next_line()?,
            };
            if let Some(line) = line {
                if let Some(data) = line.strip_prefix(b"data:") {
                    let data = String::from_utf8_lossy(data);
                    return Ok(Some(data.trim_start().to_owned()));
                }
                continue;
            }
            if self.has_ended {
                return Ok(None);
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => self.lines.push(&bytes),
                Some(Err(source)) => {
                    return Err(ClientError::Broken {
                        url: self.url.clone(),
                        source,
                    });
                }
                None => self.has_ended = true,
            }
        }
    }
}
