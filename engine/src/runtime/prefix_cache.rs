//! What ended sequences leave behind: their states, for prompts that begin as they do.
//!
//! A state is never used up: a new sequence gets a clone, which shares all pages of keys and values with it, taken back
//! to where the two part. Where memory is wanted, the state that was of no use for longest goes first.

use crate::{KvCache, TokenId, kv_cache::Owner, model::Decoder};

/// States that are kept at most, whatever the memory.
const MAX_STATES: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct PrefixCache {
    /// The most recently used last.
    states: Vec<KvCache>,
}

impl PrefixCache {
    /// How many of the first tokens of `owner`'s `prompt` are known here.
    pub(super) fn n_known(&self, prompt: &[TokenId], owner: &Owner) -> usize {
        let states = self.states.iter().filter(|state| state.owner() == owner);
        let known = states.map(|state| state.reusable(prompt));
        known.max().unwrap_or(0)
    }

    /// A state of the beginning of `owner`'s `prompt`, as much of it as is known here or in `running`, which are the same
    /// owner's; all but the last token at most.
    pub(super) fn state_of<'a>(
        &mut self,
        decoder: &Decoder,
        prompt: &[TokenId],
        owner: &Owner,
        running: impl Iterator<Item = &'a KvCache>,
    ) -> KvCache {
        let reusable = |state: &KvCache| state.reusable(prompt);
        let in_running = running.max_by_key(|state| reusable(state));
        let in_running = in_running.map(|state| (reusable(state), state));
        // of several that are as good, the one that was used last
        let usable = |&i: &usize| self.states[i].owner() == owner;
        let usable = (0..self.states.len()).filter(usable);
        let best = usable.max_by_key(|&i| reusable(&self.states[i]));
        let best = best.map(|i| (reusable(&self.states[i]), i));
        let mut state = match (in_running, best) {
            (Some((n, state)), None) if n > 0 => state.clone(),
            (Some((n, state)), Some((n_best, _))) if n > n_best => state.clone(),
            (_, Some((n_best, i))) if n_best > 0 => {
                let state = self.states.remove(i);
                let clone = state.clone();
                // what the new sequence has wholly need not be kept twice
                if n_best < state.len() {
                    self.states.push(state);
                }
                clone
            }
            _ => decoder.new_cache(),
        };
        state.own(owner);
        decoder.resume(&mut state, prompt);
        state
    }

    /// Keeps the state of a sequence that has ended.
    pub(super) fn keep(&mut self, state: KvCache) {
        if state.is_empty() || state.is_within(&self.states) {
            return;
        }
        if self.states.len() == MAX_STATES {
            self.states.remove(0);
        }
        self.states.push(state);
    }

    /// Bytes of the states' parts that are not pages.
    pub(super) fn own_bytes(&self) -> u64 {
        self.states.iter().map(KvCache::own_bytes).sum()
    }

    /// Lets go of the state that was of no use for longest; false when there is none.
    pub(super) fn let_one_go(&mut self) -> bool {
        let is_there = !self.states.is_empty();
        if is_there {
            self.states.remove(0);
        }
        is_there
    }
}

impl KvCache {
    /// Whether one of `states` begins with all of this.
    fn is_within(&self, states: &[Self]) -> bool {
        states.iter().any(|state| {
            state.owner() == self.owner()
                && state.len() >= self.len()
                && state.reusable(self.tokens()) == self.len()
        })
    }
}
