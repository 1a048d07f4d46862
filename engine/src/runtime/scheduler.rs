//! Which sequence steps next: all active ones in turn, one prefill chunk or one token each.

use super::{
    Entry,
    sequence::{Progress, Sequence},
};
use crate::{
    KvCache,
    model::{Model, Scratch},
};

/// The sequences of one model, and the caches that ended ones left behind.
pub(super) struct Scheduler<'a> {
    model: &'a Model,
    n_parallel: usize,
    active: Vec<Sequence>,
    /// Caches of ended sequences, most recently used last; at most `n_parallel` together with the active ones.
    idle_caches: Vec<KvCache>,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(model: &'a Model, n_parallel: usize) -> Self {
        Self {
            model,
            n_parallel,
            active: Vec::new(),
            idle_caches: Vec::new(),
            scratch: Scratch::default(),
            logits: Vec::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.active.len() < self.n_parallel
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Makes a request active, on an idle cache that its prompt continues if there is one.
    pub(super) fn admit(&mut self, entry: Entry) {
        if entry.results.is_closed() {
            return;
        }
        let vocab_size = self.model.tokenizer().vocab_size();
        let n_prompt = entry.request.prompt.len();
        let n_context = entry.request.context_length;
        if n_prompt == 0 {
            return entry.fail("the prompt is empty");
        }
        if n_prompt >= n_context {
            return entry.fail(&format!("the prompt of {n_prompt} tokens exceeds the available context size of {n_context} tokens"));
        }
        if entry
            .request
            .prompt
            .iter()
            .any(|&t| t as usize >= vocab_size)
        {
            return entry.fail("the prompt has a token id outside the model's vocabulary");
        }
        let cache = self.take_cache(&entry.request.prompt);
        self.active.push(Sequence::new(entry, cache, self.model));
    }

    /// The idle cache that shares most with `prompt`, if at least half of it is shared: a common beginning such as a
    /// system prompt alone would cost another conversation its cache. Else a new one, in place of the oldest where
    /// there are enough.
    fn take_cache(&mut self, prompt: &[u32]) -> KvCache {
        let shared = |cache: &KvCache| cache.common_prefix(prompt);
        let best = (0..self.idle_caches.len()).max_by_key(|&i| shared(&self.idle_caches[i]));
        if let Some(i) = best
            && shared(&self.idle_caches[i]) * 2 >= self.idle_caches[i].len().max(1)
        {
            return self.idle_caches.remove(i);
        }
        if !self.idle_caches.is_empty()
            && self.active.len() + self.idle_caches.len() >= self.n_parallel
        {
            return self.idle_caches.remove(0);
        }
        self.model.decoder().new_cache()
    }

    /// Steps every active sequence once. False when none could: all wait for their clients.
    pub(super) fn step(&mut self) -> bool {
        let mut has_stepped = false;
        let mut i = 0;
        while i < self.active.len() {
            match self.active[i].step(self.model, &mut self.scratch, &mut self.logits) {
                Progress::Stepped => (has_stepped, i) = (true, i + 1),
                Progress::Waiting => i += 1,
                Progress::Ended => {
                    has_stepped = true;
                    self.idle_caches.push(self.active.remove(i).into_cache());
                }
            }
        }
        has_stepped
    }

    pub(super) fn fail_all(&mut self, why: &str) {
        for sequence in self.active.drain(..) {
            sequence.fail(why);
        }
    }
}
