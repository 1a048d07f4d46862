//! The network's side of a download: connections that fetch parts until nothing is missing.
//!
//! The first request shows whether the server knows ranges. If it does, a few connections fetch parts side by side, more
//! while more are faster; if not, one fetches from the beginning and drops what is there already. A connection that falls
//! far behind the others lets go, one that breaks is tried again after a pause, at another mirror where there is one.
//! The failures in a row without progress are bounded.
use super::{
    Patience,
    client::{Failure, Origin},
    partial::Partial,
    plan::{FlightId, Plan},
    spans::Span,
    throttle::Throttle,
    writer::{Stopped, Writer},
};
use crate::{Digest, Error};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Time between two looks at how far a download is.
const LOOK_INTERVAL: Duration = Duration::from_millis(60);
/// Time between two looks at whether more connections pay.
const GROWTH_INTERVAL: Duration = Duration::from_secs(2);
/// Connections to begin with, once the server has shown that it knows ranges.
const FIRST_CONNECTIONS: usize = 4;
/// More connections pay when they make a download faster by so much.
const WORTHWHILE_GROWTH: f64 = 1.15;
/// A try that gained so many bytes was no failure. (A server that sends one byte at a time must not keep us forever.)
const PROGRESS_BYTES: u64 = 1 << 20;
/// A request that is slower than the usual by this factor is given up and made anew.
const SLOW_FACTOR: f64 = 8.0;
/// An answer that ends early with fewer bytes is a failure.
const MIN_ANSWER_BYTES: u64 = 64 << 10;
/// A server may ask to wait so long before the next try; longer ends the download.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Fetches what `partial` lacks from any of `origins`, which all have it. `show` is told how many bytes are there.
/// The digest of the whole. After an error the file keeps what it has.
pub(super) async fn fetch(
    origins: &[Origin],
    throttles: &[&Throttle],
    patience: &Patience,
    partial: &Partial,
    show: impl FnMut(u64),
) -> Result<Digest, Error> {
    let writer = Writer::start(partial);
    let transfer = Transfer {
        origins,
        throttles,
        patience,
        total: partial.total(),
        state: Mutex::new(State {
            plan: Plan::new(writer.ledger.missing(), patience.cut),
            ranges: Ranges::Unknown,
            target: FIRST_CONNECTIONS.min(patience.max_connections),
            failures: Failures::default(),
            not_before: Instant::now(),
            usual_rate: None,
        }),
        is_dead: origins.iter().map(|_| AtomicBool::new(false)).collect(),
        writer: &writer,
    };
    let fetched = transfer.run(show).await;
    // When the disk has failed, the connections have too, and do not know why.
    let digest = writer.finish().await?;
    fetched?;
    digest.ok_or_else(|| exhausted("the download ended too early"))
}

/// A download under way.
struct Transfer<'a> {
    origins: &'a [Origin],
    throttles: &'a [&'a Throttle],
    patience: &'a Patience,
    total: u64,
    state: Mutex<State>,
    /// The origins that do not have it after all.
    is_dead: Vec<AtomicBool>,
    writer: &'a Writer,
}

struct State {
    plan: Plan,
    ranges: Ranges,
    /// Connections that there should be.
    target: usize,
    failures: Failures,
    /// No request before.
    not_before: Instant,
    /// Bytes per second of one connection that goes well.
    usual_rate: Option<f64>,
}

/// Whether the server knows ranges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Unknown,
    Known,
    Ignored,
}

/// Failures in a row. Connections that fail together have failed once.
#[derive(Default)]
struct Failures {
    n: u32,
    last: Option<(Instant, u64)>,
}

impl Failures {
    /// A request that `began` then has failed, when `n_bytes` were there: how many failures in a row that makes.
    /// `progress` bytes more than the last time begin a new count.
    fn count(&mut self, began: Instant, n_bytes: u64, progress: u64) -> u32 {
        let (at, n_before) = self.last.unwrap_or((began, n_bytes));
        if n_bytes >= n_before.saturating_add(progress) {
            self.n = 0;
        }
        if self.n == 0 || began >= at {
            self.n += 1;
            self.last = Some((Instant::now(), n_bytes));
        }
        self.n
    }
}

/// Why a request has ended early.
enum Trouble {
    Disk,
    Network(Failure),
    /// Others are much faster.
    Slow,
}

impl From<Stopped> for Trouble {
    fn from(_: Stopped) -> Self {
        Self::Disk
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Network(failure)
    }
}

