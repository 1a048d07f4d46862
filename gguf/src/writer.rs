//! Writes a GGUF file: metadata and tensors in the order given, padded to the alignment.
//!
//! What [`Writer::finish`] returns has been through [`Gguf::parse`], so it never gives a file that cannot be read.

use std::borrow::Cow;

use crate::error::shown;
use crate::reader::{MAGIC, alignment};
use crate::tensor::size_bytes;
use crate::{Error, Gguf, TensorType, Value, ValueType};

/// Version that is written.
const VERSION: u32 = 3;

/// Collects metadata and tensors; `finish` gives the bytes.
///
/// The alignment is 32, or what was put as a `u32` under `general.alignment`.
#[derive(Clone, Debug, Default)]
pub struct Writer<'a> {
    n_entries: u64,
    /// All pairs, encoded.
    entries: Vec<u8>,
    tensors: Vec<NewTensor<'a>>,
}

#[derive(Clone, Debug)]
struct NewTensor<'a> {
    name: String,
    tensor_type: TensorType,
    shape: Vec<u64>,
    data: Cow<'a, [u8]>,
}

impl<'a> Writer<'a> {
    /// A file without anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair whose value is a number, a bool or a string.
    pub fn put<E: Element>(&mut self, key: &str, value: E) -> &mut Self {
        self.start_entry(key, E::TYPE);
        value.encode(&mut self.entries);
        self
    }

    /// Adds a pair whose value is an array.
    pub fn put_array<E: Element>(&mut self, key: &str, elements: &[E]) -> &mut Self {
        self.start_entry(key, ValueType::Array);
        self.entries.extend(E::TYPE.id().to_le_bytes());
        self.entries.extend((elements.len() as u64).to_le_bytes());
        for element in elements {
            element.encode(&mut self.entries);
        }
        self
    }

    /// Adds a pair as another file has it.
    pub fn put_value(&mut self, key: &str, value: &Value<'_>) -> &mut Self {
        match *value {
            Value::U8(n) => self.put(key, n),
            Value::I8(n) => self.put(key, n),
            Value::U16(n) => self.put(key, n),
            Value::I16(n) => self.put(key, n),
            Value::U32(n) => self.put(key, n),
            Value::I32(n) => self.put(key, n),
            Value::F32(x) => self.put(key, x),
            Value::Bool(b) => self.put(key, b),
            Value::String(bytes) => self.put(key, bytes),
            Value::U64(n) => self.put(key, n),
            Value::I64(n) => self.put(key, n),
            Value::F64(x) => self.put(key, x),
            Value::Array(array) => {
                self.start_entry(key, ValueType::Array);
                self.entries.extend(array.element_type().id().to_le_bytes());
                self.entries.extend((array.len() as u64).to_le_bytes());
                self.entries.extend(array.encoded());
                self
            }
        }
    }

    /// Adds a tensor of `shape` (fastest dimension first) with its encoded `data`.
    pub fn tensor(
        &mut self,
        name: &str,
        tensor_type: TensorType,
        shape: &[u64],
        data: impl Into<Cow<'a, [u8]>>,
    ) -> &mut Self {
        self.tensors.push(NewTensor {
            name: name.to_string(),
            tensor_type,
            shape: shape.to_vec(),
            data: data.into(),
        });
        self
    }

    /// Adds a tensor whose data is written to the file behind [`Writer::head`], and is never in memory as a whole.
    pub fn tensor_later(
        &mut self,
        name: &str,
        tensor_type: TensorType,
        shape: &[u64],
    ) -> &mut Self {
        self.tensor(name, tensor_type, shape, Vec::new())
    }

    /// What stands before the data of the tensors. The data has to follow, that of each tensor in the order in which
    /// they were added, padded to the alignment.
    ///
    /// # Errors
    /// When a shape cannot be that of a tensor, or [`Gguf::parse`] would refuse the metadata. Names of tensors are not
    /// checked.
    pub fn head(&self) -> Result<Vec<u8>, Error> {
        let (mut file, alignment) = self.metadata()?;
        self.encode_infos(alignment, &mut file)?;
        file.resize(file.len().next_multiple_of(alignment), 0);
        Ok(file)
    }

