//! What can be wrong with a GGUF file.

/// Why bytes are not a usable GGUF file, or cannot become one. Names from the file are shortened and escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not start with `GGUF`.
    #[error("not a GGUF file: it starts with {found:02x?} instead of `GGUF`")]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The file is of the byte order that nobody uses.
    #[error(
        "the file is big-endian GGUF, which is not supported: convert the model again as little-endian"
    )]
    BigEndian,
    /// A version before 2, or one not known yet.
    #[error("GGUF version {version} is not supported, only 2 and 3 are")]
    UnsupportedVersion {
        /// The file's version.
        version: u32,
    },
    /// Something goes on behind the end of the file.
    #[error(
        "the file ends after {file_bytes} bytes inside {place}: it is cut short, or a length in it is wrong"
    )]
    Truncated {
        /// What was being read.
        place: String,
        /// Length of the file.
        file_bytes: usize,
    },
    /// A count that cannot be true, or that no model has.
    #[error("the file claims {count} {what}, but at most {limit} are possible here")]
    TooMany {
        /// What is counted.
        what: String,
        /// The file's claim.
        count: u64,
        /// The most that is accepted, given the rest of the file.
        limit: u64,
    },
    /// A key or name that is not UTF-8.
    #[error("{place} is not UTF-8")]
    NotUtf8 {
        /// Which key or name.
        place: String,
    },
    /// A metadata entry without a key.
    #[error("metadata entry {index} has an empty key")]
    EmptyKey {
        /// Position in the file.
        index: usize,
    },
    /// A key that stands twice.
    #[error("metadata key `{key}` occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value type that does not exist.
    #[error("metadata key `{key}` has a value of unknown type {id}")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type's number.
        id: u32,
    },
    /// An array of arrays.
    #[error("metadata key `{key}` holds an array of arrays, which is not supported")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A required key is absent.
    #[error("metadata key `{key}` is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key has a value of another type or out of range.
    #[error("metadata key `{key}` should be {expected} but is {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
    /// A tensor name beyond the format's limit.
    #[error("the name of tensor {index} is {n_bytes} bytes long, more than {limit}")]
    LongTensorName {
        /// Position in the table.
        index: usize,
        /// Length of the name.
        n_bytes: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// A name that stands twice.
    #[error("tensor `{name}` occurs twice")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// More dimensions than the format knows.
    #[error("tensor `{name}` has {n_dims} dimensions, more than 4")]
    TooManyDims {
        /// The tensor.
        name: String,
        /// The file's claim.
        n_dims: u64,
    },
    /// A storage type that is not known.
    #[error("tensor `{name}` has the unknown type {id}: a newer version may know it")]
    UnknownTensorType {
        /// The tensor.
        name: String,
        /// The ggml type id.
        id: u32,
    },
    /// A storage type that the format dropped.
    #[error(
        "tensor `{name}` has the type {type_name} (id {id}), which GGUF has removed: convert the model again"
    )]
    RemovedTensorType {
        /// The tensor.
        name: String,
        /// The ggml type id.
        id: u32,
        /// What it was called.
        type_name: &'static str,
    },
    /// Rows that blocks do not divide.
    #[error(
        "tensor `{name}` has rows of {n_cols} values, which blocks of {block_len} ({type_name}) do not divide"
    )]
    PartialBlock {
        /// The tensor.
        name: String,
        /// Values per row.
        n_cols: u64,
        /// Values per block.
        block_len: u64,
        /// The storage type.
        type_name: &'static str,
    },
    /// A shape whose size is not a number of bytes on this machine.
    #[error("tensor `{name}` with shape {shape:?} is too large to address")]
    SizeOverflow {
        /// The tensor.
        name: String,
        /// Its dimensions.
        shape: Vec<u64>,
    },
    /// An alignment that is not a sensible power of two.
    #[error("`general.alignment` is {found}, which is not a power of two up to {limit}")]
    BadAlignment {
        /// The file's value.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A tensor that does not start where tensors may.
    #[error(
        "tensor `{name}` starts at offset {offset}, which is not a multiple of the alignment {alignment}"
    )]
    MisalignedTensor {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor that goes on behind the end of the file.
    #[error(
        "tensor `{name}` needs {size_bytes} bytes at offset {offset} of the data, but there are only {data_bytes}: \
         the file is cut short or damaged"
    )]
    TensorOutsideFile {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// Its length.
        size_bytes: u64,
        /// Length of all data.
        data_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    OverlappingTensors {
        /// The one that starts first.
        first: String,
        /// The one that starts inside it.
        second: String,
    },
    /// Only when writing: data of another length than shape and type say.
    #[error("tensor `{name}` should have {expected} bytes of data but has {found}")]
    WrongDataLength {
        /// The tensor.
        name: String,
        /// What shape and type say.
        expected: usize,
        /// What was given.
        found: usize,
    },
}

/// A name or value from a file, fit for one line of an error: at most 80 characters, controls escaped.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut chars = text.chars();
    let mut out: String = chars
        .by_ref()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