/// What a connection does next.
enum Order {
    Part(FlightId, Span),
    /// Everything that is missing, from a server that knows no ranges.
    All(FlightId),
}

impl Transfer<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, mut show: impl FnMut(u64)) -> Result<(), Error> {
        let ledger = &self.writer.ledger;
        let mut connections = FuturesUnordered::new();
        let mut n_started = 0;
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut growth = Growth::new(ledger.n_written());
        loop {
            for span in ledger.take_lost() {
                self.state().plan.add(span);
            }
            show(ledger.n_written());
            if ledger.is_over() {
                return Ok(());
            }
            let n_wanted = self.n_wanted();
            while connections.len() < n_wanted {
                connections.push(self.connection(n_started));
                n_started += 1;
            }
            tokio::select! {
                Some(ended) = connections.next() => ended?,
                _ = look.tick() => {}
                () = ledger.news.notified() => {}
            }
            let mut state = self.state();
            if state.ranges == Ranges::Known && self.throttles.is_empty() {
                let target = growth.look(state.target, ledger.n_written());
                state.target = target.min(self.patience.max_connections);
            }
        }
    }

    /// How many connections there should be now.
    fn n_wanted(&self) -> usize {
        let state = self.state();
        match state.ranges {
            _ if !state.plan.has_work() => 0,
            Ranges::Known => state.target,
            Ranges::Unknown | Ranges::Ignored => 1,
        }
    }

    /// One connection: request after request until there is nothing left to ask for.
    async fn connection(&self, n_started: usize) -> Result<(), Error> {
        let mut origin = n_started % self.origins.len();
        loop {
            let not_before = self.state().not_before;
            sleep_until(not_before).await;
            let Some(order) = self.order() else {
                return Ok(());
            };
            let began = Instant::now();
            let ended = self.request(&self.origins[origin], order).await;
            match ended {
                Ok(()) => {}
                // The writer knows why.
                Err(Trouble::Disk) => return Ok(()),
                Err(Trouble::Slow) => origin = self.next_origin(origin).unwrap_or(origin),
                Err(Trouble::Network(failure)) => {
                    origin = self.after_failure(failure, began, origin).await?;
                }
            }
        }
    }

    fn order(&self) -> Option<Order> {
        let mut state = self.state();
        match state.ranges {
            Ranges::Ignored => state.plan.take_all().map(Order::All),
            _ => {
                let (id, span) = state.plan.take()?;
                Some(Order::Part(id, span))
            }
        }
    }

    /// The origin to try after `origin`, if any has the blob.
    fn next_origin(&self, origin: usize) -> Option<usize> {
        let n_origins = self.origins.len();
        let mut others = (1..=n_origins).map(|n| (origin + n) % n_origins);
        others.find(|idx| !self.is_dead[*idx].load(Ordering::Relaxed))
    }

    /// Waits as long as a failure asks for; the origin to go on with, or why to give up.
    async fn after_failure(
        &self,
        failure: Failure,
        began: Instant,
        origin: usize,
    ) -> Result<usize, Error> {
        let (error, wait) = match failure {
            Failure::Final(error) => {
                self.is_dead[origin].store(true, Ordering::Relaxed);
                return self.next_origin(origin).ok_or(error);
            }
            Failure::Passing(error) => (error, None),
            Failure::Busy(error, wait) => {
                let mut state = self.state();
                state.target = (state.target / 2).max(1);
                (error, wait)
            }
        };
        let n_failures = {
            let mut state = self.state();
            let n_written = self.writer.ledger.n_written();
            let progress = PROGRESS_BYTES.min(self.patience.cut.part_bytes);
            state.failures.count(began, n_written, progress)
        };
        if n_failures >= self.patience.max_failures {
            return Err(match error {
                Error::RetriesExhausted { .. } => error,
                other => exhausted(&other.to_string()),
            });
        }
        if let Some(wait) = wait {
            if wait > MAX_WAIT {
                let host = self.origins[origin].host();
                return Err(Error::AskedToWait { host, wait });
            }
            let mut state = self.state();
            state.not_before = state.not_before.max(Instant::now() + wait);
        }
        tracing::debug!(%error, n_failures, "trying again");
        self.patience.pause(n_failures).await;
        Ok(self.next_origin(origin).unwrap_or(origin))
    }

    /// One request, until its end or its failure.
    async fn request(&self, origin: &Origin, order: Order) -> Result<(), Trouble> {
        let (id, span, has_part) = match order {
            Order::Part(id, span) => (id, span, true),
            Order::All(id) => (id, 0..self.total, false),
        };
        let is_whole = span == (0..self.total);
        let ended = async {
            let answer = origin.open((!is_whole).then_some(&span)).await;
            let response = match answer {
                Err(Failure::Final(Error::RemoteStatus { status: 416, .. })) => {
                    self.state().ranges = Ranges::Ignored;
                    return Err(passing("it does not know the range that was asked for"));
                }
                answer => answer?,
            };
            if response.status() == StatusCode::PARTIAL_CONTENT && has_part {
                self.check_range(origin, &response, &span)?;
                self.read_part(origin, response, id).await
            } else {
                let too_long = response.content_length().filter(|n| *n > self.total);
                if let Some(n_bytes) = too_long {
                    let host = origin.host();
                    let total = self.total;
                    let reason = format!("a blob has {n_bytes} bytes and not its {total}");
                    let error = Error::Protocol { host, reason };
                    return Err(Trouble::Network(Failure::Final(error)));
                }
                if has_part && is_whole {
                    self.read_part(origin, response, id).await
                } else {
                    self.read_all(origin, response, id).await
                }
            }
        }
        .await;
        self.state().plan.end(id);
        ended
    }

    /// That the server sends what was asked for; then more connections can share the work.
    fn check_range(
        &self,
        origin: &Origin,
        response: &Response,
        span: &Span,
    ) -> Result<(), Trouble> {
        let range = origin.content_range(response);
        if range.is_none_or(|(start, _)| start != span.start) {
            self.state().ranges = Ranges::Ignored;
            return Err(passing("it sent another range than was asked for"));
        }
        if let Some((_, Some(total))) = range
            && total != self.total
        {
            let host = response.url().host_str().unwrap_or_default().to_owned();
            let reason = format!("a blob has {total} bytes and not its {}", self.total);
            let error = Error::Protocol { host, reason };
            return Err(Trouble::Network(Failure::Final(error)));
        }
        let mut state = self.state();
        if state.ranges == Ranges::Unknown {
            state.ranges = Ranges::Known;
            drop(state);
            self.writer.ledger.news.notify_one();
        }
        Ok(())
    }

    /// The body of an answer that begins where `id` begins.
    async fn read_part(
        &self,
        origin: &Origin,
        mut response: Response,
        id: FlightId,
    ) -> Result<(), Trouble> {
        let mut pace = Pace::new();
        let mut n_gained = 0;
        while let Some(mut chunk) = origin.chunk(&mut response).await? {
            self.pass(chunk.len()).await;
            let (at, n_kept) = {
                let mut state = self.state();
                let at = state.plan.at(id);
                (at, state.plan.advance(id, chunk.len() as u64))
            };
            pace.add(n_kept);
            chunk.truncate(n_kept as usize);
            n_gained += n_kept;
            if n_kept > 0 {
                self.writer.write(at, chunk).await?;
            }
            if self.state().plan.is_complete(id) {
                if n_gained >= MIN_ANSWER_BYTES {
                    self.note_rate(pace.rate_so_far());
                }
                return Ok(());
            }
            self.check_pace(&mut pace)?;
        }
        // A server may send less than was asked for, but not next to nothing.
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        if is_part && n_gained >= MIN_ANSWER_BYTES {
            return Ok(());
        }
        Err(passing("the connection ended too early"))
    }

    /// The body of an answer that begins with the first byte, whatever was asked for: what is there is dropped.
    async fn read_all(
        &self,
        origin: &Origin,
        mut response: Response,
        id: FlightId,
    ) -> Result<(), Trouble> {
        {
            let mut state = self.state();
            state.ranges = Ranges::Ignored;
            state.plan.end(id);
        }
        let mut at = 0;
        let mut pace = Pace::new();
        while let Some(chunk) = origin.chunk(&mut response).await? {
            self.pass(chunk.len()).await;
            pace.add(chunk.len() as u64);
            self.check_pace(&mut pace)?;
            let span = at..self.total.min(at + chunk.len() as u64);
            let parts = self.state().plan.claim(&span);
            for part in parts {
                let slice = (part.start - at) as usize..(part.end - at) as usize;
                self.writer.write(part.start, chunk.slice(slice)).await?;
            }
            at = span.end;
            if at == self.total || self.state().plan.is_done() {
                return Ok(());
            }
        }
        Err(passing("the connection ended too early"))
    }

    async fn pass(&self, n_bytes: usize) {
        for throttle in self.throttles {
            throttle.pass(n_bytes as u64).await;
        }
    }

    /// Whether a request goes about as well as others have gone.
    fn check_pace(&self, pace: &mut Pace) -> Result<(), Trouble> {
        let Some(rate) = pace.rate(self.patience.slow_window) else {
            return Ok(());
        };
        if !self.throttles.is_empty() {
            return Ok(());
        }
        if rate < self.patience.min_rate {
            return Err(passing("next to nothing came for some time"));
        }
        let mut state = self.state();
        let usual = state.usual_rate.unwrap_or(rate);
        if rate * SLOW_FACTOR < usual {
            // When the whole line has become slow, this is what it comes down to.
            state.usual_rate = Some(usual / 2.0);
            tracing::debug!(rate, usual, "a connection is slow: asking anew");
            return Err(Trouble::Slow);
        }
        drop(state);
        self.note_rate(rate);
        Ok(())
    }

    fn note_rate(&self, rate: f64) {
        let mut state = self.state();
        let usual = state.usual_rate.unwrap_or(rate);
        state.usual_rate = Some(usual.mul_add(0.75, rate * 0.25));
    }
}

