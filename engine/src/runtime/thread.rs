//! The engine thread's life: spawned with the model, ended by closing its inbox, guarded against panics.

use super::{
    disk_tier::DiskTier,
    draft_model::DraftModel,
    request::{Counters, Order},
    scheduler::{Limits, Scheduler},
};
use crate::{LoadError, model::Loaded};
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
    inbox: Option<SyncSender<Order>>,
    handle: Option<JoinHandle<()>>,
}

impl EngineThread {
    pub(super) fn spawn(
        model: Arc<Loaded>,
        limits: (Limits, Arc<Counters>),
        disk: DiskTier,
        draft: Option<DraftModel>,
        n_most: usize,
    ) -> Result<Self, LoadError> {
        let (inbox, orders) = sync_channel(n_most);
        let handle = std::thread::Builder::new()
            .name("slm-engine".into())
            .spawn(move || run(&model, limits, disk, draft, &orders))
            .map_err(|e| LoadError::Cpu(format!("cannot start the engine thread: {e}")))?;
        Ok(Self {
            inbox: Some(inbox),
            handle: Some(handle),
        })
    }

    pub(super) fn inbox(&self) -> &SyncSender<Order> {
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

fn run(
    model: &Loaded,
    limits: (Limits, Arc<Counters>),
    disk: DiskTier,
    draft: Option<DraftModel>,
    orders: &Receiver<Order>,
) {
    let mut scheduler = Scheduler::new(model, limits, disk, draft);
    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut scheduler, orders)));
    if served.is_err() {
        tracing::error!(
            "the engine thread panicked; its requests are failed and the model is unloaded"
        );
        scheduler.fail_all("the engine stopped on an internal error; this is a bug in slm");
        while let Ok(order) = orders.try_recv() {
            order.fail("the engine stopped on an internal error; this is a bug in slm");
        }
    }
}

/// Until the inbox closes: take what came in, step what is active, sleep when there is nothing to do.
fn serve(scheduler: &mut Scheduler<'_>, orders: &Receiver<Order>) {
    loop {
        loop {
            match next(orders, scheduler.is_idle()) {
                Next::Order(order) => scheduler.receive(*order),
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
    Order(Box<Order>),
    Nothing,
    Closed,
}

fn next(orders: &Receiver<Order>, wait: bool) -> Next {
    if wait {
        return match orders.recv() {
            Ok(order) => Next::Order(Box::new(order)),
            Err(RecvError) => Next::Closed,
        };
    }
    match orders.try_recv() {
        Ok(order) => Next::Order(Box::new(order)),
        Err(TryRecvError::Empty) => Next::Nothing,
        // Nobody holds the engine any more, so nobody reads its results either.
        Err(TryRecvError::Disconnected) => Next::Closed,
    }
}
