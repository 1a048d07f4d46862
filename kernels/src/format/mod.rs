//! One file per weight format: block layout, dequantise, quantise. [`QuantType`] is the table of them.

/// A weight format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names that the field uses")]
pub enum QuantType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl QuantType {
    /// Every format that can be computed with.
    pub const ALL: &[QuantType] = &[];
    /// From the ggml type id; `None` when there is no arithmetic for it.
    pub fn from_id(_id: u32) -> Option<Self> {
        todo!()
    }
    /// The ggml type id.
    pub fn id(self) -> u32 {
        todo!()
    }
    /// The field's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        todo!()
    }
    /// Values per block.
    pub fn block_len(self) -> usize {
        todo!()
    }
    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        todo!()
    }
    /// Bytes of a row of `n_cols` values; `None` when blocks do not divide it.
    pub fn row_bytes(self, n_cols: usize) -> Option<usize> {
        n_cols
            .is_multiple_of(self.block_len())
            .then(|| n_cols / self.block_len() * self.block_bytes())
    }
}

/// Expands whole blocks into `out`, bit for bit as the reference does.
///
/// # Panics
/// When `bytes` is not exactly the blocks of `out.len()` values.
pub fn dequantize(_quant_type: QuantType, _bytes: &[u8], _out: &mut [f32]) {
    todo!()
}

/// Quantises whole blocks by the reference's method without an importance matrix.
///
/// # Panics
/// When `values.len()` is not a multiple of the block length, or `out` is not exactly its blocks' size.
pub fn quantize(_quant_type: QuantType, _values: &[f32], _out: &mut [u8]) {
    todo!()
}
