//! What a sequence remembers: per layer, the state of the tokens so far.
//!
//! Layers keep different kinds of state ([`LayerState`]). Some cannot be taken back to every earlier position, so
//! [`KvCache::rewind`] says how far it got, and [`KvCache::reusable`] how far it would get; whoever rewinds computes the
//! rest again.

use crate::{
    TokenId,
    model::{AttentionShape, DecoderSpec, DeltaNetSpec, Mixer},
};
use slm_kernels::{KvLayer, KvType};

/// State of one layer for one sequence.
enum LayerState {
    /// Keys and values of every position; can be taken back to any.
    Full(KvLayer),
    /// Nothing of its own: the layer reads the keys and values of that earlier one.
    SharedWith(usize),
    /// What the last token left; can only be forgotten.
    Recurrent(RecurrentState),
}

/// State of a layer that carries it from token to token; zeroes at the start of a sequence.
#[derive(Clone)]
pub(crate) struct RecurrentState {
    /// Inputs that the convolutions still need: of each in turn, `[n_taps - 1, n_channels]`.
    pub(crate) history: Vec<f32>,
    /// Matrices of the delta rule, see [`slm_kernels::DeltaShape`]; empty for other layers.
    pub(crate) matrices: Vec<f32>,
}

impl RecurrentState {
    fn new(history_len: usize, matrices_len: usize) -> Self {
        Self {
            history: vec![0.0; history_len],
            matrices: vec![0.0; matrices_len],
        }
    }

    fn forget(&mut self) {
        self.history.fill(0.0);
        self.matrices.fill(0.0);
    }

    fn size_bytes(&self) -> usize {
        (self.history.len() + self.matrices.len()) * size_of::<f32>()
    }
}

/// The state of one sequence, and the tokens that made it.
pub struct KvCache {
    tokens: Vec<TokenId>,
    layers: Vec<LayerState>,
}

impl KvCache {
    pub(crate) fn new(spec: &DecoderSpec, kv_type: KvType) -> Self {
        let layer = |il| match spec.block(il).mixer {
            Mixer::Attention(AttentionShape {
                kv_of: Some(source),
                ..
            }) => LayerState::SharedWith(source),
            Mixer::Attention(shape) => LayerState::Full(KvLayer::new(
                kv_type,
                shape.n_kv_heads,
                shape.head_dim,
                shape.v_head_dim,
            )),
            Mixer::ShortConv(n_taps) => {
                LayerState::Recurrent(RecurrentState::new((n_taps - 1) * spec.hidden_size, 0))
            }
            Mixer::DeltaNet(DeltaNetSpec { shape, n_taps }) => {
                let channels =
                    2 * shape.n_k_heads * shape.k_head_dim + shape.n_v_heads * shape.v_head_dim;
                let history_len = (n_taps - 1) * channels;
                LayerState::Recurrent(RecurrentState::new(history_len, shape.state_len()))
            }
        };
        Self {
            tokens: Vec::new(),
            layers: (0..spec.n_layers).map(layer).collect(),
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

    /// How many of the first `tokens` need not be computed again: where [`KvCache::rewind`] to what is common would get.
    pub fn reusable(&self, tokens: &[TokenId]) -> usize {
        self.nearest(self.common_prefix(tokens))
    }

    /// Forgets everything from position `len` on. Returns the length that is left: at most `len`, and less, down to 0,
    /// where a layer's state cannot be taken back that exactly.
    pub fn rewind(&mut self, len: usize) -> usize {
        let len = self.nearest(len);
        for layer in &mut self.layers {
            match layer {
                LayerState::Full(kv) => kv.truncate(len),
                LayerState::SharedWith(_) => {}
                LayerState::Recurrent(state) if len < self.tokens.len() => state.forget(),
                LayerState::Recurrent(_) => {}
            }
        }
        self.tokens.truncate(len);
        len
    }

    /// The greatest length of at most `len` that all layers can be taken back to.
    fn nearest(&self, len: usize) -> usize {
        let is_recurrent = |layer: &LayerState| matches!(layer, LayerState::Recurrent(_));
        match self.tokens.len() {
            now if len >= now => now,
            _ if self.layers.iter().any(is_recurrent) => 0,
            _ => len,
        }
    }

    /// Bytes that one more position adds.
    pub fn bytes_per_position(&self) -> usize {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Full(kv) => kv.bytes_per_position(),
            LayerState::SharedWith(_) | LayerState::Recurrent(_) => 0,
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Bytes at `n_positions`.
    pub fn bytes_at(&self, n_positions: usize) -> u64 {
        let bytes = |layer: &LayerState| match layer {
            LayerState::Full(kv) => {
                (kv.bytes_per_position() as u64).saturating_mul(n_positions as u64)
            }
            LayerState::SharedWith(_) => 0,
            LayerState::Recurrent(state) => state.size_bytes() as u64,
        };
        self.layers.iter().map(bytes).fold(0, u64::saturating_add)
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
            LayerState::Full(kv) => kv,
            LayerState::SharedWith(source) => self.kv(*source),
            LayerState::Recurrent(_) => panic!("layer {il} has no keys"),
        }
    }

    /// Keys and values that layer `il` adds to.
    ///
    /// # Panics
    /// When it has none of its own.
    pub(crate) fn own_kv(&mut self, il: usize) -> &mut KvLayer {
        match &mut self.layers[il] {
            LayerState::Full(kv) => kv,
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
            LayerState::Full(_) | LayerState::SharedWith(_) => panic!("layer {il} has keys"),
        }
    }
}
