//! The threads of a running download: one writes bytes where they belong and keeps the journal, one hashes the file from
//! its beginning as far as it has no gap, one brings the bytes to the disk meanwhile.
//!
//! The hash is computed from what the file gives back, never from what came over the network, so that the digest is the
//! one of the bytes that are revealed. What an earlier attempt has left is checked against the journal on the way: a
//! span that is not what the journal says is lost, and fetched again.
use super::{
    journal::{MAX_RECORD_SPAN, Record},
    partial::{self, Claims, Partial},
    spans::{Span, Spans},
};
use crate::{Digest, Error, digest::Hasher};
use bytes::Bytes;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

/// Chunks of the network that may wait for the disk, over all connections.
const MAX_WAITING_CHUNKS: usize = 32;
/// Spans that grow at the same time; more than there are connections.
const MAX_OPEN_RUNS: usize = 64;
/// A blob has about so many records, where they are neither too small nor too large.
const N_RECORDS: u64 = 1 << 16;
const MIN_RECORD_SPAN: u64 = 128 << 10;
/// So many bytes are brought to the disk at once, while others arrive.
const SYNC_BYTES: u64 = 64 << 20;

/// How far a download is; the threads and the network's side look at it.
pub(super) struct Ledger {
    total: u64,
    state: Mutex<State>,
    /// For the threads: there are more bytes, or no more will come.
    grew: Condvar,
    /// For the network's side: all is hashed, something is lost, or a thread has stopped.
    pub(super) news: Notify,
}

#[derive(Default)]
struct State {
    written: Spans,
    n_written: u64,
    /// What the hash has not reached of what an earlier attempt left.
    claims: Claims,
    lost: Vec<Span>,
    digest: Option<Digest>,
    /// No more bytes will come.
    is_closed: bool,
    /// A thread has stopped with an error.
    has_failed: bool,
}

