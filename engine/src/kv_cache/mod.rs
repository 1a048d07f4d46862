//! What a sequence remembers: per layer, the state of the tokens so far.
//!
//! Layers may keep different kinds of state ([`LayerState`]); some kinds cannot be taken back to an earlier position, so
//! [`KvCache::rewind`] says how far it got.

use crate::{TokenId, model::DecoderSpec};
use slm_kernels::{KvLayer, KvType};

/// State of one layer for one sequence.
enum LayerState {
    /// Keys and values of every position; can be rewound to any.
    Full(KvLayer),
}

/// The state of one sequence, and the tokens that made it.
pub struct KvCache {
    tokens: Vec<TokenId>,
    /// How many positions the sequence is going to have at least.
    expected_len: usize,
    /// Whether keys were rotated as those of long sequences are.
    is_long: bool,
    layers: Vec<LayerState>,
}

impl KvCache {
    pub(crate) fn new(spec: &DecoderSpec, kv_type: KvType) -> Self {
        let layer = || {
            LayerState::Full(KvLayer::new(
                kv_type,
                spec.n_kv_heads,
                spec.head_dim,
                spec.v_head_dim,
            ))
        };
        Self {
            tokens: Vec::new(),
            expected_len: 0,
            is_long: false,
            layers: (0..spec.n_layers).map(|_| layer()).collect(),
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

    /// How many of the first `tokens` are already in here.
    pub fn common_prefix(&self, tokens: &[TokenId]) -> usize {
        self.tokens
            .iter()
            .zip(tokens)
            .take_while(|(a, b)| a == b)
            .count()
    }

    /// Forgets everything from position `len` on. Returns the length that is left: at most `len`, and less where a
    /// layer's state cannot be taken back that exactly.
    pub fn rewind(&mut self, len: usize) -> usize {
        let len = len.min(self.tokens.len());
        for layer in &mut self.layers {
            match layer {
                LayerState::Full(kv) => kv.truncate(len),
            }
        }
        self.tokens.truncate(len);
        self.expected_len = 0;
        len
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

    /// Bytes that one more position adds.
    pub fn bytes_per_position(&self) -> usize {
        self.layers
            .iter()
            .map(|LayerState::Full(kv)| kv.bytes_per_position())
            .sum()
    }

    /// Notes the tokens whose state the layers received in this step.
    pub(crate) fn extend(&mut self, tokens: &[TokenId]) {
        self.tokens.extend_from_slice(tokens);
    }

    pub(crate) fn layer_mut(&mut self, il: usize) -> &mut KvLayer {
        let LayerState::Full(kv) = &mut self.layers[il];
        kv
    }
}
