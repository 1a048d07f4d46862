//! The merges of a BPE vocabulary by id: which two symbols join, how early, and into what.
//!
//! A merge may pass through a text that has no token of its own; such texts get ids after the vocabulary's end. The maps
//! have the standard library's keyed hash: a file could choose pairs that collide under a fixed one.
use super::TokenizerError;
use super::merge::Join;
use super::pieces::{PieceIndex, Pieces};
use std::collections::HashMap;

/// Pair of symbols → how it joins.
#[derive(Debug)]
pub(super) struct Joins {
    /// The left one in the upper half.
    pairs: HashMap<u64, Join>,
}

/// Hands out symbol ids: the token's where there is one, else one after the vocabulary's end.
pub(super) struct Symbols<'v> {
    pub(super) bytes: &'v Pieces,
    pub(super) words: &'v PieceIndex,
    pub(super) unlisted: HashMap<Vec<u8>, u32>,
}

impl Symbols<'_> {
    /// The id of what `text` stands for.
    pub(super) fn id_of(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = self.words.get(self.bytes, text) {
            return id;
        }
        if let Some(&id) = self.unlisted.get(text) {
            return id;
        }
        // vocabulary and merges are arrays of a file in memory; together they cannot reach 2³²
        let id = (self.bytes.len() + self.unlisted.len()) as u32;
        self.unlisted.insert(text.to_vec(), id);
        id
    }
}

impl Joins {
    /// Reads `left right` lines; the place in the list is the rank, and of equal pairs the first counts. `decode_into`
    /// replaces its second argument by what a text stands for, and says whether words can have it.
    ///
    /// # Errors
    /// A merge that is not two texts.
    pub(super) fn read(
        merges: &[&[u8]],
        decode_into: impl Fn(&[u8], &mut Vec<u8>) -> bool,
        symbols: &mut Symbols<'_>,
    ) -> Result<Self, TokenizerError> {
        let mut pairs = HashMap::with_capacity(merges.len());
        let (mut left, mut both) = (Vec::new(), Vec::new());
        for (rank, merge) in (0u32..u32::MAX).zip(merges) {
            // a text is never empty, so a space at the very front belongs to the left one
            let space = merge.iter().skip(1).position(|&byte| byte == b' ');
            let Some(space) = space.map(|at| at + 1).filter(|&at| at + 1 < merge.len()) else {
                return Err(TokenizerError::Vocabulary {
                    problem: format!(
                        "its merge {rank} `{}` is not two texts",
                        String::from_utf8_lossy(merge).escape_debug()
                    ),
                });
            };
            let (left_text, right_text) = (&merge[..space], &merge[space + 1..]);
            if !(decode_into(left_text, &mut left) && decode_into(right_text, &mut both)) {
                continue; // no word has such a character
            }
            let left_id = symbols.id_of(&left);
            let right_id = symbols.id_of(&both);
            both.splice(0..0, left.iter().copied());
            let id = symbols.id_of(&both);
            let priority = u32::MAX - rank;
            pairs
                .entry(pair(left_id, right_id))
                .or_insert(Join { priority, id });
        }
        Ok(Self { pairs })
    }

    /// How the two symbols join, if they do.
    pub(super) fn of(&self, left: u32, right: u32) -> Option<Join> {
        self.pairs.get(&pair(left, right)).copied()
    }
}

fn pair(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}
