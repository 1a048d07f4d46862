//! One blob: there already, or fetched from where an earlier attempt stopped, verified, and revealed.
use super::{
    PullEvent,
    client::{Failure, Registry},
    on_disk,
    partial::{self, Partial, Stopped, Writer},
};
use crate::{Descriptor, Digest, Error, store::Shared};
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// Time between two progress events of one blob.
const EVENT_INTERVAL: Duration = Duration::from_millis(60);
/// Time between two looks at a download that somebody else does.
const WAIT_INTERVAL: Duration = Duration::from_millis(200);
/// A try that gained so many bytes was no failure. (A server that sends one byte at a time must not keep us forever.)
const PROGRESS_BYTES: u64 = 1 << 20;

/// What the pulls of one blob take turns with.
type Turn = tokio::sync::Mutex<()>;

/// The downloads in progress in this process.
#[derive(Default)]
pub(crate) struct Downloads(Mutex<HashMap<Digest, Weak<Turn>>>);

impl Downloads {
    /// What the pulls of `digest` take turns with.
    fn turn(&self, digest: &Digest) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(digest).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::default());
        turns.insert(*digest, Arc::downgrade(&turn));
        turn
    }
}

/// Reports the bytes of one blob: not too often, and never fewer than before.
struct Meter<'a, P> {
    digest: Digest,
    total: u64,
    shown: Option<(u64, Instant)>,
    progress: &'a mut P,
}

impl<P: FnMut(PullEvent)> Meter<'_, P> {
    fn show(&mut self, completed: u64) {
        let completed = completed.min(self.total);
        let is_due = self.shown.is_none_or(|(shown, at)| {
            let is_first_or_last = shown == 0 || completed == self.total;
            completed > shown && (is_first_or_last || at.elapsed() >= EVENT_INTERVAL)
        });
        if is_due {
            self.shown = Some((completed, Instant::now()));
            (self.progress)(PullEvent::Blob {
                digest: self.digest,
                total: self.total,
                completed,
            });
        }
    }
}

/// Brings `blob` into the store.
pub(super) async fn blob(
    shared: &Arc<Shared>,
    registry: &Registry,
    blob: &Descriptor,
    progress: &mut (impl FnMut(PullEvent) + Send),
) -> Result<(), Error> {
    let mut meter = Meter {
        digest: blob.digest,
        total: blob.size,
        shown: None,
        progress,
    };
    let turn = shared.downloads.turn(&blob.digest);
    let mut may_resume = true;
    loop {
        let Ok(_turn) = timeout(WAIT_INTERVAL, turn.lock()).await else {
            watch(shared, blob, &mut meter).await?;
            continue;
        };
        if is_here(shared, blob).await? {
            meter.show(blob.size);
            return Ok(());
        }
        let Some(partial) = open(shared, blob).await? else {
            watch(shared, blob, &mut meter).await?;
            sleep(WAIT_INTERVAL).await;
            continue;
        };
        let n_resumed = partial.len();
        let partial = fetch(registry, blob, partial, &mut meter).await?;
        let want = blob.digest;
        let got = partial.digest();
        if got == want {
            on_disk(shared, move |shared| partial.reveal(shared, want)).await?;
            meter.show(blob.size);
            return Ok(());
        }
        on_disk(shared, move |_| partial.discard()).await?;
        if n_resumed == 0 || !may_resume {
            return Err(Error::DownloadCorrupted { want, got });
        }
        // The fault may lie in what an earlier attempt left.
        may_resume = false;
    }
}

async fn is_here(shared: &Arc<Shared>, blob: &Descriptor) -> Result<bool, Error> {
    let (digest, size) = (blob.digest, blob.size);
    on_disk(shared, move |shared| {
        Ok(shared.blob_size(&digest) == Some(size))
    })
    .await
}

async fn open(shared: &Arc<Shared>, blob: &Descriptor) -> Result<Option<Partial>, Error> {
    let (digest, size) = (blob.digest, blob.size);
    on_disk(shared, move |shared| Partial::open(shared, &digest, size)).await
}

/// Shows how far another pull or another process is.
async fn watch<P: FnMut(PullEvent)>(
    shared: &Arc<Shared>,
    blob: &Descriptor,
    meter: &mut Meter<'_, P>,
) -> Result<(), Error> {
    let digest = blob.digest;
    let len = on_disk(shared, move |shared| Ok(partial::len(shared, &digest))).await?;
    // The last byte is theirs to report who verify it.
    meter.show(len.min(blob.size.saturating_sub(1)));
    Ok(())
}

