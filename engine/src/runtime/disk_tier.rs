//! The scheduler's view of the states on disk ([`crate::prefix_store`]): what a generation that is about to begin may find
//! there, and waits for. One is read at a time.

use super::request::Entry;
use crate::{
    KvCache, PrefixStoreOptions, TokenId,
    kv_cache::Owner,
    model::{Decoder, Loaded},
    prefix_store::{Found as FoundPages, PrefixStore, Reading},
};
use std::time::Instant;

/// See the module. Without a store nothing is found.
#[derive(Default)]
pub(super) struct DiskTier {
    store: Option<PrefixStore>,
    reading: Option<Reading>,
    /// The request that was looked up last, by when it came.
    looked_up: Option<Instant>,
}

/// What there is on disk for a request.
pub(super) enum Look {
    /// Nothing more than is known without.
    Nothing,
    /// This, which can be read.
    Found(Found),
    /// Something is being read.
    Reading,
    /// This was read.
    Read(KvCache),
}

/// What can be read for a request.
pub(super) struct Found {
    pages: FoundPages,
    state: KvCache,
}

impl Found {
    /// Bytes that it takes in memory.
    pub(super) fn needed_bytes(&self) -> u64 {
        self.state.growth_bytes(self.pages.n_tokens())
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
        Self {
            store,
            ..Self::default()
        }
    }

    /// Keeps the state of a generation that has ended.
    pub(super) fn keep(&self, state: &KvCache) {
        if let Some(store) = &self.store {
            store.keep(state);
        }
    }

    /// Whether states on their way to the disk or from there hold memory.
    pub(super) fn is_busy(&self) -> bool {
        self.reading.is_some() || self.store.as_ref().is_some_and(PrefixStore::is_busy)
    }

    /// Looks for more of a request's beginning than the `n_known` tokens that are known without; once for each request.
    pub(super) fn look(
        &mut self,
        decoder: &Decoder,
        entry: &Entry,
        owner: &Owner,
        n_known: usize,
    ) -> Look {
        if let Some(reading) = &self.reading {
            let Some(state) = reading.poll() else {
                return Look::Reading;
            };
            self.reading = None;
            if let Some(state) = state {
                return Look::Read(state);
            }
        }
        if self.looked_up == Some(entry.queued_at) {
            return Look::Nothing;
        }
        self.looked_up = Some(entry.queued_at);
        let found = self.find(decoder, &entry.request.prompt, owner, n_known);
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
        let store = self.store.as_ref();
        self.reading = store.and_then(|store| store.read(found.pages, found.state));
        self.reading.is_some()
    }
}
