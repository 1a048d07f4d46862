//! Which sequence steps next: all active ones in turn, one prefill chunk or one token each; requests for vectors among
//! them.

use super::{
    embedding::{Buffers, Embedding},
    request::{EmbedError, Entry, GenerateRequest, Order},
    sequence::{Progress, Sequence},
};
use crate::{
    KvCache,
    model::{Loaded, Model, Scratch},
};

/// The sequences of one model, and the caches that ended ones left behind.
pub(super) struct Scheduler<'a> {
    loaded: &'a Loaded,
    n_parallel: usize,
    active: Vec<Sequence>,
    embeddings: Vec<Embedding>,
    /// Caches of ended sequences, most recently used last; at most `n_parallel` together with the active ones.
    idle_caches: Vec<KvCache>,
    scratch: Scratch,
    buffers: Buffers,
    logits: Vec<f32>,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(loaded: &'a Loaded, n_parallel: usize) -> Self {
        Self {
            loaded,
            n_parallel,
            active: Vec::new(),
            embeddings: Vec::new(),
            idle_caches: Vec::new(),
            scratch: Scratch::default(),
            buffers: Buffers::default(),
            logits: Vec::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.active.len() + self.embeddings.len() < self.n_parallel
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty() && self.embeddings.is_empty()
    }

    /// Makes a request active.
    pub(super) fn admit(&mut self, order: Order) {
        match (order, self.loaded) {
            (
                Order::Embed {
                    request,
                    n_context,
                    reply,
                    queued_at,
                },
                loaded,
            ) => {
                let embedding = Embedding::admit(loaded, request, n_context, reply, queued_at);
                self.embeddings.extend(embedding);
            }
            (Order::Generate(entry), Loaded::Decoder(model)) if self.loaded.writes_text() => {
                self.admit_generation(entry, model);
            }
            (Order::Generate(entry), _) => {
                entry.fail("the model makes vectors (embeddings) and cannot write text");
            }
        }
    }

    /// On an idle cache that the prompt continues, if there is one.
    fn admit_generation(&mut self, entry: Entry, model: &'a Model) {
        if entry.results.is_closed() {
            return;
        }
        let vocab_size = model.tokenizer().vocab_size();
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
        if !model.decoder().takes(&entry.request.adapters) {
            return entry.fail("the request has an adapter that was loaded for another model");
        }
        let cache = self.take_cache(&entry.request, model);
        self.active.push(Sequence::new(entry, cache, model));
    }

    /// The idle cache of which most is of use to the request, if at least half of it is: a common beginning such as a
    /// system prompt alone would cost another conversation its cache. Else a new one, in place of the oldest where
    /// there are enough.
    fn take_cache(&mut self, request: &GenerateRequest, model: &Model) -> KvCache {
        let shared = |cache: &KvCache| {
            if *cache.adapters() == request.adapters {
                cache.reusable(&request.prompt)
            } else {
                0
            }
        };
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
        model.decoder().new_cache()
    }

    /// Steps everything active once. False when nothing could: all wait for their clients.
    pub(super) fn step(&mut self) -> bool {
        let mut has_stepped = !self.embeddings.is_empty();
        for embedding in std::mem::take(&mut self.embeddings) {
            let going_on = embedding.step(self.loaded, &mut self.scratch, &mut self.buffers);
            self.embeddings.extend(going_on);
        }
        let Loaded::Decoder(model) = self.loaded else {
            return has_stepped;
        };
        let mut i = 0;
        while i < self.active.len() {
            match self.active[i].step(model, &mut self.scratch, &mut self.logits) {
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
        for embedding in self.embeddings.drain(..) {
            embedding.fail(EmbedError::Failed(why.to_owned()));
        }
    }
}
