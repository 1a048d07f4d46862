//! Packed weights.

use crate::Compute;
use crate::format::QuantType;

/// Packed weights `[n_rows, n_cols]`, immutable.
pub struct Matrix {
    quant_type: QuantType,
    n_rows: usize,
    n_cols: usize,
}

/// Why bytes are no matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The shape has no values, or blocks do not divide its rows.
    #[error("a {} matrix cannot have {n_rows} rows of {n_cols} values", quant_type.name())]
    Shape {
        /// The format.
        quant_type: QuantType,
        /// Rows asked for.
        n_rows: usize,
        /// Columns asked for.
        n_cols: usize,
    },
    /// The bytes are not exactly the shape's.
    #[error("a {} matrix of {n_rows} x {n_cols} has {expected} bytes, not {actual}", quant_type.name())]
    Length {
        /// The format.
        quant_type: QuantType,
        /// Rows asked for.
        n_rows: usize,
        /// Columns asked for.
        n_cols: usize,
        /// Bytes of the shape.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The system gave no memory.
    #[error("cannot allocate {size_bytes} bytes for weights")]
    OutOfMemory {
        /// What was asked for.
        size_bytes: usize,
    },
}

impl Matrix {
    /// Packs row-major blocks of `quant_type` for the kernels, on all threads of `compute`.
    ///
    /// # Errors
    /// When `bytes` is not exactly `n_rows` rows of `n_cols` values, or memory is short.
    pub fn pack(
        _compute: &Compute,
        _quant_type: QuantType,
        _n_rows: usize,
        _n_cols: usize,
        _bytes: &[u8],
    ) -> Result<Matrix, PackError> {
        todo!()
    }

    /// Output values.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Input values.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The format of the source.
    pub fn quant_type(&self) -> QuantType {
        self.quant_type
    }

    /// Memory held.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }

    /// Expands one row, bit for bit as [`crate::format::dequantize`] of the source row.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not `n_cols` long.
    pub fn dequantize_row(&self, _row: usize, _out: &mut [f32]) {
        todo!()
    }
}
