//! Byte strings in one allocation, and a hash index over them.
//!
//! A vocabulary has up to a quarter of a million texts of a few bytes: one arena and one table of ids load several
//! times faster than a map of owned strings. [`PieceIndex`] stores ids only and compares against the arena. Its hash is
//! keyed anew for each index: a file could choose texts that collide under any fixed one.
use std::hash::{BuildHasher, Hasher, RandomState};

/// Byte strings, numbered from 0 in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Pieces {
    /// Room for `n_pieces` strings of `n_bytes` in total.
    pub(super) fn with_capacity(n_pieces: usize, n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
            ends: Vec::with_capacity(n_pieces),
        }
    }
    /// Appends one string.
    pub(super) fn push(&mut self, piece: &[u8]) {
        // what lies beyond 4 GiB is cut off: no vocabulary is near that
        let room = u32::MAX as usize - self.bytes.len();
        self.bytes
            .extend_from_slice(&piece[..piece.len().min(room)]);
        self.ends.push(self.bytes.len() as u32);
    }
    /// The string with number `idx`; empty when there is none.
    pub(super) fn get(&self, idx: u32) -> &[u8] {
        let idx = idx as usize;
        let Some(&end) = self.ends.get(idx) else {
            return &[];
        };
        let start = idx.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }
    /// Number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

const EMPTY: u32 = u32::MAX;

/// Byte string → id, for a chosen part of some [`Pieces`]. Open addressing, at most half full.
#[derive(Debug)]
pub(super) struct PieceIndex {
    slots: Vec<u32>,
    longest: usize,
    hash: RandomState,
    /// Whether each string is one of the index; empty when two of them are equal.
    members: Vec<bool>,
}

impl PieceIndex {
    /// Indexes the strings of `pieces` whose ids `wanted` yields. Of equal strings the first wins; empty ones are left out.
    pub(super) fn new(pieces: &Pieces, wanted: impl Iterator<Item = u32>) -> Self {
        let n_slots = (pieces.len() * 2).next_power_of_two().max(2);
        let mut index = Self {
            slots: vec![EMPTY; n_slots],
            longest: 0,
            hash: RandomState::new(),
            members: vec![false; pieces.len()],
        };
        let mut has_equal = false;
        for id in wanted {
            let piece = pieces.get(id);
            if piece.is_empty() {
                continue;
            }
            index.longest = index.longest.max(piece.len());
            match index.find(pieces, piece) {
                Ok(_) => has_equal = true,
                Err(slot) => {
                    index.slots[slot] = id;
                    index.members[id as usize] = true;
                }
            }
        }
        if has_equal {
            index.members.clear();
        }
        index
    }
    /// The id of `text`.
    pub(super) fn get(&self, pieces: &Pieces, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        self.find(pieces, text).ok()
    }
    /// As [`PieceIndex::get`], quicker when it is `guess` or the one after.
    pub(super) fn get_near(&self, pieces: &Pieces, text: &[u8], guess: u32) -> Option<u32> {
        for id in [guess, guess.saturating_add(1)] {
            let is_member = self.members.get(id as usize).copied().unwrap_or(false);
            if is_member && pieces.get(id) == text {
                return Some(id);
            }
        }
        self.get(pieces, text)
    }
    /// The id of `text`, or the free slot where it would go. Ends because at least half of the slots are free.
    fn find(&self, pieces: &Pieces, text: &[u8]) -> Result<u32, usize> {
        let mut hasher = self.hash.build_hasher();
        hasher.write(text);
        let mask = self.slots.len() - 1;
        let mut slot = hasher.finish() as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return Err(slot),
                id if pieces.get(id) == text => return Ok(id),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}
