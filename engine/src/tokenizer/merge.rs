//! The merge loop that both BPE kinds share: join the best adjacent pair until none is left.
//!
//! A binary heap holds one entry per pair that was ever possible; entries that a later merge made stale are recognised
//! when they surface, because the symbol on their left no longer has that priority. O(n log n), whatever the text.
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A run of bytes of the word, joined so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// What it is; the meaning belongs to the caller.
    pub(super) id: u32,
    /// First byte in the word.
    pub(super) start: u32,
    /// Byte after the last.
    pub(super) end: u32,
    previous: u32,
    next: u32,
    /// Priority of joining with `next`; 0 is impossible (or this symbol was swallowed).
    priority: u32,
    /// What joining with `next` gives.
    joined_id: u32,
}

/// A possible join.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    /// Greater goes first, at equal priority the leftmost; never 0.
    pub(super) priority: u32,
    /// The id of the joined symbol.
    pub(super) id: u32,
}

/// Working memory of the loop, reused from word to word.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// Priority in the upper half, the complement of the left symbol's place in the lower.
    heap: BinaryHeap<u64>,
}

impl Merger {
    /// Forgets the previous word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }
    /// Adds a symbol that reaches from the end of the previous one to `end`.
    pub(super) fn push(&mut self, id: u32, end: u32) {
        let place = self.symbols.len() as u32;
        let (start, previous) = match self.symbols.last_mut() {
            Some(last) => {
                last.next = place;
                (last.end, place - 1)
            }
            None => (0, NONE),
        };
        self.symbols.push(Symbol {
            id,
            start,
            end,
            previous,
            next: NONE,
            priority: 0,
            joined_id: 0,
        });
    }
    /// Joins pairs until `join` allows none.
    pub(super) fn merge(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        for left in 0..self.symbols.len() {
            self.consider(left, &join);
        }
        while let Some(entry) = self.heap.pop() {
            let left = !(entry as u32) as usize;
            let symbol = self.symbols[left];
            if symbol.priority != (entry >> 32) as u32 {
                continue; // stale
            }
            let swallowed = &mut self.symbols[symbol.next as usize];
            swallowed.priority = 0;
            let (end, next) = (swallowed.end, swallowed.next);
            self.symbols[left] = Symbol {
                id: symbol.joined_id,
                end,
                next,
                ..symbol
            };
            if next != NONE {
                self.symbols[next as usize].previous = left as u32;
            }
            self.consider(left, &join);
            if symbol.previous != NONE {
                self.consider(symbol.previous as usize, &join);
            }
        }
    }
    /// The symbols that are left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        let mut at = self.symbols.first();
        std::iter::from_fn(move || {
            let symbol = at?;
            at = self.symbols.get(symbol.next as usize);
            Some(symbol)
        })
    }
    fn consider(&mut self, left: usize, join: &impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        let symbol = self.symbols[left];
        let found = self
            .symbols
            .get(symbol.next as usize)
            .and_then(|right| join(&symbol, right));
        let symbol = &mut self.symbols[left];
        symbol.priority = 0;
        if let Some(found) = found {
            symbol.priority = found.priority;
            symbol.joined_id = found.id;
            self.heap
                .push((u64::from(found.priority) << 32) | u64::from(!(left as u32)));
        }
    }
}
