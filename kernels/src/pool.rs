//! The thread pool: fork-join over ranges of items, with as little waiting as can be.
//!
//! A token needs a few hundred short parallel regions, so that the threads spin for the next one and sleep only when
//! none comes for a while. The caller works too, and waits only for threads that have joined: one that the system
//! does not let run holds nobody up. Items are handed out in falling sizes from a common counter. A thread that the
//! system takes off its core within a region does hold it up; it rests then for a while, longer each time it happens
//! again soon, so that on a machine with other work the regions go on with the threads that have a core.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread without work stays awake.
const SPIN: Duration = Duration::from_micros(100);
/// A thread for which a region waits longer than this is taken to have lost its core.
const STALL: Duration = Duration::from_millis(1);
/// How long such a thread rests, at first and at most.
const REST: Range<Duration> = Duration::from_millis(4)..Duration::from_millis(64);
/// A stall so soon after the last rest doubles the next one.
const RELAPSE: Duration = Duration::from_millis(30);
/// After so many looks without success, a waiting caller lets other threads have its core.
const LOOKS_BEFORE_YIELD: u32 = 10_000;

type Task<'a> = dyn Fn(Range<usize>) + Sync + 'a;

/// What the threads of a region share.
struct Job {
    /// Valid while the region is open or a thread is in it.
    task: *const Task<'static>,
    n_items: usize,
    grain: usize,
}

/// `state`: the region's number in the upper half, then whether it is open, then how many threads are in it.
const OPEN: u64 = 1 << 31;
const MEMBERS: u64 = OPEN - 1;
const fn number(state: u64) -> u64 {
    state >> 32
}

struct Inner {
    state: AtomicU64,
    job: UnsafeCell<Job>,
    next_item: AtomicUsize,
    /// Threads that run regions, the caller counted; the others sleep.
    n_active: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    workers: Vec<Worker>,
    stop: AtomicBool,
}

/// What the caller and one thread know of each other.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    is_sleeping: AtomicBool,
    is_in_region: AtomicBool,
    /// Whether a region has waited for it too long.
    has_stalled: AtomicBool,
}

// SAFETY: `job` is written by the caller of a region while no region is open and nobody is in one, and read by those
// who have joined an open one; joining and opening are ordered by `state`. The task it points to is `Sync`.
unsafe impl Sync for Inner {}
// SAFETY: as above.
unsafe impl Send for Inner {}

/// See the module.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
    /// One region at a time.
    region: Mutex<()>,
}

