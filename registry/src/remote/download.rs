//! One blob: there already, or fetched from where an earlier attempt stopped, verified, and revealed.
use super::{
    Patience, PullEvent, PullOptions,
    client::Origin,
    on_disk,
    partial::{self, Partial},
    transfer,
};
use crate::{Descriptor, Digest, Error, store::Shared};
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
struct Meter<'a> {
    digest: Digest,
    total: u64,
    shown: Option<(u64, Instant)>,
    progress: &'a mut (dyn FnMut(PullEvent) + Send),
}

impl Meter<'_> {
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

/// Brings `blob`, which each of `origins` has, into the store.
pub(super) async fn blob(
    shared: &Arc<Shared>,
    origins: &[Origin],
    options: &PullOptions,
    patience: &Patience,
    blob: &Descriptor,
    progress: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<(), Error> {
    let mut meter = Meter {
        digest: blob.digest,
        total: blob.size,
        shown: None,
        progress,
    };
    let turn = shared.downloads.turn(&blob.digest);
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
        let partial = fetch(
            shared, origins, options, patience, partial, blob, &mut meter,
        )
        .await?;
        let digest = blob.digest;
        on_disk(shared, move |shared| partial.reveal(shared, digest)).await?;
        meter.show(blob.size);
        return Ok(());
    }
}

/// Brings `blob` into the store in place of what is there under its digest, which is wrong.
pub(super) async fn anew(
    shared: &Arc<Shared>,
    origins: &[Origin],
    options: &PullOptions,
    patience: &Patience,
    blob: &Descriptor,
    progress: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<(), Error> {
    let mut meter = Meter {
        digest: blob.digest,
        total: blob.size,
        shown: None,
        progress,
    };
    let turn = shared.downloads.turn(&blob.digest);
    let _turn = turn.lock().await;
    let partial = loop {
        match open(shared, blob).await? {
            Some(partial) => break partial,
            None => sleep(WAIT_INTERVAL).await,
        }
    };
    let partial = fetch(
        shared, origins, options, patience, partial, blob, &mut meter,
    )
    .await?;
    let digest = blob.digest;
    on_disk(shared, move |shared| {
        partial.reveal(shared, digest)?;
        shared.remove_other_copies(&digest)
    })
    .await?;
    meter.show(blob.size);
    Ok(())
}

/// Fetches what `partial` lacks of `blob`, and all of it again when that does not make `blob`.
async fn fetch(
    shared: &Arc<Shared>,
    origins: &[Origin],
    options: &PullOptions,
    patience: &Patience,
    mut partial: Partial,
    blob: &Descriptor,
    meter: &mut Meter<'_>,
) -> Result<Partial, Error> {
    let throttles: Vec<_> = options.throttles.iter().map(Arc::as_ref).collect();
    let mut n_refetches = 0;
    loop {
        let show = |n_bytes: u64| meter.show(n_bytes.min(blob.size.saturating_sub(1)));
        let got = transfer::fetch(origins, &throttles, patience, &partial, show).await?;
        let want = blob.digest;
        if got == want {
            return Ok(partial);
        }
        if n_refetches == patience.max_refetches {
            on_disk(shared, move |_| partial.discard()).await?;
            return Err(Error::DownloadCorrupted { want, got });
        }
        n_refetches += 1;
        tracing::warn!(%want, %got, "a download is complete and wrong: fetching it again");
        partial = on_disk(shared, move |_| {
            partial.restart()?;
            Ok(partial)
        })
        .await?;
    }
}

/// A file whose digest nobody says.
pub(super) struct Unknown {
    /// What it is known by until then.
    pub(super) key: Digest,
    /// Bytes in all.
    pub(super) size: u64,
    /// What changes when the file does.
    pub(super) tag: Vec<u8>,
}

/// Brings a file into the store, not yet revealed; its digest.
pub(super) async fn unknown(
    shared: &Arc<Shared>,
    origin: &Origin,
    options: &PullOptions,
    patience: &Patience,
    file: &Unknown,
    progress: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<(Partial, Digest), Error> {
    let mut meter = Meter {
        digest: file.key,
        total: file.size,
        shown: None,
        progress,
    };
    let turn = shared.downloads.turn(&file.key);
    let _turn = turn.lock().await;
    let partial = loop {
        let (key, size, tag) = (file.key, file.size, file.tag.clone());
        let opened = on_disk(shared, move |shared| {
            Partial::open(shared, &key, size, &tag)
        })
        .await?;
        match opened {
            Some(partial) => break partial,
            None => sleep(WAIT_INTERVAL).await,
        }
    };
    let throttles: Vec<_> = options.throttles.iter().map(Arc::as_ref).collect();
    let show = |n_bytes: u64| meter.show(n_bytes.min(file.size.saturating_sub(1)));
    let origins = std::slice::from_ref(origin);
    let digest = transfer::fetch(origins, &throttles, patience, &partial, show).await?;
    meter.show(file.size);
    Ok((partial, digest))
}

pub(super) async fn is_here(shared: &Arc<Shared>, blob: &Descriptor) -> Result<bool, Error> {
    let (digest, size) = (blob.digest, blob.size);
    on_disk(shared, move |shared| {
        Ok(shared.blob_size(&digest) == Some(size))
    })
    .await
}

async fn open(shared: &Arc<Shared>, blob: &Descriptor) -> Result<Option<Partial>, Error> {
    let (digest, size) = (blob.digest, blob.size);
    on_disk(shared, move |shared| {
        Partial::open(shared, &digest, size, b"")
    })
    .await
}

/// Shows how far another pull or another process is.
async fn watch(
    shared: &Arc<Shared>,
    blob: &Descriptor,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let digest = blob.digest;
    let len = on_disk(shared, move |shared| Ok(partial::len(shared, &digest))).await?;
    // The last byte is theirs to report who verify it.
    meter.show(len.min(blob.size.saturating_sub(1)));
    Ok(())
}
