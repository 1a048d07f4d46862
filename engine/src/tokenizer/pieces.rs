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
    /// The strings in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.ends.len() as u32).map(|idx| self.get(idx))
    }
    /// Forgets all strings and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
    /// Number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Bytes of a string that its slot holds.
const HEAD_BYTES: usize = 11;
/// A slot without a string.
const EMPTY: u128 = 0;

/// Byte string → id, for a chosen part of some [`Pieces`]. Open addressing, at most half full.
///
/// A slot holds the beginning of its string beside the id, which is all of it nine times out of ten: a look-up then
/// waits for one place in memory rather than for three. Many look-ups together wait at the same time.
#[derive(Debug)]
pub(super) struct PieceIndex {
    slots: Vec<u128>,
    longest: usize,
    hash: RandomState,
    /// Whether each string is one of the index; empty when two of them are equal.
    members: Vec<bool>,
}

/// The slot of `text` with the id 0: first bytes, length, and 32 bits for the id. Never [`EMPTY`] for a text that is not
/// empty.
fn slot_of(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let n_head = text.len().min(HEAD_BYTES);
    bytes[..n_head].copy_from_slice(&text[..n_head]);
    bytes[HEAD_BYTES] = text.len().min(255) as u8;
    u128::from_le_bytes(bytes)
}

/// How many look-ups wait for memory at the same time.
pub(super) const BATCH: usize = 64;
/// Where in a slot the id begins.
const ID_BIT: u32 = 96;

fn id_in(slot: u128) -> u32 {
    (slot >> ID_BIT) as u32
}

impl PieceIndex {
    /// Indexes the strings of `pieces` whose ids `wanted` yields. Of equal strings the first wins; empty ones are left out.
    pub(super) fn new(pieces: &Pieces, wanted: impl Iterator<Item = u32>) -> Self {
        let n_slots = (pieces.len() + pieces.len() / 4 + 1).next_power_of_two();
        let mut index = Self {
            slots: vec![EMPTY; n_slots],
            longest: 0,
            hash: RandomState::new(),
            members: vec![false; pieces.len()],
        };
        let mut has_equal = false;
        let mut wanted = wanted.filter(|&id| !pieces.get(id).is_empty());
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            batch.extend(wanted.by_ref().take(BATCH));
            if batch.is_empty() {
                break;
            }
            let places = index.places(batch.iter().map(|&id| pieces.get(id)));
            for (&id, place) in batch.iter().zip(places) {
                let piece = pieces.get(id);
                index.longest = index.longest.max(piece.len());
                match index.find(place, pieces, piece) {
                    Ok(_) => has_equal = true,
                    Err(place) => {
                        index.slots[place] = slot_of(piece) | u128::from(id) << ID_BIT;
                        index.members[id as usize] = true;
                    }
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
        self.find(self.place(text), pieces, text).ok()
    }
    /// The ids of `texts`, best some [`BATCH`] of them.
    pub(super) fn get_all<'t>(
        &self,
        pieces: &Pieces,
        texts: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> impl Iterator<Item = Option<u32>> {
        let places = self.places(texts.clone());
        places
            .into_iter()
            .zip(texts)
            .map(|(place, text)| self.find(place, pieces, text).ok())
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
    /// Where to begin to look for `text`.
    fn place(&self, text: &[u8]) -> usize {
        let mut hasher = self.hash.build_hasher();
        hasher.write(text);
        hasher.finish() as usize & (self.slots.len() - 1)
    }
    /// Where to begin to look for each of `texts`; the slots are in the cache then.
    fn places<'t>(&self, texts: impl Iterator<Item = &'t [u8]>) -> Vec<usize> {
        let places: Vec<usize> = texts.map(|text| self.place(text)).collect();
        // none of these loads needs another's result, so the processor has them all on the way at once
        let loaded = places.iter().fold(0, |all, &place| all ^ self.slots[place]);
        std::hint::black_box(loaded);
        places
    }
    /// The id of `text`, or the free place where it would go, from `place` on. Ends because at least a fifth of the slots
    /// are free.
    fn find(&self, mut place: usize, pieces: &Pieces, text: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let wanted = slot_of(text);
        let is_whole = text.len() <= HEAD_BYTES;
        loop {
            match self.slots[place] {
                EMPTY => return Err(place),
                slot if (slot ^ wanted) << (128 - ID_BIT) == 0 => {
                    let id = id_in(slot);
                    if is_whole || pieces.get(id) == text {
                        return Ok(id);
                    }
                }
                _ => {}
            }
            place = (place + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Texts that agree in their first bytes, in their lengths up to what a slot can count, or in everything.
    fn texts() -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(11);
        let mut texts = vec![Vec::new(), b"\0".to_vec(), b"\0\0".to_vec()];
        for len in [1, 10, 11, 12, 13, 254, 255, 256, 300] {
            for _ in 0..40 {
                let mut text = vec![b'a'; len];
                text[len - 1 - random.usize(..len.min(3))] = random.u8(b'a'..b'd');
                texts.push(text);
            }
        }
        texts
    }

    #[test]
    fn the_first_of_equal_texts_is_found_and_nothing_else() {
        let texts = texts();
        let mut pieces = Pieces::default();
        texts.iter().for_each(|text| pieces.push(text));
        // a fifth of them is left out
        let wanted = (0..texts.len() as u32).filter(|id| id % 5 != 0);
        let index = PieceIndex::new(&pieces, wanted.clone());
        let mut expected: HashMap<&[u8], u32> = HashMap::new();
        for id in wanted.filter(|&id| !pieces.get(id).is_empty()) {
            expected.entry(pieces.get(id)).or_insert(id);
        }
        assert!(expected.len() > 50 && expected.len() < texts.len() / 2);
        let known = texts.iter().map(Vec::as_slice);
        let found: Vec<_> = index.get_all(&pieces, known.clone()).collect();
        for (text, found) in known.zip(found) {
            assert_eq!(found, expected.get(text).copied(), "{text:?}");
            assert_eq!(index.get(&pieces, text), found);
            assert_eq!(index.get_near(&pieces, text, 7), found);
        }
        for unknown in [&b"x"[..], &[b'a'; 400], b"aaaaaaaaaaaxa"] {
            assert_eq!(index.get(&pieces, unknown), None);
        }
    }
}
