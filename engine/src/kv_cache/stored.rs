//! A state page by page, as it is kept elsewhere: of layers with keys and values of their own.

use super::{KvCache, LayerState, REWIND_POSITIONS, first_seen};
use crate::TokenId;
use slm_kernels::{KvLayer, PAGE_POSITIONS};

/// A layer with keys and values of its own.
pub(crate) struct StoredLayer<'a> {
    pub(crate) kv: &'a KvLayer,
    /// Positions that a token sees; `None` for all.
    pub(crate) window: Option<usize>,
}

impl KvCache {
    /// In the model's order.
    pub(crate) fn stored_layers(&self) -> impl Iterator<Item = StoredLayer<'_>> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerState::Full(kv) => Some(StoredLayer { kv, window: None }),
            LayerState::Sliding { kv, window } => Some(StoredLayer {
                kv,
                window: Some(*window),
            }),
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => None,
        })
    }

    /// The same, to add pages to.
    pub(crate) fn stored_layers_mut(&mut self) -> impl Iterator<Item = &mut KvLayer> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            LayerState::Full(kv) | LayerState::Sliding { kv, .. } => Some(kv),
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => None,
        })
    }

    /// Of pages of which `has(layer, page)` says whether they are there, how many make a state that can be gone on from, at
    /// most `n_pages`, and for each layer the first that it needs or can use. `None` when that is not even one.
    pub(crate) fn restorable(
        &self,
        n_pages: usize,
        has: impl Fn(usize, usize) -> bool,
    ) -> Option<(usize, Vec<usize>)> {
        (1..=n_pages).rev().find_map(|n_pages| {
            let layers = self.stored_layers().enumerate();
            let firsts = layers.map(|(layer, StoredLayer { window, .. })| {
                let len = n_pages * PAGE_POSITIONS;
                let seen = window.map_or(0, |window| first_seen(len, window));
                let (needed, useful) = (seen, seen.saturating_sub(REWIND_POSITIONS));
                let (needed, useful) = (needed / PAGE_POSITIONS, useful / PAGE_POSITIONS);
                let pages = (useful..n_pages).rev();
                let first = n_pages - pages.take_while(|page| has(layer, *page)).count();
                (first <= needed).then_some(first)
            });
            Some((n_pages, firsts.collect::<Option<_>>()?))
        })
    }

    /// Notes what the layers, which got their pages, are the state of.
    pub(crate) fn restored(&mut self, tokens: &[TokenId], is_long: bool) {
        debug_assert!(
            self.stored_layers()
                .all(|layer| layer.kv.len() == tokens.len()),
            "all layers have all positions"
        );
        self.tokens = tokens.to_vec();
        self.is_long = is_long;
    }
}
