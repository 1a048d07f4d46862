//! What a sequence remembers: per layer, the state of the tokens so far.
//!
//! Layers keep different kinds of state ([`LayerState`]). Some cannot be taken back to every earlier position, so
//! [`KvCache::rewind`] says how far it got, and [`KvCache::reusable`] how far it would get; whoever rewinds computes the
//! rest again. A [`KvCache::checkpoint`] is a place that can be come back to.

mod recurrent;
mod stored;

pub(crate) use recurrent::RecurrentState;

use crate::{
    TokenId,
    model::{Adapters, AttentionShape, DecoderSpec, DeltaNetSpec, Mixer},
};
use recurrent::Checkpoint;
use slm_kernels::{KvLayer, KvPool, KvType, PAGE_POSITIONS};
use std::sync::Arc;

/// Checkpoints of a sequence at most; a new one takes the place of the oldest.
const MAX_CHECKPOINTS: usize = 3;
/// How many positions, besides those that the next token sees, a layer with a window keeps for rewinding: more than most
/// answers have.
const REWIND_POSITIONS: usize = 2048;

/// Tokens that a step adds to a sequence, at most.
pub(crate) const MAX_STEP: usize = 512;

/// State of one layer for one sequence.
#[derive(Clone)]
enum LayerState {
    /// Keys and values of every position; can be taken back to any.
    Full(KvLayer),
    /// Keys and values of the last positions, of which a token sees `window`; can be taken back as far as they reach.
    Sliding { kv: KvLayer, window: usize },
    /// Nothing of its own: the layer reads the keys and values of that earlier one.
    SharedWith(usize),
    /// What the last token left; can be taken back to a checkpoint, or forgotten.
    Recurrent(RecurrentState),
}

/// Whose a state is: only a sequence with the same owner may go on from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Owner {
    /// What the model's weights were changed by when it was computed.
    pub(crate) adapters: Adapters,
    /// What else tells those apart who must not share.
    pub(crate) salt: Option<Arc<str>>,
}

/// The state of one sequence, and the tokens that made it. A clone shares its pages of keys and values, until one of
/// the two writes to them.
#[derive(Clone)]
pub struct KvCache {
    tokens: Vec<TokenId>,
    owner: Owner,
    /// How many positions the sequence is going to have at least.
    expected_len: usize,
    /// Whether keys were rotated as those of long sequences are.
    is_long: bool,
    layers: Vec<LayerState>,
    /// Of the recurrent layers, at most [`MAX_CHECKPOINTS`], lengths ascending and at most that of `tokens`.
    checkpoints: Vec<Checkpoint>,
}

