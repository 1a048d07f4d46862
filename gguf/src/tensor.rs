//! Tensor table: names, shapes, types, places.

use crate::Error;
use crate::error::shown;

/// Most dimensions of a tensor.
pub(crate) const MAX_DIMS: usize = 4;
/// Most bytes of a tensor's name.
pub(crate) const MAX_NAME_BYTES: usize = 63;

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
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1_M,
    BF16,
    TQ1_0,
    TQ2_0,
    /// BitNet's ternary weights: four codes to a byte, and 32 bytes at the end of the tensor for its one scale.
    I2_S,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
}

struct Row {
    tensor_type: TensorType,
    id: u32,
    name: &'static str,
    block_len: u64,
    block_bytes: u64,
}

const fn row(
    tensor_type: TensorType,
    id: u32,
    name: &'static str,
    block_len: u64,
    block_bytes: u64,
) -> Row {
    Row {
        tensor_type,
        id,
        name,
        block_len,
        block_bytes,
    }
}

/// In the order of the variants.
static TENSOR_TYPES: [Row; 36] = [
    row(TensorType::F32, 0, "F32", 1, 4),
    row(TensorType::F16, 1, "F16", 1, 2),
    row(TensorType::Q4_0, 2, "Q4_0", 32, 18),
    row(TensorType::Q4_1, 3, "Q4_1", 32, 20),
    row(TensorType::Q5_0, 6, "Q5_0", 32, 22),
    row(TensorType::Q5_1, 7, "Q5_1", 32, 24),
    row(TensorType::Q8_0, 8, "Q8_0", 32, 34),
    row(TensorType::Q8_1, 9, "Q8_1", 32, 36),
    row(TensorType::Q2_K, 10, "Q2_K", 256, 84),
    row(TensorType::Q3_K, 11, "Q3_K", 256, 110),
    row(TensorType::Q4_K, 12, "Q4_K", 256, 144),
    row(TensorType::Q5_K, 13, "Q5_K", 256, 176),
    row(TensorType::Q6_K, 14, "Q6_K", 256, 210),
    row(TensorType::Q8_K, 15, "Q8_K", 256, 292),
    row(TensorType::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
    row(TensorType::IQ2_XS, 17, "IQ2_XS", 256, 74),
    row(TensorType::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
    row(TensorType::IQ1_S, 19, "IQ1_S", 256, 50),
    row(TensorType::IQ4_NL, 20, "IQ4_NL", 32, 18),
    row(TensorType::IQ3_S, 21, "IQ3_S", 256, 110),
    row(TensorType::IQ2_S, 22, "IQ2_S", 256, 82),
    row(TensorType::IQ4_XS, 23, "IQ4_XS", 256, 136),
    row(TensorType::I8, 24, "I8", 1, 1),
    row(TensorType::I16, 25, "I16", 1, 2),
    row(TensorType::I32, 26, "I32", 1, 4),
    row(TensorType::I64, 27, "I64", 1, 8),
    row(TensorType::F64, 28, "F64", 1, 8),
    row(TensorType::IQ1_M, 29, "IQ1_M", 256, 56),
    row(TensorType::BF16, 30, "BF16", 1, 2),
    row(TensorType::TQ1_0, 34, "TQ1_0", 256, 54),
    row(TensorType::TQ2_0, 35, "TQ2_0", 256, 66),
    row(TensorType::I2_S, 36, "I2_S", 4, 1),
    row(TensorType::MXFP4, 39, "MXFP4", 32, 17),
    row(TensorType::NVFP4, 40, "NVFP4", 64, 36),
    row(TensorType::Q1_0, 41, "Q1_0", 128, 18),
    row(TensorType::Q2_0, 42, "Q2_0", 64, 18),
];

const _: () = {
    let mut index = 0;
    while index < TENSOR_TYPES.len() {
        assert!(TENSOR_TYPES[index].tensor_type as usize == index);
        index += 1;
    }
};

/// Ids that files once used. (36 was one too, before BitNet took it for `I2_S`.)
const REMOVED_TYPES: [(u32, &str); 7] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl TensorType {
    /// Every type that a file may have.
    pub fn all() -> impl Iterator<Item = Self> {
        TENSOR_TYPES.iter().map(|row| row.tensor_type)
    }

    /// From the ggml type id; `None` for unknown and removed ones.
    pub fn from_id(id: u32) -> Option<Self> {
        TENSOR_TYPES
            .iter()
            .find(|row| row.id == id)
            .map(|row| row.tensor_type)
    }

    /// What a removed ggml type id stood for.
    pub(crate) fn removed_name(id: u32) -> Option<&'static str> {
        REMOVED_TYPES
            .iter()
            .find(|removed| removed.0 == id)
            .map(|removed| removed.1)
    }

    /// The ggml type id.
    pub fn id(self) -> u32 {
        self.row().id
    }

    /// The field's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Values per block.
    pub fn block_len(self) -> u64 {
        self.row().block_len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u64 {
        self.row().block_bytes
    }

    /// Bytes of a tensor behind its blocks: the scale of a whole [`I2_S`](Self::I2_S) tensor, else none.
    pub fn tail_bytes(self) -> u64 {
        match self {
            Self::I2_S => 32,
            _ => 0,
        }
    }

    fn row(self) -> &'static Row {
        &TENSOR_TYPES[self as usize]
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
    /// Which of a model's files it is in.
    pub(crate) file: usize,
    /// Offset of the first byte from the start of the file.
    pub(crate) offset: usize,
    /// Length in bytes.
    pub size_bytes: usize,
}

impl TensorInfo<'_> {
    /// Number of values; 0 when a dimension is.
    pub fn n_elements(&self) -> u64 {
        self.shape.iter().product() // checked at parse time
    }
}

/// Bytes of a tensor with one to four dimensions.
pub(crate) fn size_bytes(
    name: &str,
    tensor_type: TensorType,
    shape: &[u64],
) -> Result<usize, Error> {
    let n_cols = shape.first().copied().unwrap_or(1);
    let block_len = tensor_type.block_len();
    if !n_cols.is_multiple_of(block_len) {
        return Err(Error::PartialBlock {
            name: shown(name),
            n_cols,
            block_len,
            type_name: tensor_type.name(),
        });
    }
    // Each dimension and their product fit an i64, as in ggml, even when another dimension is 0.
    let n_elements = shape.iter().try_fold(1u64, |product, &dim| {
        let dim = i64::try_from(dim).ok()?.unsigned_abs();
        let product = product.checked_mul(dim)?;
        i64::try_from(product).ok().map(i64::unsigned_abs)
    });
    n_elements
        .and_then(|n| (n / block_len).checked_mul(tensor_type.block_bytes()))
        .and_then(|bytes| bytes.checked_add(tensor_type.tail_bytes()))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| Error::SizeOverflow {
            name: shown(name),
            shape: shape.to_vec(),
        })
}
