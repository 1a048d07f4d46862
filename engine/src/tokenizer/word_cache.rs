//! Tokens of one text as they are found, with the words seen so far remembered.
//!
//! Most words of a text occur before; the ids of a repeated word are copied from where they were first written. The
//! cache lives as long as one call, so the tokenizer itself stays immutable, and it is bounded.
use super::TokenId;
use super::merge::Merger;
use std::collections::HashMap;

/// Words remembered per text.
const MAX_WORDS: usize = 16 << 10;
/// Longer words hardly repeat.
const MAX_WORD_BYTES: usize = 64;
/// A longer word is cut: the merge loop needs some 30 bytes of memory for each of its bytes.
const MAX_MERGED_BYTES: usize = 16 << 20;

/// Collects ids.
#[derive(Debug, Default)]
pub(super) struct WordCache<'t> {
    ids: Vec<TokenId>,
    /// Word → where its ids are. Keyed by what users type, hence the standard library's keyed hash.
    seen: HashMap<&'t str, (usize, usize)>,
    merger: Merger,
}

impl<'t> WordCache<'t> {
    /// Appends one id.
    pub(super) fn push(&mut self, id: TokenId) {
        self.ids.push(id);
    }
    /// Appends the ids of `word`, which `encode` finds out when it is new.
    pub(super) fn encode(
        &mut self,
        word: &'t str,
        mut encode: impl FnMut(&'t str, &mut Merger, &mut Vec<TokenId>),
    ) {
        if word.len() > MAX_WORD_BYTES {
            let mut rest = word;
            while !rest.is_empty() {
                let mut end = rest.len().min(MAX_MERGED_BYTES);
                while !rest.is_char_boundary(end) {
                    end -= 1;
                }
                let (part, after) = rest.split_at(end);
                encode(part, &mut self.merger, &mut self.ids);
                rest = after;
            }
            return;
        }
        if let Some(&(start, end)) = self.seen.get(word) {
            self.ids.extend_from_within(start..end);
            return;
        }
        let start = self.ids.len();
        encode(word, &mut self.merger, &mut self.ids);
        if self.seen.len() < MAX_WORDS {
            self.seen.insert(word, (start, self.ids.len()));
        }
    }
    /// The ids so far.
    pub(super) fn into_ids(self) -> Vec<TokenId> {
        self.ids
    }
}
