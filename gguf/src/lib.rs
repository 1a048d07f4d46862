//! The GGUF container (versions 2 and 3, little-endian): header, metadata, tensor table, writer.
//!
//! [`Gguf::parse`] borrows from the bytes of a whole file (usually a memory map) and copies nothing but the tables
//! themselves. It never panics and never allocates more than a small multiple of what the file really holds, whatever
//! the bytes say. Not here: arithmetic on weights (see `slm-kernels`) and what a key means (see `slm-engine`).
#![forbid(unsafe_code)]

mod cursor;
mod error;
mod metadata;
mod reader;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub use error::{Error, shown};
pub use metadata::Metadata;
pub use reader::{Gguf, Shard};
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, Value, ValueType};
pub use writer::{Element, Writer};
