//! Which connection fetches which bytes: parts from the front, and at the end halves of what others still have to do.
use super::spans::{Span, Spans};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How a blob is cut into parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Bytes of one request.
    pub(super) part_bytes: u64,
    /// What a connection has left is shared with an idle one from twice so many bytes on.
    pub(super) min_share_bytes: u64,
    /// And only when it would take the connection so long: what is under way already is sent in vain.
    pub(super) min_share_time: Duration,
}

/// A request under way.
#[derive(Debug)]
struct Flight {
    start: u64,
    began: Instant,
    /// The next byte to come.
    at: u64,
    /// Where it ends; becomes less when another takes over the rest.
    end: u64,
}

impl Flight {
    fn rest(&self) -> u64 {
        self.end - self.at
    }

    /// How long the rest takes if it goes on like this.
    fn time_left(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let per_byte = elapsed.as_secs_f64() / (self.at - self.start).max(1) as f64;
        Duration::try_from_secs_f64(per_byte * self.rest() as f64).unwrap_or(Duration::MAX)
    }
}

/// Names a request under way.
pub(super) type FlightId = u64;

/// What is to be fetched, and by whom.
#[derive(Debug)]
pub(super) struct Plan {
    cut: Cut,
    /// What nobody fetches yet.
    missing: Spans,
    flights: BTreeMap<FlightId, Flight>,
    next_id: FlightId,
}

impl Plan {
    /// To fetch `missing`.
    pub(super) fn new(missing: Spans, cut: Cut) -> Self {
        Self {
            cut,
            missing,
            flights: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Adds bytes that turned out to be missing.
    pub(super) fn add(&mut self, span: Span) {
        self.missing.insert(span);
    }

    /// Whether nothing is to be done and nobody does anything.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty() && self.flights.is_empty()
    }

    /// Whether [`Self::take`] would give something.
    pub(super) fn has_work(&self) -> bool {
        !self.missing.is_empty() || self.largest().is_some()
    }

    fn largest(&self) -> Option<FlightId> {
        let (id, flight) = self
            .flights
            .iter()
            .max_by_key(|(_, flight)| flight.rest())?;
        let is_long = flight.rest() >= 2 * self.cut.min_share_bytes;
        (is_long && flight.time_left() >= self.cut.min_share_time).then_some(*id)
    }

    /// The next part for an idle connection: the first missing bytes, else the second half of the longest request.
    pub(super) fn take(&mut self) -> Option<(FlightId, Span)> {
        let span = match self.missing.first() {
            Some(first) => {
                let span = first.start..first.end.min(first.start + self.cut.part_bytes);
                self.missing.remove(&span);
                span
            }
            None => {
                let id = self.largest()?;
                let flight = self.flights.get_mut(&id)?;
                let middle = flight.at + (flight.end - flight.at) / 2;
                let span = middle..flight.end;
                flight.end = middle;
                span
            }
        };
        Some((self.begin(&span), span))
    }

    /// Everything that is missing, for the one connection to a server that knows no ranges; from the first byte missing
    /// to the last.
    pub(super) fn take_all(&mut self) -> Option<FlightId> {
        let first = self.missing.first()?;
        (self.flights.is_empty()).then(|| self.begin(&(first.start..first.start)))
    }

    fn begin(&mut self, span: &Span) -> FlightId {
        let id = self.next_id;
        self.next_id += 1;
        let flight = Flight {
            start: span.start,
            began: Instant::now(),
            at: span.start,
            end: span.end,
        };
        self.flights.insert(id, flight);
        id
    }

    /// `n_bytes` came for `id`: how many of them it may keep.
    pub(super) fn advance(&mut self, id: FlightId, n_bytes: u64) -> u64 {
        let Some(flight) = self.flights.get_mut(&id) else {
            return 0;
        };
        let n_kept = n_bytes.min(flight.end - flight.at);
        flight.at += n_kept;
        n_kept
    }

    /// The parts of `span` that are missing, which the one connection to a server that knows no ranges fetches now.
    pub(super) fn claim(&mut self, span: &Span) -> Vec<Span> {
        let parts = self.missing.within(span);
        for part in &parts {
            self.missing.remove(part);
        }
        parts
    }

    /// Whether `id` has nothing left to fetch.
    pub(super) fn is_complete(&self, id: FlightId) -> bool {
        let flight = self.flights.get(&id);
        flight.is_none_or(|flight| flight.at >= flight.end)
    }

    /// `id` ends, complete or not; what it has not fetched is missing again.
    pub(super) fn end(&mut self, id: FlightId) {
        if let Some(flight) = self.flights.remove(&id) {
            self.missing.insert(flight.at..flight.end);
        }
    }

    /// The next byte to come for `id`.
    pub(super) fn at(&self, id: FlightId) -> u64 {
        self.flights.get(&id).map_or(0, |flight| flight.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut {
        part_bytes: 100,
        min_share_bytes: 10,
        min_share_time: Duration::ZERO,
    };

    #[test]
    fn parts_go_from_the_front_and_rests_are_shared() {
        let mut plan = Plan::new(Spans::all(250), CUT);
        let (a, span) = plan.take().unwrap();
        assert_eq!(span, 0..100);
        let (b, span) = plan.take().unwrap();
        assert_eq!(span, 100..200);
        let (c, span) = plan.take().unwrap();
        assert_eq!(span, 200..250);
        assert_eq!(plan.advance(a, 80), 80);
        assert_eq!(plan.advance(c, 50), 50);
        plan.end(c);
        // The longest rest is that of `b`.
        let (d, span) = plan.take().unwrap();
        assert_eq!(span, 150..200);
        assert_eq!(plan.advance(b, 60), 50, "no byte is fetched twice");
        assert!(plan.is_complete(b) && !plan.is_complete(d));
        plan.end(b);
        plan.end(d);
        assert_eq!(plan.take().unwrap().1, 150..200, "what was given up");
        let (_, span) = plan.take().unwrap();
        assert_eq!(span, 175..200);
        assert!(!plan.is_done());
    }

    /// Whatever breaks, each byte is handed out until it has come, and comes once.
    #[test]
    fn every_byte_comes_once() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let total = random.u64(1..3000);
            let mut plan = Plan::new(Spans::all(total), CUT);
            let mut came = vec![0_u8; total as usize];
            let mut flights: Vec<(FlightId, u64)> = Vec::new();
            while !plan.is_done() {
                assert_eq!(plan.has_work(), {
                    let missing = !plan.missing.is_empty();
                    missing || plan.largest().is_some()
                });
                if flights.len() < 5
                    && let Some((id, span)) = plan.take()
                {
                    flights.push((id, span.start));
                }
                let idx = random.usize(..flights.len());
                let (id, at) = &mut flights[idx];
                let n_kept = plan.advance(*id, random.u64(..60));
                for byte in *at..*at + n_kept {
                    came[byte as usize] += 1;
                }
                *at += n_kept;
                if plan.is_complete(*id) || random.u8(..8) == 0 {
                    plan.end(*id);
                    flights.remove(idx);
                }
            }
            assert!(came.iter().all(|n| *n == 1));
        }
    }
}