/// Bytes of one request over time.
struct Pace {
    since: Instant,
    n_bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            n_bytes: 0,
        }
    }

    fn add(&mut self, n_bytes: u64) {
        self.n_bytes += n_bytes;
    }

    /// Bytes per second, once in a `window`.
    fn rate(&mut self, window: Duration) -> Option<f64> {
        let elapsed = self.since.elapsed();
        if elapsed < window {
            return None;
        }
        let rate = self.rate_so_far();
        *self = Self::new();
        Some(rate)
    }

    fn rate_so_far(&self) -> f64 {
        self.n_bytes as f64 / self.since.elapsed().as_secs_f64().max(1e-6)
    }
}

/// Adds connections while that makes a download faster.
struct Growth {
    since: Instant,
    n_before: u64,
    /// Bytes per second with fewer connections; `None` once it is known that more do not pay.
    rate: Option<f64>,
}

impl Growth {
    fn new(n_bytes: u64) -> Self {
        Self {
            since: Instant::now(),
            n_before: n_bytes,
            rate: Some(0.0),
        }
    }

    /// How many connections there should be, when there are `target` and `n_bytes` have come.
    fn look(&mut self, target: usize, n_bytes: u64) -> usize {
        let (Some(before), elapsed) = (self.rate, self.since.elapsed()) else {
            return target;
        };
        if elapsed < GROWTH_INTERVAL {
            return target;
        }
        let rate = n_bytes.saturating_sub(self.n_before) as f64 / elapsed.as_secs_f64();
        let pays = rate > before * WORTHWHILE_GROWTH;
        (self.since, self.n_before) = (Instant::now(), n_bytes);
        self.rate = pays.then_some(rate);
        if pays { target + 2 } else { target }
    }
}

