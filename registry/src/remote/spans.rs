//! Sets of byte ranges: what is there, what is missing.
use std::{collections::BTreeMap, ops::Range};

/// The bytes from `start` up to but not including `end`.
pub(super) type Span = Range<u64>;

/// A set of bytes. Its spans do not overlap or touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// All bytes of a blob of `total` bytes.
    pub(super) fn all(total: u64) -> Self {
        let mut all = Self::default();
        all.insert(0..total);
        all
    }

    /// Adds `span`.
    pub(super) fn insert(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        let Span { mut start, mut end } = span;
        let before = self.0.range(..=start).next_back();
        if let Some((&its_start, &its_end)) = before
            && its_end >= start
        {
            start = its_start;
            end = end.max(its_end);
        }
        while let Some((&its_start, &its_end)) = self.0.range(start..=end).next() {
            self.0.remove(&its_start);
            end = end.max(its_end);
        }
        self.0.insert(start, end);
    }

    /// Takes `span` away.
    pub(super) fn remove(&mut self, span: &Span) {
        for part in self.within(span) {
            let around = self.0.range(..=part.start).next_back();
            let (&start, &end) = around.expect("`within` gives parts of spans that are there");
            self.0.remove(&start);
            for rest in [start..part.start, part.end..end] {
                if !rest.is_empty() {
                    self.0.insert(rest.start, rest.end);
                }
            }
        }
    }

    /// The parts of `span` that are in the set, in order.
    pub(super) fn within(&self, span: &Span) -> Vec<Span> {
        let before = self.0.range(..=span.start).next_back();
        let first = before.map_or(span.start, |(start, _)| *start);
        let spans = self.0.range(first..span.end.max(first));
        let parts = spans.map(|(start, end)| span.start.max(*start)..span.end.min(*end));
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Where the bytes end that follow `at` without a gap; `at` itself when that byte is not in the set.
    pub(super) fn end_from(&self, at: u64) -> u64 {
        let around = self.0.range(..=at).next_back();
        around.map_or(at, |(_, end)| at.max(*end))
    }

    /// The lowest span.
    pub(super) fn first(&self) -> Option<Span> {
        self.0.iter().next().map(|(start, end)| *start..*end)
    }

    /// What a blob of `total` bytes has beside this set.
    pub(super) fn gaps(&self, total: u64) -> Self {
        let mut gaps = Self::all(total);
        for (start, end) in &self.0 {
            gaps.remove(&(*start..*end));
        }
        gaps
    }

    /// How many bytes are in the set.
    pub(super) fn n_bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether nothing is in the set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a list of booleans, over random operations.
    #[test]
    fn a_set_of_spans_is_a_set_of_bytes() {
        const TOTAL: u64 = 40;
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            let mut spans = Spans::default();
            let mut bytes = [false; TOTAL as usize];
            for _ in 0..30 {
                let start = random.u64(..TOTAL);
                let span = start..random.u64(start..=TOTAL);
                let (from, to) = (span.start as usize, span.end as usize);
                if random.bool() {
                    spans.insert(span);
                    bytes[from..to].fill(true);
                } else {
                    spans.remove(&span);
                    bytes[from..to].fill(false);
                }
                let starts: Vec<(u64, u64)> = spans.0.clone().into_iter().collect();
                assert!(
                    starts.windows(2).all(|two| two[0].1 < two[1].0),
                    "{spans:?}"
                );
                assert!(starts.iter().all(|(start, end)| start < end), "{spans:?}");
                assert_eq!(spans.n_bytes(), bytes.iter().filter(|b| **b).count() as u64);
                let gaps = spans.gaps(TOTAL);
                for at in 0..TOTAL {
                    let is_in = !spans.within(&(at..at + 1)).is_empty();
                    assert_eq!(is_in, bytes[at as usize], "{at} of {spans:?}");
                    assert_ne!(is_in, !gaps.within(&(at..at + 1)).is_empty());
                    let run = bytes[at as usize..].iter().take_while(|b| **b).count() as u64;
                    assert_eq!(spans.end_from(at), at + run);
                }
                let first = bytes.iter().position(|b| *b).map(|at| at as u64);
                assert_eq!(spans.first().map(|span| span.start), first);
                assert_eq!(spans.is_empty(), first.is_none());
            }
        }
    }
}
