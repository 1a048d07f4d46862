//! State that goes from token to token, and copies of it to come back to.

use slm_kernels::DeltaShape;
use std::sync::Arc;

/// State of a layer that carries it from token to token; zeroes at the start of a sequence.
#[derive(Clone)]
pub(crate) struct RecurrentState {
    /// Inputs that the convolutions still need: of each in turn, `[n_taps - 1, n_channels]`.
    pub(crate) history: Vec<f32>,
    /// Matrices of the delta rule, see [`DeltaShape::state_len`]; empty for other layers.
    pub(crate) matrices: Vec<f32>,
}

impl RecurrentState {
    /// Of a convolution alone.
    pub(super) fn of_convolution(n_taps: usize, n_channels: usize) -> Self {
        Self {
            history: vec![0.0; (n_taps - 1) * n_channels],
            matrices: Vec::new(),
        }
    }

    /// Of a delta net, with the convolutions of its queries, keys and values.
    pub(super) fn of_delta_net(n_taps: usize, shape: DeltaShape) -> Self {
        let n_channels =
            2 * shape.n_k_heads * shape.k_head_dim + shape.n_v_heads * shape.v_head_dim;
        Self {
            history: vec![0.0; (n_taps - 1) * n_channels],
            matrices: vec![0.0; shape.state_len()],
        }
    }

    pub(super) fn forget(&mut self) {
        self.history.fill(0.0);
        self.matrices.fill(0.0);
    }

    pub(super) fn size_bytes(&self) -> usize {
        (self.history.len() + self.matrices.len()) * size_of::<f32>()
    }
}

/// Copies of the states of all such layers at one length.
#[derive(Clone)]
pub(super) struct Checkpoint {
    pub(super) len: usize,
    /// In the layers' order.
    pub(super) states: Arc<[RecurrentState]>,
}