fn passing(reason: &str) -> Trouble {
    Trouble::Network(Failure::Passing(exhausted(reason)))
}

fn exhausted(reason: &str) -> Error {
    let reason = reason.to_owned();
    Error::RetriesExhausted { reason }
}

/// The first byte and the total of `Content-Range: bytes 5-9/10`; the total may be `*`.
pub(super) fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
    let (_, total) = rest.split_once('/')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_together_fails_once() {
        let mut failures = Failures::default();
        let began = Instant::now();
        assert_eq!(failures.count(began, 0, 100), 1);
        assert_eq!(failures.count(began, 0, 100), 1, "at the same time");
        assert_eq!(failures.count(Instant::now(), 99, 100), 2);
        assert_eq!(failures.count(Instant::now(), 300, 100), 1);
        assert_eq!(failures.count(Instant::now(), 300, 100), 2);
    }

    #[test]
    fn connections_are_added_while_they_pay() {
        let mut growth = Growth::new(0);
        let mut look = |target, rate: f64, n_bytes: &mut u64| {
            growth.since = Instant::now() - GROWTH_INTERVAL;
            *n_bytes += (rate * GROWTH_INTERVAL.as_secs_f64()) as u64;
            growth.look(target, *n_bytes)
        };
        let mut n_bytes = 0;
        assert_eq!(look(4, 1e6, &mut n_bytes), 6);
        assert_eq!(look(6, 1.4e6, &mut n_bytes), 8);
        assert_eq!(look(8, 1.5e6, &mut n_bytes), 8);
        assert_eq!(look(8, 9e6, &mut n_bytes), 8, "settled");
    }
}
