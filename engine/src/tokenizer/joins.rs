//! The merges of a BPE vocabulary by id: which two symbols join, how early, and into what.
//!
//! A merge may pass through a text that has no token of its own; such texts get ids after the vocabulary's end. Merges
//! are kept sorted by their left and then their right symbol: half a million of them are built and held in less time and
//! memory than a hash map takes, and no file can choose pairs that collide.
use super::TokenizerError;
use super::merge::Join;
use super::pieces::{BATCH, PieceIndex, Pieces};
use std::collections::HashMap;
use std::thread;

/// Fewest merges that are worth a thread of their own: some ten milliseconds of work.
const MIN_PER_THREAD: usize = 64 << 10;
/// Most threads that read merges.
const MAX_THREADS: usize = 4;
/// In place of a symbol: the text is no token.
const UNLISTED: u32 = u32::MAX;

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
    /// The id of what `text` stands for.
    fn id_of(&mut self, text: &[u8]) -> u32 {
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
    /// The id of a single byte.
    pub(super) fn id_of_byte(&mut self, byte: u8) -> u32 {
        self.id_of(&[byte])
    }
}

impl Joins {
    /// Reads `left right` lines; the place in the list is the rank, and of equal pairs the first counts. `decode_into`
    /// replaces its second argument by what a text stands for, and says whether words can have it.
    ///
    /// Texts that are tokens, which nearly all are, are looked up by several threads; the others get their ids after.
    ///
    /// # Errors
    /// A merge that is not two texts.
    pub(super) fn read(
        merges: &[&[u8]],
        decode_into: impl Fn(&[u8], &mut Vec<u8>) -> bool + Sync,
        symbols: &mut Symbols<'_>,
    ) -> Result<Self, TokenizerError> {
        let (bytes, words) = (symbols.bytes, symbols.words);
        let look_up = |first_rank: usize, merges: &[&[u8]]| {
            let mut joins = Vec::with_capacity(merges.len());
            let mut texts = Texts::default();
            let mut joined = 0;
            // left and right text of each merge in turn
            let mut halves = Pieces::default();
            for (start, batch) in (first_rank..)
                .step_by(BATCH / 2)
                .zip(merges.chunks(BATCH / 2))
            {
                halves.clear();
                let first = joins.len();
                for (rank, merge) in (start..).zip(batch) {
                    if !texts.decode(rank, merge, &decode_into)? {
                        continue; // no word has such a character
                    }
                    halves.push(&texts.left);
                    halves.push(&texts.right);
                    // most vocabularies list what merges give in the order of the merges
                    joined = words
                        .get_near(bytes, texts.both(), joined)
                        .unwrap_or(UNLISTED);
                    let right = Right {
                        symbol: UNLISTED,
                        rank: rank as u32,
                        joined,
                    };
                    joins.push((UNLISTED, right));
                }
                let mut ids = words
                    .get_all(bytes, halves.iter())
                    .map(|id| id.unwrap_or(UNLISTED));
                for (left, right) in &mut joins[first..] {
                    *left = ids.next().unwrap_or(UNLISTED);
                    right.symbol = ids.next().unwrap_or(UNLISTED);
                }
            }
            Ok::<_, TokenizerError>(joins)
        };
        // ranks are 32 bits wide, and so are those of a file that holds no more bytes
        let merges = &merges[..merges.len().min(u32::MAX as usize)];
        let mut joins = in_parts(merges, look_up)?;
        let mut texts = Texts::default();
        for (left, right) in &mut joins {
            if [*left, right.symbol, right.joined].contains(&UNLISTED) {
                texts.decode(
                    right.rank as usize,
                    merges[right.rank as usize],
                    &decode_into,
                )?;
                *left = symbols.id_of(&texts.left);
                right.symbol = symbols.id_of(&texts.right);
                right.joined = symbols.id_of(texts.both());
            }
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

/// What the texts of one merge stand for.
#[derive(Default)]
struct Texts {
    left: Vec<u8>,
    right: Vec<u8>,
}

impl Texts {
    /// Takes a merge apart; `false` when words can have none of it.
    fn decode(
        &mut self,
        rank: usize,
        merge: &[u8],
        decode_into: impl Fn(&[u8], &mut Vec<u8>) -> bool,
    ) -> Result<bool, TokenizerError> {
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
        Ok(decode_into(&merge[..space], &mut self.left)
            && decode_into(&merge[space + 1..], &mut self.right))
    }
    /// Left and right together. The left one is gone then.
    fn both(&mut self) -> &[u8] {
        self.left.extend_from_slice(&self.right);
        &self.left
    }
}

/// `work` on parts of `items`, each with the place where it begins, on several threads where that is worth it; the
/// results in order.
fn in_parts<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(usize, &[T]) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let n_threads = n_threads.min(MAX_THREADS).min(items.len() / MIN_PER_THREAD);
    if n_threads < 2 {
        return work(0, items);
    }
    let part_len = items.len().div_ceil(n_threads);
    let (first, others) = items.split_at(part_len);
    thread::scope(|scope| {
        let starts = (part_len..).step_by(part_len);
        let running: Vec<_> = starts
            .zip(others.chunks(part_len))
            .map(|(start, part)| {
                let work = &work;
                scope.spawn(move || work(start, part))
            })
            .collect();
        let mut all = work(0, first)?;
        for thread in running {
            match thread.join() {
                Ok(part) => all.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn many_merges_are_read_as_few_are() {
        // two in three texts are tokens, and what pairs give is one seldom
        let texts: Vec<String> = (0..520).map(|n| format!("{n:x}_")).collect();
        let mut bytes = Pieces::default();
        let tokens = texts.iter().enumerate().filter(|(at, _)| at % 3 != 0);
        tokens.for_each(|(_, text)| bytes.push(text.as_bytes()));
        bytes.push(b"1_2_");
        let words = PieceIndex::new(&bytes, 0..bytes.len() as u32);
        let mut symbols = Symbols {
            bytes: &bytes,
            words: &words,
            unlisted: HashMap::new(),
        };
        let pairs = texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b)));
        let lines: Vec<String> = pairs.clone().map(|(a, b)| format!("{a} {b}")).collect();
        let merges: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        assert!(merges.len() > 4 * MIN_PER_THREAD);
        let decode_into = |text: &[u8], out: &mut Vec<u8>| {
            out.clear();
            out.extend_from_slice(text);
            !text.starts_with(b"7")
        };
        let joins = Joins::read(&merges, decode_into, &mut symbols).unwrap();
        let mut n_joined = HashMap::new();
        for (rank, (left, right)) in (0_u32..).zip(pairs) {
            let [left_id, right_id] = [left, right].map(|text| symbols.id_of(text.as_bytes()));
            let join = joins.of(left_id, right_id);
            if left.starts_with('7') || right.starts_with('7') {
                assert!(join.is_none());
                continue;
            }
            let join = join.unwrap();
            assert_eq!(join.priority, u32::MAX - rank, "{left} {right}");
            assert_eq!(join.id, symbols.id_of(format!("{left}{right}").as_bytes()));
            *n_joined.entry(join.id).or_insert(0) += 1;
        }
        assert!(n_joined.values().all(|&n| n == 1));
        assert!(n_joined.contains_key(&(bytes.len() as u32 - 1)));
    }

    #[test]
    fn the_first_of_several_errors_counts() {
        let items: Vec<usize> = (0..5 * MIN_PER_THREAD).collect();
        let double = |start: usize, part: &[usize]| {
            assert_eq!(part.first(), Some(&start));
            Ok::<_, usize>(part.iter().map(|item| item * 2).collect())
        };
        let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
        assert_eq!(in_parts(&items, double), Ok(doubled));
        let fail = |start: usize, _: &[usize]| Err::<Vec<()>, _>(start);
        assert_eq!(in_parts(&items, fail), Err(0));
        assert_eq!(in_parts(&items[..3], fail), Err(0));
    }
}
