//! Metadata values: their types, and arrays that are decoded on each pass.

use std::fmt;

use crate::cursor::Cursor;
use crate::error::shown;

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

/// Name and encoded size (0: not fixed) by the specification's number, which is the variant's position.
const VALUE_TYPES: [(ValueType, &str, usize); 13] = [
    (ValueType::U8, "u8", 1),
    (ValueType::I8, "i8", 1),
    (ValueType::U16, "u16", 2),
    (ValueType::I16, "i16", 2),
    (ValueType::U32, "u32", 4),
    (ValueType::I32, "i32", 4),
    (ValueType::F32, "f32", 4),
    (ValueType::Bool, "bool", 1),
    (ValueType::String, "string", 0),
    (ValueType::Array, "array", 0),
    (ValueType::U64, "u64", 8),
    (ValueType::I64, "i64", 8),
    (ValueType::F64, "f64", 8),
];

impl ValueType {
    /// From the specification's number.
    pub fn from_id(id: u32) -> Option<Self> {
        let row = VALUE_TYPES.get(usize::try_from(id).ok()?)?;
        Some(row.0)
    }

    /// The specification's number.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// A short name, such as `u32`.
    pub fn name(self) -> &'static str {
        VALUE_TYPES[self as usize].1
    }

    /// Fewest bytes that a value takes in a file.
    pub(crate) fn min_bytes(self) -> usize {
        match self {
            Self::String => 8,
            Self::Array => 12,
            _ => VALUE_TYPES[self as usize].2,
        }
    }
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

impl<'a> Value<'a> {
    /// The type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The number of any integer type, `None` for the other types.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::I8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::U64(n) => Some(n.into()),
            Self::I64(n) => Some(n.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// Decodes a value that is not an array; `None` at the end of the bytes, and for arrays.
    pub(crate) fn decode(value_type: ValueType, cursor: &mut Cursor<'a>) -> Option<Self> {
        Some(match value_type {
            ValueType::U8 => Self::U8(cursor.u8()?),
            ValueType::I8 => Self::I8(cursor.i8()?),
            ValueType::U16 => Self::U16(cursor.u16()?),
            ValueType::I16 => Self::I16(cursor.i16()?),
            ValueType::U32 => Self::U32(cursor.u32()?),
            ValueType::I32 => Self::I32(cursor.i32()?),
            ValueType::F32 => Self::F32(cursor.f32()?),
            ValueType::Bool => Self::Bool(cursor.u8()? != 0),
            ValueType::String => Self::String(cursor.string()?),
            ValueType::U64 => Self::U64(cursor.u64()?),
            ValueType::I64 => Self::I64(cursor.i64()?),
            ValueType::F64 => Self::F64(cursor.f64()?),
            ValueType::Array => return None,
        })
    }
}

/// Type and value on one short line, for errors: `u32 5`, `string "llama"`, `array of 7 f32`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = self.value_type().name();
        match self {
            Self::Bool(b) => write!(f, "{type_name} {b}"),
            Self::F32(x) => write!(f, "{type_name} {x}"),
            Self::F64(x) => write!(f, "{type_name} {x}"),
            Self::String(bytes) => {
                let head = &bytes[..bytes.len().min(400)]; // `shown` cuts further, at a character
                match std::str::from_utf8(bytes) {
                    Ok(_) => write!(
                        f,
                        "{type_name} \"{}\"",
                        shown(&String::from_utf8_lossy(head))
                    ),
                    Err(_) => write!(f, "{type_name} of {} bytes that are not UTF-8", bytes.len()),
                }
            }
            Self::Array(array) => {
                write!(
                    f,
                    "{type_name} of {} {}",
                    array.len,
                    array.element_type.name()
                )
            }
            _ => match self.as_integer() {
                Some(n) => write!(f, "{type_name} {n}"),
                None => f.write_str(type_name),
            },
        }
    }
}

/// An array, validated when the file was parsed and decoded on each pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    element_type: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// An array of `len` elements at the start of `cursor`, or `None` when they do not fit into its bytes.
    pub(crate) fn decode(
        element_type: ValueType,
        len: usize,
        cursor: &mut Cursor<'a>,
    ) -> Option<Self> {
        let bytes = match element_type {
            ValueType::Array => return None,
            ValueType::String => {
                let mut end = cursor.clone();
                for _ in 0..len {
                    end.string()?;
                }
                cursor.take(end.position() - cursor.position())?
            }
            _ => cursor.take(len.checked_mul(element_type.min_bytes())?)?,
        };
        Some(Self {
            element_type,
            len,
            bytes,
        })
    }

    /// The elements as they stand in the file.
    pub(crate) fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

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
        let element_type = self.element_type;
        let mut cursor = Cursor::new(self.bytes);
        (0..self.len).map_while(move |_| Value::decode(element_type, &mut cursor))
    }

    /// The elements as strings, or `None` when it holds something else.
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let mut cursor = Cursor::new(self.bytes);
        (self.element_type == ValueType::String)
            .then(|| (0..self.len).map_while(move |_| cursor.string()))
    }

    /// The elements as `i64`, any integer or bool type, or `None`. `u64` above `i64::MAX` gives `None` too.
    pub fn integers(&self) -> Option<Vec<i64>> {
        self.numbers(|value| match value {
            Value::Bool(b) => Some(b.into()),
            _ => value.as_integer().and_then(|n| i64::try_from(n).ok()),
        })
    }

    /// The elements as `f32`, from f32, f64 or integers, or `None`.
    pub fn floats(&self) -> Option<Vec<f32>> {
        self.numbers(|value| match value {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => value.as_integer().map(|n| n as f32),
        })
    }

    fn numbers<T>(&self, convert: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        if self.element_type == ValueType::String {
            return None;
        }
        let mut numbers = Vec::with_capacity(self.len); // each element is there: at least one byte in the file
        for value in self.iter() {
            numbers.push(convert(value)?);
        }
        Some(numbers)
    }
}
