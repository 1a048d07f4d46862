//! Sets of characters, as ranges of code points; each set has a number, and equal sets the same one.

use rustc_hash::FxHashMap;

pub(super) type SetId = usize;

/// Ranges in order, first and last code point each, none of which touch.
pub(super) type Ranges = Vec<(u32, u32)>;

const LAST: u32 = char::MAX as u32;
/// Halves of pairs in UTF-16, which are no characters.
const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// All sets of a grammar.
#[derive(Debug, Default)]
pub(super) struct Sets {
    all: Vec<Ranges>,
    numbers: FxHashMap<Ranges, SetId>,
}

impl Sets {
    /// The set of these ranges, in any order, or of all characters but them.
    pub(super) fn add(&mut self, mut ranges: Ranges, is_negated: bool) -> SetId {
        if is_negated {
            ranges.push(SURROGATES);
        }
        let mut ranges = merged(ranges);
        ranges = match is_negated {
            true => others(&ranges),
            false => without_surrogates(&ranges),
        };
        *self.numbers.entry(ranges).or_insert_with_key(|ranges| {
            self.all.push(ranges.clone());
            self.all.len() - 1
        })
    }

    pub(super) fn ranges(&self, set: SetId) -> &Ranges {
        &self.all[set]
    }

    /// Whether a character is in both.
    pub(super) fn meet(&self, a: SetId, b: SetId) -> bool {
        let (mut a, mut b) = (&*self.all[a], &*self.all[b]);
        while let ([(a0, a1), a_rest @ ..], [(b0, b1), b_rest @ ..]) = (a, b) {
            if a0 <= b1 && b0 <= a1 {
                return true;
            }
            match a1 < b1 {
                true => a = a_rest,
                false => b = b_rest,
            }
        }
        false
    }
}

fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut merged: Ranges = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What lies between ranges in order.
fn others(ranges: &[(u32, u32)]) -> Ranges {
    let mut others = Ranges::new();
    let mut next = 0;
    for &(first, last) in ranges {
        if first > next {
            others.push((next, first - 1));
        }
        next = last.saturating_add(1);
    }
    if next <= LAST {
        others.push((next, LAST));
    }
    others
}

fn without_surrogates(ranges: &[(u32, u32)]) -> Ranges {
    let mut kept = Ranges::new();
    for &(first, last) in ranges {
        let (low, high) = SURROGATES;
        if first < low {
            kept.push((first, last.min(low - 1)));
        }
        if last > high {
            kept.push((first.max(high + 1), last));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_ranges_in_order_without_surrogates() {
        let mut sets = Sets::default();
        let a = sets.add(vec![(98, 99), (97, 97), (0xD700, 0xE001)], false);
        assert_eq!(
            *sets.ranges(a),
            [(97, 99), (0xD700, 0xD7FF), (0xE000, 0xE001)]
        );
        let others = sets.add(vec![(97, 99), (0xD700, 0xE001)], true);
        assert_eq!(
            *sets.ranges(others),
            [(0, 96), (100, 0xD6FF), (0xE002, LAST)]
        );
        assert!(!sets.meet(a, others));
        let all = sets.add(vec![], true);
        assert_eq!(*sets.ranges(all), [(0, 0xD7FF), (0xE000, LAST)]);
        assert!(sets.meet(a, all) && sets.meet(all, others));
        assert_eq!(sets.add(vec![(0, LAST)], false), all);
        let edge = sets.add(vec![(96, 96)], false);
        assert!(sets.meet(edge, others) && !sets.meet(edge, a));
    }
}