impl KvCache {
    pub(crate) fn new(spec: &DecoderSpec, kv_type: KvType, pool: &KvPool) -> Self {
        let layer = |il| match spec.block(il).mixer {
            Mixer::Attention(AttentionShape {
                kv_of: Some(source),
                ..
            }) => LayerState::SharedWith(source),
            Mixer::Attention(shape) => {
                let (k_dim, v_dim) = (shape.head_dim, shape.v_head_dim);
                let kv = KvLayer::new(pool, kv_type, shape.n_kv_heads, k_dim, v_dim);
                match spec.sliding_layer(il) {
                    Some(sliding) => LayerState::Sliding {
                        kv,
                        window: sliding.window,
                    },
                    None => LayerState::Full(kv),
                }
            }
            Mixer::ShortConv(n_taps) => {
                let state = RecurrentState::of_convolution(n_taps, spec.hidden_size);
                LayerState::Recurrent(state)
            }
            Mixer::DeltaNet(DeltaNetSpec { shape, n_taps }) => {
                LayerState::Recurrent(RecurrentState::of_delta_net(n_taps, shape))
            }
        };
        Self {
            tokens: Vec::new(),
            owner: Owner::default(),
            expected_len: 0,
            is_long: false,
            layers: (0..spec.n_layers).map(layer).collect(),
            checkpoints: Vec::new(),
        }
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The adapters that the sequence is computed with.
    pub fn adapters(&self) -> &Adapters {
        &self.owner.adapters
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Says whose the sequence is from here on. Nothing is left of what was another's.
    pub(crate) fn own(&mut self, owner: &Owner) {
        if self.owner != *owner {
            self.rewind(0);
            self.owner = owner.clone();
        }
    }

    /// Says which adapters the sequence is computed with from here on. Nothing is left of what was computed with others.
    pub fn adapt(&mut self, adapters: &Adapters) {
        self.own(&Owner {
            adapters: adapters.clone(),
            salt: self.owner.salt.clone(),
        });
    }

    /// How many of the first `tokens` are already in here.
    pub fn common_prefix(&self, tokens: &[TokenId]) -> usize {
        self.tokens
            .iter()
            .zip(tokens)
            .take_while(|(a, b)| a == b)
            .count()
    }

    /// How many of the first `tokens` need not be computed again: where [`KvCache::rewind`] to what is common would get.
    pub fn reusable(&self, tokens: &[TokenId]) -> usize {
        self.nearest(self.common_prefix(tokens))
    }

    /// Forgets everything from position `len` on. Returns the length that is left: at most `len`, and less, down to 0,
    /// where a layer's state cannot be taken back that exactly.
    pub fn rewind(&mut self, len: usize) -> usize {
        let is_shorter = len < self.tokens.len();
        let len = self.nearest(len);
        self.checkpoints.retain(|checkpoint| checkpoint.len <= len);
        let mut states = match self.checkpoints.last() {
            Some(checkpoint) if checkpoint.len == len => checkpoint.states.iter(),
            _ => [].iter(),
        };
        for layer in &mut self.layers {
            match layer {
                LayerState::Full(kv) | LayerState::Sliding { kv, .. } => kv.truncate(len),
                LayerState::SharedWith(_) => {}
                LayerState::Recurrent(state) if is_shorter => match states.next() {
                    Some(earlier) => state.clone_from(earlier),
                    None => state.forget(),
                },
                LayerState::Recurrent(_) => {}
            }
        }
        self.tokens.truncate(len);
        self.expected_len = 0;
        len
    }

    /// The greatest length of at most `len` that all layers can be taken back to.
    fn nearest(&self, len: usize) -> usize {
        let now = self.tokens.len();
        let reaches = |len: &usize| {
            self.layers.iter().all(|layer| match layer {
                LayerState::Sliding { kv, window } => kv.first() <= first_seen(*len, *window),
                _ => true,
            })
        };
        if len >= now {
            now
        } else if self.is_recurrent() {
            let lengths = self
                .checkpoints
                .iter()
                .rev()
                .map(|checkpoint| checkpoint.len);
            let mut lengths = lengths.filter(|&earlier| earlier <= len);
            lengths.find(reaches).unwrap_or(0)
        } else {
            Some(len).filter(reaches).unwrap_or(0)
        }
    }

    /// Whether some layer can only be taken back to a checkpoint.
    pub(crate) fn is_recurrent(&self) -> bool {
        let is_recurrent = |layer: &LayerState| matches!(layer, LayerState::Recurrent(_));
        self.layers.iter().any(is_recurrent)
    }

    /// Makes the present length one that [`KvCache::rewind`] can come back to. Where it can anyway nothing is done.
    pub(crate) fn checkpoint(&mut self) {
        let len = self.tokens.len();
        let is_there = self.checkpoints.last().is_some_and(|last| last.len == len);
        if len == 0 || is_there || !self.is_recurrent() {
            return;
        }
        if self.checkpoints.len() == MAX_CHECKPOINTS {
            self.checkpoints.remove(0);
        }
        let states = self.layers.iter().filter_map(|layer| match layer {
            LayerState::Recurrent(state) => Some(state.clone()),
            _ => None,
        });
        self.checkpoints.push(Checkpoint {
            len,
            states: states.collect(),
        });
    }

    /// Says how many positions the sequence is going to have at least.
    pub(crate) fn expect(&mut self, len: usize) {
        self.expected_len = len;
    }

    pub(crate) fn expected_len(&self) -> usize {
        self.expected_len
    }

    pub(crate) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Forgets everything, to become the state of a long sequence or of another. Returns the tokens that were there.
    pub(crate) fn restart(&mut self, is_long: bool) -> Vec<TokenId> {
        let tokens = self.tokens.clone();
        let expected_len = self.expected_len;
        self.rewind(0);
        self.expected_len = expected_len;
        self.is_long = is_long;
        tokens
    }

    /// Bytes that one more position adds, while windows are not full.
    pub fn bytes_per_position(&self) -> usize {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Full(kv) | LayerState::Sliding { kv, .. } => kv.bytes_per_position(),
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => 0,
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Bytes at `n_positions`, with as many checkpoints as there can be.
    pub fn bytes_at(&self, n_positions: usize) -> u64 {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Full(kv) => kv.bytes_at(n_positions),
            LayerState::Sliding { kv, window } => {
                kv.bytes_at(kept_at_most(*window).min(n_positions))
            }
            LayerState::SharedWith(_) => 0,
            LayerState::Recurrent(state) => state.size_bytes() * (1 + MAX_CHECKPOINTS),
        };
        let bytes = self.layers.iter().map(|layer| bytes(layer) as u64);
        bytes.fold(0, u64::saturating_add)
    }

    /// The tokens whose state this is.
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Bytes of pages that `n_tokens` more positions take from the pool.
    pub(crate) fn growth_bytes(&self, n_tokens: usize) -> u64 {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Full(kv) => kv.growth_bytes(n_tokens),
            LayerState::Sliding { kv, window } => {
                // what is let go meanwhile makes room
                let most = kv.bytes_at(kept_at_most(*window));
                kv.growth_bytes(n_tokens)
                    .min(most.saturating_sub(kv.held_bytes()))
            }
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => 0,
        };
        self.layers.iter().map(|layer| bytes(layer) as u64).sum()
    }

    /// Bytes of what is not in pages.
    pub(crate) fn own_bytes(&self) -> u64 {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Recurrent(state) => state.size_bytes() * (1 + self.checkpoints.len()),
            _ => 0,
        };
        self.layers.iter().map(|layer| bytes(layer) as u64).sum()
    }

