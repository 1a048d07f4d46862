//! Keys and values of one layer of one sequence.

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    F32,
}

/// Keys and values of one layer of one sequence.
pub struct KvLayer {
    len: usize,
}

impl KvLayer {
    /// An empty cache.
    pub fn new(_kv_type: KvType, _n_kv_heads: usize, _head_dim: usize, _v_head_dim: usize) -> Self {
        todo!()
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds `n_tokens` positions: `k` is `[n_tokens, n_kv_heads, head_dim]`, `v` is `[n_tokens, n_kv_heads, v_head_dim]`.
    ///
    /// # Panics
    /// When the lengths disagree.
    pub fn append(&mut self, _n_tokens: usize, _k: &[f32], _v: &[f32]) {
        todo!()
    }

    /// Bytes that one more position costs.
    pub fn bytes_per_position(&self) -> usize {
        todo!()
    }
}
