//! [`Matrix`]: weights packed for the kernels.

use crate::Compute;
use crate::activations::RecordKind;
use crate::format::QuantType;
use crate::layout::{self, TILE_ROWS, TileShape};
use crate::memory::{Part, Scratch, Shared};

/// Packed weights `[n_rows, n_cols]`, immutable.
pub struct Matrix {
    quant_type: QuantType,
    n_rows: usize,
    n_cols: usize,
    shape: TileShape,
    tiles: Part,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}x{}",
            self.quant_type.name(),
            self.n_rows,
            self.n_cols
        )
    }
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
    /// Bytes that a matrix takes when packed; `None` when blocks do not divide its rows or it could not exist.
    pub fn packed_bytes(quant_type: QuantType, n_rows: usize, n_cols: usize) -> Option<usize> {
        // No format takes eight bytes for a value, so that a tile can be counted without overflow.
        quant_type.tensor_bytes(n_rows, n_cols)?;
        n_cols.checked_mul(8 * TILE_ROWS)?;
        let shape = TileShape::new(quant_type, n_cols);
        n_rows.div_ceil(TILE_ROWS).checked_mul(shape.tile_bytes)
    }

    /// Bytes of the scratch that [`Compute::matmul`] quantises `n_tokens` rows of `n_cols` activations into, for a
    /// matrix of this type: at most twice of what is needed.
    ///
    /// [`Compute::matmul`]: crate::Compute::matmul
    pub fn activation_bytes(quant_type: QuantType, n_cols: usize, n_tokens: usize) -> usize {
        let fields = RecordKind::of(quant_type).fields(n_cols);
        Scratch::rounded(
            fields
                .saturating_mul(n_tokens)
                .saturating_mul(size_of::<u32>()),
        )
    }

    /// A name for how a matrix of this type wants activations: those that want them alike share the scratch.
    pub fn activation_kind(quant_type: QuantType) -> &'static str {
        match RecordKind::of(quant_type) {
            RecordKind::Float => "float",
            RecordKind::Block32 => "block32",
            RecordKind::Block256 => "block256",
        }
    }

    /// Packs a tensor, row-major blocks of `quant_type`, for the kernels, on all threads of `compute`.
    ///
    /// # Errors
    /// When `bytes` is not exactly `n_rows` rows of `n_cols` values, or memory is short.
    pub fn pack(
        compute: &Compute,
        quant_type: QuantType,
        n_rows: usize,
        n_cols: usize,
        bytes: &[u8],
    ) -> Result<Matrix, PackError> {
        let row_bytes = quant_type
            .row_bytes(n_cols)
            .filter(|&size| size > 0 && n_rows > 0);
        let row_bytes = row_bytes.ok_or(PackError::Shape {
            quant_type,
            n_rows,
            n_cols,
        })?;
        let expected = quant_type.tensor_bytes(n_rows, n_cols);
        if expected != Some(bytes.len()) {
            let (expected, actual) = (expected.unwrap_or(usize::MAX), bytes.len());
            return Err(PackError::Length {
                quant_type,
                n_rows,
                n_cols,
                expected,
                actual,
            });
        }
        let (rows, tail) = bytes.split_at(bytes.len() - quant_type.tail_bytes());
        // The bytes exist, so that sums of their order do not overflow from here on.
        let shape = TileShape::new(quant_type, n_cols);
        let n_tiles = n_rows.div_ceil(TILE_ROWS);
        let size_bytes = n_tiles.saturating_mul(shape.tile_bytes);
        let tiles = compute.arena().zeroed(size_bytes);
        let mut tiles = tiles.ok_or(PackError::OutOfMemory { size_bytes })?;
        let start = Shared(tiles.as_mut_slice().as_mut_ptr());
        compute.parallel_for(n_tiles, 1, &|range| {
            for index in range {
                // SAFETY: tiles do not overlap, and each is packed once.
                let tile = unsafe {
                    std::slice::from_raw_parts_mut(
                        start.get().add(index * shape.tile_bytes),
                        shape.tile_bytes,
                    )
                };
                let rows = &rows[index * TILE_ROWS * row_bytes..];
                let rows = &rows[..rows.len().min(TILE_ROWS * row_bytes)];
                layout::pack_tile(quant_type, row_bytes, rows, tail, tile);
            }
        });
        Ok(Matrix {
            quant_type,
            n_rows,
            n_cols,
            shape,
            tiles,
        })
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
        self.tiles.len()
    }

    /// Expands one row, bit for bit as [`crate::format::dequantize`] of the source row.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not `n_cols` long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n_rows, "row {row} of {}", self.n_rows);
        assert_eq!(out.len(), self.n_cols, "the row's length");
        let tile = &self.tiles.as_slice()[row / TILE_ROWS * self.shape.tile_bytes..];
        layout::dequantize_row(
            self.quant_type,
            &tile[..self.shape.tile_bytes],
            row % TILE_ROWS,
            out,
        );
    }

    pub(crate) fn shape(&self) -> TileShape {
        self.shape
    }

    pub(crate) fn n_tiles(&self) -> usize {
        self.n_rows.div_ceil(TILE_ROWS)
    }

    /// The first tile.
    pub(crate) fn weights(&self) -> *const u8 {
        self.tiles.as_ptr()
    }

    pub(crate) fn record_kind(&self) -> RecordKind {
        RecordKind::of(self.quant_type)
    }
}

impl RecordKind {
    /// How a matrix of this type wants activations.
    fn of(quant_type: QuantType) -> Self {
        match quant_type {
            QuantType::F32 | QuantType::F16 | QuantType::Bf16 => RecordKind::Float,
            QuantType::Q4_0
            | QuantType::Q4_1
            | QuantType::Q5_0
            | QuantType::Q5_1
            | QuantType::Q8_0
            | QuantType::Iq4Nl
            | QuantType::I2S
            | QuantType::Mxfp4 => RecordKind::Block32,
            QuantType::Q2K
            | QuantType::Q3K
            | QuantType::Q4K
            | QuantType::Q5K
            | QuantType::Q6K
            | QuantType::Iq4Xs
            | QuantType::Tq1_0
            | QuantType::Tq2_0 => RecordKind::Block256,
        }
    }
}