    /// The whole file.
    ///
    /// # Errors
    /// When a tensor's data does not have the length that its shape and type ask for, and whenever
    /// [`Gguf::parse`] would refuse the file: keys or names that stand twice, names that are too long, an alignment
    /// that is none.
    pub fn finish(&self) -> Result<Vec<u8>, Error> {
        let (mut file, alignment) = self.metadata()?;
        for tensor in &self.tensors {
            let expected = size_bytes(&tensor.name, tensor.tensor_type, &tensor.shape)?;
            if tensor.data.len() != expected {
                return Err(Error::WrongDataLength {
                    name: shown(&tensor.name),
                    expected,
                    found: tensor.data.len(),
                });
            }
        }
        self.encode_infos(alignment, &mut file)?;
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(alignment), 0);
            file.extend_from_slice(&tensor.data);
        }
        if !self.tensors.is_empty() {
            file.resize(file.len().next_multiple_of(alignment), 0);
        }
        Gguf::parse(&file)?;
        Ok(file)
    }

    /// Header and metadata, and the alignment that they ask for.
    fn metadata(&self) -> Result<(Vec<u8>, usize), Error> {
        let mut file = self.header(0);
        file.extend(&self.entries);
        let alignment = alignment(Gguf::parse(&file)?.metadata())? as usize;
        file.splice(..HEADER_BYTES, self.header(self.tensors.len() as u64));
        Ok((file, alignment))
    }

    fn encode_infos(&self, alignment: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut offset = 0;
        for tensor in &self.tensors {
            tensor.encode_info(offset, out);
            let size = size_bytes(&tensor.name, tensor.tensor_type, &tensor.shape)?;
            offset = (offset + size).next_multiple_of(alignment);
        }
        Ok(())
    }

    fn start_entry(&mut self, key: &str, value_type: ValueType) {
        key.encode(&mut self.entries);
        self.entries.extend(value_type.id().to_le_bytes());
        self.n_entries += 1;
    }

    fn header(&self, n_tensors: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(n_tensors.to_le_bytes());
        header.extend(self.n_entries.to_le_bytes());
        header
    }
}

const HEADER_BYTES: usize = 4 + 4 + 8 + 8;

impl NewTensor<'_> {
    fn encode_info(&self, offset: usize, out: &mut Vec<u8>) {
        self.name.encode(out);
        out.extend((self.shape.len() as u32).to_le_bytes());
        for dim in &self.shape {
            out.extend(dim.to_le_bytes());
        }
        out.extend(self.tensor_type.id().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
    }
}

/// What [`Writer::put`] takes as a value and [`Writer::put_array`] as an element: numbers, bools, strings.
pub trait Element: sealed::Encode {
    /// Its type in the file.
    const TYPE: ValueType;
}

mod sealed {
    /// Appends a value as the file has it.
    pub trait Encode {
        fn encode(&self, out: &mut Vec<u8>);
    }
}
use sealed::Encode;

macro_rules! numbers {
    ($($number:ty => $value_type:ident),* $(,)?) => {$(
        impl Encode for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
        impl Element for $number {
            const TYPE: ValueType = ValueType::$value_type;
        }
    )*};
}

numbers! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64,
}

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }
}
impl Element for bool {
    const TYPE: ValueType = ValueType::Bool;
}

macro_rules! strings {
    ($($string:ty),*) => {$(
        impl Encode for $string {
            fn encode(&self, out: &mut Vec<u8>) {
                let bytes: &[u8] = self.as_ref();
                out.extend((bytes.len() as u64).to_le_bytes());
                out.extend(bytes);
            }
        }
        impl Element for $string {
            const TYPE: ValueType = ValueType::String;
        }
    )*};
}

strings!(&str, String, &[u8], Vec<u8>);
