//! Tensor table: names, shapes, types, places.

/// Storage type of a tensor (ggml type ids; see `docs` of each for its layout in `slm-kernels`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    non_camel_case_types,
    missing_docs,
    reason = "the names that the field uses"
)]
pub enum TensorType {
    F32,
    F16,
    Q4_0,
    Q4_1,
}

impl TensorType {
    /// The ggml type id.
    pub fn id(self) -> u32 {
        todo!()
    }
    /// The field's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        todo!()
    }
}

/// One row of the tensor table.
#[derive(Clone, Debug)]
pub struct TensorInfo<'a> {
    /// Name, unique in the file.
    pub name: &'a str,
    /// Dimensions, fastest first (`ne` order): a matrix `y = W x` is `[n_in, n_out]`. One to four entries.
    pub shape: Vec<u64>,
    /// Storage type.
    pub tensor_type: TensorType,
    /// Offset of the first byte from the start of the file.
    pub(crate) offset: usize,
    /// Length in bytes.
    pub size_bytes: usize,
}

impl TensorInfo<'_> {
    /// Number of values.
    pub fn n_elements(&self) -> u64 {
        let _ = self.offset;
        self.shape.iter().product()
    }
}