    /// Notes the tokens whose state the layers received in this step.
    pub(crate) fn extend(&mut self, tokens: &[TokenId]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Keys and values that attention layer `il` reads: its own, or those of another layer.
    ///
    /// # Panics
    /// When it is no attention layer.
    pub(crate) fn kv(&self, il: usize) -> &KvLayer {
        match &self.layers[il] {
            LayerState::Full(kv) | LayerState::Sliding { kv, .. } => kv,
            LayerState::SharedWith(source) => self.kv(*source),
            LayerState::Recurrent(_) => panic!("layer {il} has no keys"),
        }
    }

    /// The keys and values of layer `il`, for positions to be added; what nothing looks at any more was let go.
    ///
    /// # Panics
    /// When it has none of its own.
    pub(crate) fn growing_kv(&mut self, il: usize) -> &mut KvLayer {
        match &mut self.layers[il] {
            LayerState::Full(kv) => kv,
            LayerState::Sliding { kv, window } => {
                kv.let_go(first_seen(kv.len(), *window).saturating_sub(REWIND_POSITIONS));
                kv
            }
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => {
                panic!("layer {il} has no keys of its own")
            }
        }
    }

    /// What layer `il` carries from token to token.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn recurrent(&mut self, il: usize) -> &mut RecurrentState {
        match &mut self.layers[il] {
            LayerState::Recurrent(state) => state,
            _ => panic!("layer {il} carries no state"),
        }
    }
}

/// Positions that a layer with such a window holds at most: what is seen begins anywhere in a page, and a step comes on
/// top.
fn kept_at_most(window: usize) -> usize {
    window.saturating_add(REWIND_POSITIONS + PAGE_POSITIONS + MAX_STEP)
}

/// The first position that the token at `position` sees.
fn first_seen(position: usize, window: usize) -> usize {
    (position + 1).saturating_sub(window)
}
