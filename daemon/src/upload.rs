//! Bodies that are larger than memory, read by blocking code as they arrive, through a bounded channel.
//!
//! A client that goes away is an error of the reader, never the end of the body.

use crate::{error::ApiError, state::App};
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Chunks of an upload that wait for the disk.
const CHUNKS_AHEAD: usize = 16;
/// How long the next part of an upload may take.
const PART_TIMEOUT: Duration = Duration::from_secs(60);
/// Uploads at once; each holds a blocking thread.
const MAX_UPLOADS: usize = 32;
static UPLOADS: Semaphore = Semaphore::const_new(MAX_UPLOADS);
/// How long a client that is still sending has to notice that it is refused.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Gives `work` the body to read, on a blocking thread.
///
/// # Errors
/// Too many uploads at once, and what `work` says.
pub(crate) async fn read<T: Send + 'static>(
    app: &Arc<App>,
    body: Body,
    work: impl FnOnce(&App, &mut dyn Read) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let _place = UPLOADS.try_acquire().map_err(|_| ApiError::busy())?;
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    let read = app.blocking(move |app| work(app, &mut ChunkReader::new(received)));
    let feed = async move {
        let mut parts = body.into_data_stream();
        while let Some(part) = next_part(&mut parts).await {
            let failed = part.is_err();
            if chunks.send(Some(part)).await.is_err() || failed {
                return parts;
            }
        }
        // only this says that the body was whole: a client that leaves drops the sender without it
        let _reader_may_be_gone = chunks.send(None).await;
        parts
    };
    let (result, parts) = tokio::join!(read, feed);
    if result.is_err() {
        // a connection that is closed on a client that still sends may cost it our answer
        tokio::spawn(tokio::time::timeout(REFUSAL_TIME, drain(parts)));
    }
    result
}

async fn drain(mut parts: BodyDataStream) {
    while let Some(Ok(_)) = parts.next().await {}
}

/// The next part of an upload; one that does not come in time is an error.
async fn next_part(parts: &mut BodyDataStream) -> Option<io::Result<Bytes>> {
    match tokio::time::timeout(PART_TIMEOUT, parts.next()).await {
        Ok(part) => part.map(|part| part.map_err(io::Error::other)),
        Err(_) => Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the upload stalled",
        ))),
    }
}

/// The chunks of a body as a blocking reader. `None` in the channel is the end; without it the body was cut off.
struct ChunkReader {
    chunks: mpsc::Receiver<Option<io::Result<Bytes>>>,
    current: Bytes,
    ended: bool,
}

impl ChunkReader {
    fn new(chunks: mpsc::Receiver<Option<io::Result<Bytes>>>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.current = chunk?,
                Some(None) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the upload was cut off",
                    ));
                }
            }
        }
        let n = out.len().min(self.current.len());
        out[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
