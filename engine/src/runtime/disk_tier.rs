//! The scheduler's view of the states on disk ([`crate::prefix_store`]): what a generation that is about to begin may find
//! there, and waits for. One is read at a time; whom it does not help goes on without.

use super::request::Entry;
use crate::{
    KvCache, PrefixStoreOptions, TokenId,
    kv_cache::Owner,
    model::{Decoder, Loaded},
    prefix_store::{Found as FoundPages, PrefixStore, Reading},
};
use slm_kernels::PAGE_POSITIONS;

/// See the module. Without a store nothing is found.
pub(super) struct DiskTier {
    /// Goes before the store, which waits for what is being read.
    read: Option<Read>,
    store: Option<PrefixStore>,
}

/// A beginning that is being read.
struct Read {
    reading: Reading,
    owner: Owner,
    tokens: Vec<TokenId>,
    needed_bytes: u64,
}

impl Read {
    /// Whether it is worth waiting for, for a prompt of which `n_known` tokens are known without.
    fn helps(&self, prompt: &[TokenId], owner: &Owner, n_known: usize) -> bool {
        let tokens = self.tokens.iter().zip(prompt);
        let n_common = tokens.take_while(|(a, b)| a == b).count();
        self.owner == *owner && n_common >= n_known + PAGE_POSITIONS
    }
}

/// What there is on disk for a request.
pub(super) enum Look {
    /// Nothing more than is known without.
    Nothing,
    /// This, which can be read.
    Found(Found),
    /// Something that helps it is being read.
    Reading,
}

/// What can be read for a request.
pub(super) struct Found {
    pages: FoundPages,
    state: KvCache,
}

impl Found {
    /// Bytes that it takes in memory.
    pub(super) fn needed_bytes(&self) -> u64 {
        self.state.growth_bytes(self.pages.tokens().len())
    }
}

impl DiskTier {
    pub(super) fn open(model: &Loaded, options: Option<&PrefixStoreOptions>) -> Self {
        let store = match (model, options) {
            (Loaded::Decoder(model), Some(options)) if model.decoder().spec().is_causal => {
                PrefixStore::open(options, &model.decoder().new_cache())
            }
            _ => None,
        };
        Self { read: None, store }
    }

    /// Keeps the state of a generation that has ended.
    pub(super) fn keep(&self, state: &KvCache) {
        if let Some(store) = &self.store {
            store.keep(state);
        }
    }

    /// Whether states on their way to the disk or from there hold memory.
    pub(super) fn is_busy(&self) -> bool {
        self.read.is_some() || self.store.as_ref().is_some_and(PrefixStore::is_busy)
    }

    /// Bytes that what is being read takes in memory, once it is there.
    pub(super) fn needed_bytes(&self) -> u64 {
        self.read.as_ref().map_or(0, |read| read.needed_bytes)
    }

    /// What was read, once it is there. Reading ends when it helps none of those that wait.
    pub(super) fn poll<'a>(
        &mut self,
        mut waiting: impl Iterator<Item = &'a Entry>,
    ) -> Option<KvCache> {
        let read = self.read.as_ref()?;
        let result = read.reading.poll();
        let mut is_wanted = || waiting.any(|e| read.helps(&e.request.prompt, &e.owner(), 0));
        if result.is_some() || !is_wanted() {
            self.read = None;
        }
        result.flatten()
    }

    /// Looks for more of a request's beginning than the `n_known` tokens that are known without; once for each request.
    pub(super) fn look(
        &self,
        decoder: &Decoder,
        entry: &Entry,
        owner: &Owner,
        n_known: usize,
    ) -> Look {
        let prompt = &entry.request.prompt;
        match &self.read {
            Some(read) if read.helps(prompt, owner, n_known) => return Look::Reading,
            // one at a time
            Some(_) => return Look::Nothing,
            None => {}
        }
        if entry.is_looked_up.replace(true) {
            return Look::Nothing;
        }
        let found = self.find(decoder, prompt, owner, n_known);
        found.map_or(Look::Nothing, Look::Found)
    }

    fn find(
        &self,
        decoder: &Decoder,
        prompt: &[TokenId],
        owner: &Owner,
        n_known: usize,
    ) -> Option<Found> {
        let is_long = decoder.is_long(prompt.len());
        let store = self.store.as_ref()?;
        let pages = store.find(owner, prompt, is_long, n_known)?;
        let mut state = decoder.new_cache();
        state.own(owner);
        Some(Found { pages, state })
    }

    /// Begins to read what was found; false when that cannot be now.
    pub(super) fn read(&mut self, found: Found) -> bool {
        let needed_bytes = found.needed_bytes();
        let Found { pages, state } = found;
        let (owner, tokens) = (state.owner().clone(), pages.tokens().to_vec());
        let store = self.store.as_ref();
        let reading = store.and_then(|store| store.read(pages, state));
        self.read = reading.map(|reading| Read {
            reading,
            owner,
            tokens,
            needed_bytes,
        });
        self.read.is_some()
    }
}
