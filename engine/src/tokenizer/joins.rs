//! The merges of a BPE vocabulary by id: which two symbols join, how early, and into what.
//!
//! A merge may pass through a text that has no token of its own; such texts get ids after the vocabulary's end. Merges
//! are kept sorted by their left and then their right symbol: half a million of them are built and held in less time and
//! memory than a hash map takes, and no file can choose pairs that collide.
use super::TokenizerError;
use super::merge::Join;
use super::pieces::{PieceIndex, Pieces};
use std::collections::HashMap;

/// Pair of symbols → how it joins.
#[derive(Debug)]
pub(super) struct Joins {
    /// Where in `rights` the merges of each left symbol begin; one more at the end.
    starts: Vec<u32>,
    /// Sorted by symbol within each left one's part.
    rights: Vec<Right>,
}

/// The right half of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    symbol: u32,
    /// Its place in the list.
    rank: u32,
    joined: u32,
}

/// Hands out symbol ids: the token's where there is one, else one after the vocabulary's end.
pub(super) struct Symbols<'v> {
    pub(super) bytes: &'v Pieces,
    pub(super) words: &'v PieceIndex,
    pub(super) unlisted: HashMap<Vec<u8>, u32>,
}

impl Symbols<'_> {
    /// The id of what `text` stands for; `guess` is looked at first.
    fn id_of(&mut self, text: &[u8], guess: u32) -> u32 {
        if let Some(id) = self.words.get_near(self.bytes, text, guess) {
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
    /// The id of a single byte.
    pub(super) fn id_of_byte(&mut self, byte: u8) -> u32 {
        self.id_of(&[byte], u32::MAX)
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
        let mut joins: Vec<(u32, Right)> = Vec::with_capacity(merges.len());
        let (mut left, mut both) = (Vec::new(), Vec::new());
        let mut joined = 0;
        for (rank, merge) in (0u32..u32::MAX).zip(merges) {
            // a text is never empty, so a space at the very front belongs to the left one
            let space = merge.iter().skip(1).position(|&byte| byte == b' ');
            let Some(space) = space.map(|at| at + 1).filter(|&at| at + 1 < merge.len()) else {
                return Err(TokenizerError::Vocabulary {
                    problem: format!(
                        "its merge {rank} `{}` is not two texts",
                        slm_gguf::shown(&String::from_utf8_lossy(merge))
                    ),
                });
            };
            let (left_text, right_text) = (&merge[..space], &merge[space + 1..]);
            if !(decode_into(left_text, &mut left) && decode_into(right_text, &mut both)) {
                continue; // no word has such a character
            }
            let left_symbol = symbols.id_of(&left, u32::MAX);
            let symbol = symbols.id_of(&both, u32::MAX);
            both.splice(0..0, left.iter().copied());
            // most vocabularies list what merges give in the order of the merges
            joined = symbols.id_of(&both, joined);
            let right = Right {
                symbol,
                rank,
                joined,
            };
            joins.push((left_symbol, right));
        }
        Ok(Self::sorted(
            &joins,
            symbols.bytes.len() + symbols.unlisted.len(),
        ))
    }

    fn sorted(joins: &[(u32, Right)], n_symbols: usize) -> Self {
        let mut starts = vec![0; n_symbols + 1];
        for (left, _) in joins {
            starts[*left as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut rights = vec![Right::default(); joins.len()];
        let mut next = starts.clone();
        for (left, right) in joins {
            let place = &mut next[*left as usize];
            rights[*place as usize] = *right;
            *place += 1;
        }
        for part in starts.windows(2) {
            rights[part[0] as usize..part[1] as usize].sort_unstable();
        }
        Self { starts, rights }
    }

    /// How the two symbols join, if they do.
    pub(super) fn of(&self, left: u32, right: u32) -> Option<Join> {
        let left = left as usize;
        let (start, end) = (*self.starts.get(left)?, *self.starts.get(left + 1)?);
        let rights = &self.rights[start as usize..end as usize];
        let found = rights.get(rights.partition_point(|r| r.symbol < right))?;
        (found.symbol == right).then_some(Join {
            priority: u32::MAX - found.rank,
            id: found.joined,
        })
    }
}
