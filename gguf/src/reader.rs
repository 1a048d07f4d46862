//! Bytes of a whole file to tables.
use crate::{Error, Metadata, TensorInfo};

/// A parsed file. Borrows `bytes`.
#[derive(Debug)]
pub struct Gguf<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) metadata: Metadata<'a>,
    pub(crate) tensors: Vec<TensorInfo<'a>>,
}

impl<'a> Gguf<'a> {
    /// Parses and checks header, metadata and tensor table of a whole file.
    ///
    /// # Errors
    /// Anything that a reader could trip over later: see [`Error`].
    pub fn parse(_bytes: &'a [u8]) -> Result<Self, Error> {
        todo!()
    }
    /// The key-value pairs.
    pub fn metadata(&self) -> &Metadata<'a> {
        &self.metadata
    }
    /// The tensors in file order; names are unique.
    pub fn tensors(&self) -> &[TensorInfo<'a>] {
        &self.tensors
    }
    /// The tensor called `name`.
    pub fn tensor(&self, _name: &str) -> Option<&TensorInfo<'a>> {
        todo!()
    }
    /// The bytes of a tensor of this file, checked at parse time to be inside it.
    pub fn tensor_data(&self, _info: &TensorInfo<'a>) -> &'a [u8] {
        let _ = self.bytes;
        todo!()
    }
}