/// Fetches what `partial` lacks. After an error the file keeps what it has.
async fn fetch<P: FnMut(PullEvent)>(
    registry: &Registry,
    blob: &Descriptor,
    partial: Partial,
    meter: &mut Meter<'_, P>,
) -> Result<Partial, Error> {
    let mut transfer = Transfer {
        registry,
        blob,
        n_sent: partial.len(),
        server_has_ranges: true,
        writer: partial.into_writer(),
    };
    meter.show(transfer.n_sent.min(blob.size.saturating_sub(1)));
    let mut n_failures = 0;
    while transfer.n_sent < blob.size {
        let n_before = transfer.n_sent;
        let failure = match transfer.attempt(meter).await {
            Ok(()) => continue,
            // The writer knows why, or else there is no why.
            Err(Trouble::Disk(Stopped)) => return transfer.writer.finish().await,
            Err(Trouble::Network(failure)) => failure,
        };
        let error = match failure {
            Failure::Final(error) => {
                transfer.writer.finish().await?;
                return Err(error);
            }
            Failure::Passing(error) => error,
        };
        if transfer.n_sent >= n_before.saturating_add(PROGRESS_BYTES) {
            n_failures = 0;
        }
        n_failures += 1;
        if n_failures >= registry.patience.max_failures {
            transfer.writer.finish().await?;
            let reason = match error {
                Error::RetriesExhausted { reason } => reason,
                other => other.to_string(),
            };
            return Err(Error::RetriesExhausted { reason });
        }
        tracing::debug!(digest = %blob.digest, %error, n_failures, "trying again");
        registry.pause(n_failures).await;
    }
    transfer.writer.finish().await
}

/// A download under way.
struct Transfer<'a> {
    registry: &'a Registry,
    blob: &'a Descriptor,
    writer: Writer,
    /// Bytes that the writer has or will have.
    n_sent: u64,
    server_has_ranges: bool,
}

enum Trouble {
    Disk(Stopped),
    Network(Failure),
}

impl From<Stopped> for Trouble {
    fn from(stopped: Stopped) -> Self {
        Self::Disk(stopped)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Network(failure)
    }
}

impl Transfer<'_> {
    /// One request, until its end or its failure.
    async fn attempt<P: FnMut(PullEvent)>(
        &mut self,
        meter: &mut Meter<'_, P>,
    ) -> Result<(), Trouble> {
        if !self.server_has_ranges {
            self.restart().await?;
        }
        let answer = self.registry.blob(&self.blob.digest, self.n_sent).await;
        let mut response = match answer {
            Ok(response) => response,
            Err(Failure::Final(Error::RemoteStatus { status: 416, .. })) => {
                self.server_has_ranges = false;
                return Err(passing("it does not know the range that was asked for"));
            }
            Err(failure) => return Err(failure.into()),
        };
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // From the beginning, whether asked for or not.
            self.restart().await?;
        } else if first_byte(&response) != Some(self.n_sent) {
            self.server_has_ranges = false;
            return Err(passing("it sent another range than was asked for"));
        }
        while let Some(chunk) = self.registry.chunk(&mut response).await? {
            let n_bytes = chunk.len() as u64;
            if n_bytes > self.blob.size - self.n_sent {
                self.restart().await?;
                let (digest, size) = (&self.blob.digest, self.blob.size);
                return Err(Trouble::Network(Failure::Final(Error::Protocol {
                    host: response.url().host_str().unwrap_or_default().to_owned(),
                    reason: format!("blob {digest} has more than its {size} bytes"),
                })));
            }
            self.writer.append(chunk).await?;
            self.n_sent += n_bytes;
            // The last byte is shown when the whole is verified.
            meter.show(self.n_sent.min(self.blob.size.saturating_sub(1)));
        }
        if self.n_sent < self.blob.size {
            return Err(passing("the connection ended too early"));
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Stopped> {
        if self.n_sent > 0 {
            self.writer.restart().await?;
            self.n_sent = 0;
        }
        Ok(())
    }
}

fn passing(reason: &str) -> Trouble {
    let reason = reason.to_owned();
    Trouble::Network(Failure::Passing(Error::RetriesExhausted { reason }))
}

/// The first number of `Content-Range: bytes 5-9/10`.
fn first_byte(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}
