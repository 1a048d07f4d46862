//! What can be wrong with a GGUF file.

/// Why bytes are not a usable GGUF file. The owner of this crate adds variants; each names the key or tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not start with `GGUF`.
    #[error("not a GGUF file: it starts with {found:02x?} instead of `GGUF`")]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
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
}