impl Ledger {
    fn new(partial: &Partial) -> Self {
        let written = partial.claimed();
        Self {
            total: partial.total(),
            state: Mutex::new(State {
                n_written: written.n_bytes(),
                written,
                claims: partial.claims().clone(),
                ..State::default()
            }),
            grew: Condvar::new(),
            news: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are in the file.
    pub(super) fn n_written(&self) -> u64 {
        self.state().n_written
    }

    /// What is not in the file.
    pub(super) fn missing(&self) -> Spans {
        self.state().written.gaps(self.total)
    }

    /// What was there and is not any more, since this was asked last.
    pub(super) fn take_lost(&self) -> Vec<Span> {
        std::mem::take(&mut self.state().lost)
    }

    /// Whether nothing more is to be done: all is hashed, or a thread has stopped.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.digest.is_some() || state.has_failed
    }

    fn add(&self, span: Span) {
        let mut state = self.state();
        state.n_written += span.end - span.start;
        state.written.insert(span);
        drop(state);
        self.grew.notify_all();
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.grew.notify_all();
    }

    fn fail(&self) {
        self.state().has_failed = true;
        self.grew.notify_all();
        self.news.notify_one();
    }

    /// Waits for bytes after `at`; `None` when no more will come.
    fn wait_from(&self, at: u64) -> Option<Piece> {
        let mut state = self.state();
        loop {
            let end = state.written.end_from(at);
            if end > at {
                let claim = state.claims.get(&at).copied();
                let next_claim = state.claims.range(at + 1..).next();
                let limit = claim.map_or(MAX_RECORD_SPAN, |(len, _)| len);
                let end = end
                    .min(at + limit)
                    .min(next_claim.map_or(u64::MAX, |(start, _)| *start));
                return Some(Piece {
                    span: at..end,
                    crc: claim.map(|(_, crc)| crc),
                });
            }
            if state.is_closed || state.has_failed {
                return None;
            }
            state = self
                .grew
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until so many bytes are written; fewer when no more will come.
    fn wait_for(&self, n_bytes: u64) {
        let mut state = self.state();
        while state.n_written < n_bytes && !(state.is_closed || state.has_failed) {
            state = self
                .grew
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Bytes to hash.
struct Piece {
    span: Span,
    /// What an earlier attempt says of exactly these bytes.
    crc: Option<u32>,
}

/// The threads that write and hash a [`Partial`]. When it is dropped, what was sent is still written.
pub(super) struct Writer {
    sender: mpsc::Sender<(u64, Bytes)>,
    pub(super) ledger: Arc<Ledger>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

/// A thread has stopped early; [`Writer::finish`] says why.
#[derive(Debug)]
pub(super) struct Stopped;

impl Writer {
    /// Starts the threads.
    pub(super) fn start(partial: &Partial) -> Self {
        let ledger = Arc::new(Ledger::new(partial));
        let (sender, receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
        let mut threads = vec![
            spawn(&ledger, partial, |ledger, partial| {
                write(ledger, partial, receiver)
            }),
            spawn(&ledger, partial, hash),
        ];
        if partial.total() > SYNC_BYTES {
            threads.push(spawn(&ledger, partial, sync));
        }
        Self {
            sender,
            ledger,
            threads,
        }
    }

    /// Sends bytes that are in no span that was sent before, waiting while the disk is behind.
    pub(super) async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), Stopped> {
        if self.ledger.is_over() {
            return Err(Stopped);
        }
        let sent = self.sender.send((offset, bytes)).await;
        sent.map_err(|_| Stopped)
    }

    /// Waits until everything is written and hashed as far as it goes; the digest, when nothing is missing.
    pub(super) async fn finish(self) -> Result<Option<Digest>, Error> {
        drop(self.sender);
        let mut result = Ok(());
        for thread in self.threads {
            result = result.and(super::joined(thread).await);
        }
        result.map(|()| self.ledger.state().digest)
    }
}

/// What the threads need of a [`Partial`].
struct Files {
    path: std::path::PathBuf,
    file: Arc<std::fs::File>,
    journal: Arc<Mutex<super::journal::Journal>>,
}

fn spawn(
    ledger: &Arc<Ledger>,
    partial: &Partial,
    work: impl FnOnce(&Ledger, &Files) -> Result<(), Error> + Send + 'static,
) -> JoinHandle<Result<(), Error>> {
    let ledger = Arc::clone(ledger);
    let files = Files {
        path: partial.path().to_owned(),
        file: Arc::clone(&partial.file),
        journal: Arc::clone(&partial.journal),
    };
    tokio::task::spawn_blocking(move || {
        let result = work(&ledger, &files);
        if result.is_err() {
            ledger.fail();
        }
        result
    })
}

/// Bytes in a row that are written and not yet in the journal.
struct Run {
    span: Span,
    crc: crc32fast::Hasher,
}

fn write(
    ledger: &Ledger,
    files: &Files,
    mut receiver: mpsc::Receiver<(u64, Bytes)>,
) -> Result<(), Error> {
    let record_span = (ledger.total / N_RECORDS).clamp(MIN_RECORD_SPAN, MAX_RECORD_SPAN);
    let mut runs: Vec<Run> = Vec::new();
    let mut failed = Ok(());
    while let Some((offset, bytes)) = receiver.blocking_recv() {
        let written = partial::write_all_at(&files.file, &bytes, offset);
        failed = written.map_err(Error::write(&files.path));
        if failed.is_err() {
            break;
        }
        ledger.add(offset..offset + bytes.len() as u64);
        failed = note(&mut runs, files, record_span, offset, &bytes);
        if failed.is_err() {
            break;
        }
    }
    // Also after a failure: what is written need not be fetched again.
    let noted = runs.iter().try_for_each(|run| close(run, files));
    ledger.close();
    failed.and(noted)
}

/// Adds written bytes to the run that they go on with, and the runs that are long enough to the journal.
fn note(
    runs: &mut Vec<Run>,
    files: &Files,
    record_span: u64,
    offset: u64,
    mut bytes: &[u8],
) -> Result<(), Error> {
    let known = runs.iter().position(|run| run.span.end == offset);
    let mut run = match known {
        Some(idx) => runs.remove(idx),
        None => Run::at(offset),
    };
    while !bytes.is_empty() {
        let room = record_span - (run.span.end - run.span.start);
        let (now, later) = bytes.split_at(bytes.len().min(room as usize));
        run.crc.update(now);
        run.span.end += now.len() as u64;
        bytes = later;
        if run.span.end - run.span.start == record_span {
            close(&run, files)?;
            run = Run::at(run.span.end);
        }
    }
    // The one that grew last is last, so the first is one that a broken connection left.
    runs.push(run);
    if runs.len() > MAX_OPEN_RUNS {
        close(&runs.remove(0), files)?;
    }
    Ok(())
}

impl Run {
    fn at(offset: u64) -> Self {
        Self {
            span: offset..offset,
            crc: crc32fast::Hasher::new(),
        }
    }
}

fn close(run: &Run, files: &Files) -> Result<(), Error> {
    if run.span.is_empty() {
        return Ok(());
    }
    let record = Record::Written(run.span.clone(), run.crc.clone().finalize());
    partial::append(&files.journal, &record)
}

fn hash(ledger: &Ledger, files: &Files) -> Result<(), Error> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; MAX_RECORD_SPAN.min(ledger.total) as usize];
    let mut at = 0;
    while at < ledger.total {
        let Some(Piece { span, crc }) = ledger.wait_from(at) else {
            return Ok(());
        };
        let piece = &mut buffer[..(span.end - span.start) as usize];
        let read = partial::read_exact_at(&files.file, piece, at);
        if let Some(crc) = crc {
            let is_as_claimed = read.is_ok() && crc32fast::hash(piece) == crc;
            let mut state = ledger.state();
            state.claims.remove(&at);
            if !is_as_claimed {
                tracing::debug!(
                    ?span,
                    "an earlier attempt has left other bytes than it said"
                );
                state.n_written -= span.end - span.start;
                state.written.remove(&span);
                drop(state);
                partial::append(&files.journal, &Record::Lost(span.clone()))?;
                // Only now may it be written again.
                ledger.state().lost.push(span);
                ledger.news.notify_one();
                continue;
            }
        } else {
            read.map_err(Error::read(&files.path))?;
        }
        hasher.update(piece);
        at = span.end;
    }
    ledger.state().digest = Some(hasher.digest());
    ledger.news.notify_one();
    Ok(())
}

/// Brings bytes to the disk while others arrive, so that little is left to do at the end.
fn sync(ledger: &Ledger, files: &Files) -> Result<(), Error> {
    let mut n_synced = ledger.n_written();
    loop {
        ledger.wait_for((n_synced + SYNC_BYTES).min(ledger.total));
        let state = ledger.state();
        let n_written = state.n_written;
        if state.is_closed || state.has_failed || n_written >= ledger.total {
            return Ok(());
        }
        drop(state);
        files.file.sync_data().map_err(Error::write(&files.path))?;
        n_synced = n_written;
    }
}
