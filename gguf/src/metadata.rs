//! Metadata: typed key-value pairs, read lazily from the file's bytes.
use crate::Error;

/// Element type of a value (GGUF specification, `gguf_metadata_value_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the specification's names")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

/// One value. Strings are bytes: files in the wild hold token text that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the specification's names")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array, validated when the file was parsed and decoded on each pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    element_type: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Type of the elements; never [`ValueType::Array`].
    pub fn element_type(&self) -> ValueType {
        self.element_type
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let _ = self.bytes;
        std::iter::empty()
    }
    /// The elements as strings, or `None` when it holds something else.
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let _ = self.bytes;
        None::<std::iter::Empty<&'a [u8]>>
    }
    /// The elements as `i64`, any integer or bool type, or `None`. `u64` above `i64::MAX` gives `None` too.
    pub fn integers(&self) -> Option<Vec<i64>> {
        todo!()
    }
    /// The elements as `f32`, from f32, f64 or integers, or `None`.
    pub fn floats(&self) -> Option<Vec<f32>> {
        todo!()
    }
}

/// All pairs of a file, in file order; keys are unique and not empty.
#[derive(Debug, Default)]
pub struct Metadata<'a> {
    pub(crate) entries: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Metadata<'a> {
    /// The value under `key`.
    pub fn get(&self, _key: &str) -> Option<&Value<'a>> {
        todo!()
    }
    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Value<'a>)> {
        self.entries.iter().map(|(k, v)| (*k, v))
    }
    /// A required UTF-8 string. # Errors when absent or of another type.
    pub fn string(&self, _key: &str) -> Result<&'a str, Error> {
        todo!()
    }
    /// An optional UTF-8 string; absent is `Ok(None)`.
    pub fn opt_string(&self, _key: &str) -> Result<Option<&'a str>, Error> {
        todo!()
    }
    /// A required count: any integer type whose value fits.
    pub fn u32(&self, _key: &str) -> Result<u32, Error> {
        todo!()
    }
    /// An optional count.
    pub fn opt_u32(&self, _key: &str) -> Result<Option<u32>, Error> {
        todo!()
    }
    /// A required number, from f32 or f64.
    pub fn f32(&self, _key: &str) -> Result<f32, Error> {
        todo!()
    }
    /// An optional number.
    pub fn opt_f32(&self, _key: &str) -> Result<Option<f32>, Error> {
        todo!()
    }
    /// An optional flag.
    pub fn opt_bool(&self, _key: &str) -> Result<Option<bool>, Error> {
        todo!()
    }
    /// An optional array.
    pub fn opt_array(&self, _key: &str) -> Result<Option<Array<'a>>, Error> {
        todo!()
    }
}
