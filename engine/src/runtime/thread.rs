//! The engine thread's life: spawned with the model, ended by closing its inbox, guarded against panics.

use super::{Entry, scheduler::Scheduler};
use crate::{LoadError, model::Model};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long to wait when every active sequence waits for its client.
const CLIENT_POLL: Duration = Duration::from_millis(2);

/// Owns the thread; dropping it closes the inbox and waits for the current step to end.
#[derive(Debug)]
pub(super) struct EngineThread {
    /// `Some` until drop.
    inbox: Option<SyncSender<Entry>>,
    handle: Option<JoinHandle<()>>,
}

impl EngineThread {
    pub(super) fn spawn(
        model: Arc<Model>,
        n_parallel: usize,
        max_queue: usize,
    ) -> Result<Self, LoadError> {
        let (inbox, entries) = sync_channel(max_queue);
        let handle = std::thread::Builder::new()
            .name("slm-engine".into())
            .spawn(move || run(&model, n_parallel, &entries))
            .map_err(|e| LoadError::Cpu(format!("cannot start the engine thread: {e}")))?;
        Ok(Self {
            inbox: Some(inbox),
            handle: Some(handle),
        })
    }

    pub(super) fn inbox(&self) -> &SyncSender<Entry> {
        self.inbox
            .as_ref()
            .expect("the inbox is taken only by drop")
    }

    pub(super) fn is_running(&self) -> bool {
        self.handle.as_ref().is_some_and(|h| !h.is_finished())
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(handle) = self.handle.take() {
            let _panics_were_caught_inside = handle.join();
        }
    }
}

fn run(model: &Model, n_parallel: usize, entries: &Receiver<Entry>) {
    let mut scheduler = Scheduler::new(model, n_parallel);
    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut scheduler, entries)));
    if served.is_err() {
        tracing::error!(
            "the engine thread panicked; its generations are failed and the model is unloaded"
        );
        scheduler.fail_all("the engine stopped on an internal error; this is a bug in slm");
        while let Ok(entry) = entries.try_recv() {
            entry.fail("the engine stopped on an internal error; this is a bug in slm");
        }
    }
}

/// Until the inbox closes: take what came in, step what is active, sleep when there is nothing to do.
fn serve(scheduler: &mut Scheduler<'_>, entries: &Receiver<Entry>) {
    loop {
        while scheduler.has_room() {
            match next(entries, scheduler.is_idle()) {
                Next::Entry(entry) => scheduler.admit(*entry),
                Next::Nothing => break,
                Next::Closed => return,
            }
        }
        if !scheduler.step() {
            std::thread::sleep(CLIENT_POLL);
        }
    }
}

enum Next {
    Entry(Box<Entry>),
    Nothing,
    Closed,
}

fn next(entries: &Receiver<Entry>, wait: bool) -> Next {
    if wait {
        return match entries.recv() {
            Ok(entry) => Next::Entry(Box::new(entry)),
            Err(RecvError) => Next::Closed,
        };
    }
    match entries.try_recv() {
        Ok(entry) => Next::Entry(Box::new(entry)),
        Err(TryRecvError::Empty) => Next::Nothing,
        // Nobody holds the engine any more, so nobody reads its results either.
        Err(TryRecvError::Disconnected) => Next::Closed,
    }
}
