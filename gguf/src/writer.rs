//! Writes a GGUF file: metadata and tensors in the order given, padded to the alignment.

/// Collects metadata and tensors; `finish` gives the bytes. The owner of this crate gives it methods.
#[derive(Debug, Default)]
pub struct Writer {}