thread_local! {
    /// Whether this thread runs a task: a region within a region is run by the thread alone.
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool of `n_threads`, the caller counted. Threads that the system does not give are done without.
    pub(crate) fn new(n_threads: usize) -> Self {
        let n_workers = n_threads.saturating_sub(1);
        let inner = Arc::new(Inner {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job {
                task: std::ptr::null::<fn(Range<usize>)>() as *const Task<'static>,
                n_items: 0,
                grain: 1,
            }),
            next_item: AtomicUsize::new(0),
            n_active: AtomicUsize::new(n_workers + 1),
            panic: Mutex::new(None),
            workers: (0..n_workers).map(|_| Worker::default()).collect(),
            stop: AtomicBool::new(false),
        });
        let threads = (0..n_workers)
            .map_while(|index| {
                let inner = Arc::clone(&inner);
                thread::Builder::new()
                    .name(format!("slm-compute-{}", index + 1))
                    .spawn(move || inner.work(index))
                    .ok()
            })
            .collect();
        Self {
            inner,
            threads,
            region: Mutex::new(()),
        }
    }

    /// Threads that can run a region, the caller counted.
    pub(crate) fn n_threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Lets the regions that follow run on `n_threads`, at least 1 and at most all.
    pub(crate) fn use_threads(&self, n_threads: usize) {
        let n_active = n_threads.clamp(1, self.n_threads());
        self.inner.n_active.store(n_active, Ordering::Relaxed);
    }

    /// Runs `task` over disjoint sub-ranges of `0..n_items`, of `grain` items at least (the last may be shorter).
    pub(crate) fn parallel_for(&self, n_items: usize, grain: usize, task: &Task<'_>) {
        if n_items == 0 {
            return;
        }
        let grain = grain.max(1);
        let n_active = self.inner.n_active.load(Ordering::Relaxed);
        if n_items <= grain || n_active == 1 || IN_REGION.get() {
            task(0..n_items);
            return;
        }
        let one_region = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &*self.inner;
        // SAFETY: this ends the region, and waits for all who joined it, before it returns, so that nobody sees the
        // task after its lifetime.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: no region is open and nobody is in one: the last one ended so, and `one_region` keeps others out.
        unsafe {
            *inner.job.get() = Job {
                task,
                n_items,
                grain,
            }
        };
        inner.next_item.store(0, Ordering::Relaxed);
        let before = inner.state.load(Ordering::Relaxed);
        inner.state.store(
            (number(before).wrapping_add(1) << 32) | OPEN,
            Ordering::Release,
        );
        // Either a thread that goes to sleep sees the new state, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        let workers = self.threads.iter().zip(&inner.workers);
        for (thread, worker) in workers.take(n_active - 1) {
            let sleeping = &worker.is_sleeping;
            if sleeping.load(Ordering::Relaxed) && sleeping.swap(false, Ordering::Relaxed) {
                thread.thread().unpark();
            }
        }
        inner.run_items(n_active);
        inner.state.fetch_and(!OPEN, Ordering::AcqRel);
        inner.wait_for_members();
        let panic = inner
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(one_region);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Inner {
    /// Returns when every thread has left the closed region.
    fn wait_for_members(&self) {
        let is_empty = || self.state.load(Ordering::Acquire) & MEMBERS == 0;
        for _ in 0..LOOKS_BEFORE_YIELD {
            if is_empty() {
                return;
            }
            std::hint::spin_loop();
        }
        let since = Instant::now();
        while !is_empty() {
            thread::yield_now();
            if since.elapsed() > STALL {
                break;
            }
        }
        if is_empty() {
            return;
        }
        for worker in &self.workers {
            if worker.is_in_region.load(Ordering::Relaxed) {
                worker.has_stalled.store(true, Ordering::Relaxed);
            }
        }
        while !is_empty() {
            thread::yield_now();
        }
    }

    /// Takes items until none is left. A panic of the task is kept, and ends the region early.
    fn run_items(&self, n_threads: usize) {
        // SAFETY: the region is open or this thread has joined it: nobody writes the job.
        let job = unsafe { &*self.job.get() };
        // SAFETY: the task outlives the region.
        let task = unsafe { &*job.task };
        IN_REGION.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            while let Some(items) = self.take(job, n_threads) {
                task(items);
            }
        }));
        IN_REGION.set(false);
        if let Err(panic) = result {
            self.next_item.store(job.n_items, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// The next items: a share of what is left, so that the last ones are few and the threads end together.
    fn take(&self, job: &Job, n_threads: usize) -> Option<Range<usize>> {
        let mut first = self.next_item.load(Ordering::Relaxed);
        loop {
            let left = job.n_items.checked_sub(first).filter(|&left| left > 0)?;
            let n_taken = (left / (2 * n_threads)).max(job.grain).min(left);
            match self.next_item.compare_exchange_weak(
                first,
                first + n_taken,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(first..first + n_taken),
                Err(now) => first = now,
            }
        }
    }

    /// The life of thread `index`.
    fn work(&self, index: usize) {
        let worker = &self.workers[index];
        let mut seen = 0;
        let (mut rest, mut rested_at) = (REST.start, None::<Instant>);
        loop {
            let state = self.next_region(index, seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            seen = number(state);
            // the region's threads were chosen before it was opened
            let is_active = index + 1 < self.n_active.load(Ordering::Relaxed);
            if state & OPEN == 0 || !is_active || !self.join(state) {
                continue;
            }
            worker.is_in_region.store(true, Ordering::Relaxed);
            self.run_items(self.n_active.load(Ordering::Relaxed));
            worker.is_in_region.store(false, Ordering::Relaxed);
            self.state.fetch_sub(1, Ordering::Release);
            if worker.has_stalled.swap(false, Ordering::Relaxed) {
                let is_relapse = rested_at.is_some_and(|at| at.elapsed() < RELAPSE);
                rest = if is_relapse {
                    (2 * rest).min(REST.end)
                } else {
                    REST.start
                };
                let until = Instant::now() + rest;
                // A region that it woke for by itself may have left it a wake-up.
                while !self.stop.load(Ordering::Acquire) && Instant::now() < until {
                    thread::park_timeout(until.saturating_duration_since(Instant::now()));
                }
                rested_at = Some(Instant::now());
            }
        }
    }

    /// Joins the region of `state`, unless it has ended.
    fn join(&self, mut state: u64) -> bool {
        let region = number(state);
        while state & OPEN != 0 && number(state) == region {
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Waits for a region other than `seen` that thread `index` is to run, or for the end.
    fn next_region(&self, index: usize, seen: u64) -> u64 {
        let is_active = || index + 1 < self.n_active.load(Ordering::Relaxed);
        loop {
            let mut since = None;
            while is_active() {
                for _ in 0..64 {
                    let state = self.state.load(Ordering::Acquire);
                    if number(state) != seen || self.stop.load(Ordering::Relaxed) {
                        return state;
                    }
                    std::hint::spin_loop();
                }
                if since.get_or_insert_with(Instant::now).elapsed() > SPIN {
                    break;
                }
            }
            let sleeping = &self.workers[index].is_sleeping;
            sleeping.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let state = self.state.load(Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) {
                return state;
            }
            if number(state) == seen || !is_active() {
                thread::park();
            }
            sleeping.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread ends without a panic: those of tasks are carried to their caller.
            let _ = thread.join();
        }
    }
}
