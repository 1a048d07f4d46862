//! The GGUF container (versions 2 and 3, little-endian): header, metadata, tensor table, writer.
//!
//! [`Gguf::parse`] borrows from the bytes of a whole file (usually a memory map) and copies nothing but the tables
//! themselves. It never panics and never allocates more than a small multiple of what the file really holds, whatever
//! the bytes say. Not here: arithmetic on weights (see `slm-kernels`) and what a key means (see `slm-engine`).

mod error;
mod metadata;
mod reader;
mod tensor;
mod writer;

pub use error::Error;
pub use metadata::{Array, Metadata, Value, ValueType};
pub use reader::Gguf;
pub use tensor::{TensorInfo, TensorType};
pub use writer::Writer;
