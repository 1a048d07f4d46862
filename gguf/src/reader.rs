//! Bytes of a whole file to tables, believing nothing that they say about themselves.
//!
//! Every count and length is held against the bytes that are left before anything is allocated or skipped, every sum
//! and product is checked, and what is returned needs no further checks: strings and arrays are whole, tensors lie
//! inside the file, aligned and apart from each other.

use std::collections::HashMap;

use crate::cursor::Cursor;
use crate::error::shown;
use crate::tensor::{MAX_DIMS, MAX_NAME_BYTES, size_bytes};
use crate::{Array, Error, Metadata, TensorInfo, TensorType, Value, ValueType};

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// Most metadata entries, and most tensors. The largest models have a few thousand tensors and a hundred entries.
const MAX_TABLE_LEN: u64 = 1 << 16;
/// Most elements of an array. The largest vocabularies have about 2^18 tokens.
const MAX_ARRAY_LEN: u64 = 1 << 24;
/// Fewest bytes of an entry: length of the key, one letter, type, one byte.
const MIN_ENTRY_BYTES: usize = 8 + 1 + 4 + 1;
/// Fewest bytes of a tensor's row: length of the name, number of dimensions, type, offset.
const MIN_TENSOR_BYTES: usize = 8 + 4 + 4 + 8;

/// A parsed file, or several that make one model. Borrows their bytes.
#[derive(Debug)]
pub struct Gguf<'a> {
    /// The file, and those that were joined to it.
    files: Vec<&'a [u8]>,
    version: u32,
    metadata: Metadata<'a>,
    tensors: Vec<TensorInfo<'a>>,
    tensor_index: HashMap<&'a str, usize>,
}

/// Place of a file in a model that is split over several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// This file's number, from 0.
    pub index: u32,
    /// How many files there are; at least 2.
    pub count: u32,
}

impl<'a> Gguf<'a> {
    /// Parses and checks header, metadata and tensor table of a whole file.
    ///
    /// # Errors
    /// Anything that a reader could trip over later: see [`Error`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader {
            cursor: Cursor::new(bytes),
            file_bytes: bytes.len(),
        };
        let header = reader.header()?;
        let metadata = reader.metadata(header.n_entries)?;
        let alignment = alignment(&metadata)?;
        let mut tensors = reader.tensors(header.n_tensors)?;
        place_tensors(
            &mut tensors,
            reader.cursor.position(),
            alignment,
            bytes.len(),
        )?;
        let tensor_index = index_tensors(&tensors)?;
        check_overlap(&tensors)?;
        Ok(Self {
            files: vec![bytes],
            version: header.version,
            metadata,
            tensors,
            tensor_index,
        })
    }

    /// Version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
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
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo<'a>> {
        self.tensor_index
            .get(name)
            .map(|&index| &self.tensors[index])
    }

    /// The bytes of a tensor of this model, checked at parse time to be inside its file.
    ///
    /// # Panics
    /// When `info` is of another, longer file.
    pub fn tensor_data(&self, info: &TensorInfo<'a>) -> &'a [u8] {
        &self.files[info.file][info.offset..][..info.size_bytes]
    }

    /// Adds the tensors of another file of the same model. Its metadata is let go: that of the first file counts.
    ///
    /// # Errors
    /// When both files have a tensor of the same name; what was joined by then is of no use.
    pub fn join(&mut self, other: Gguf<'a>) -> Result<(), Error> {
        let n_files = self.files.len();
        self.files.extend(other.files);
        for mut info in other.tensors {
            info.file += n_files;
            let index = self.tensors.len();
            if self.tensor_index.insert(info.name, index).is_some() {
                return Err(Error::DuplicateTensor {
                    name: shown(info.name),
                });
            }
            self.tensors.push(info);
        }
        Ok(())
    }

    /// Which part of a split model this is; `None` for a model in one file.
    ///
    /// # Errors
    /// When the file says that it is split, but not sensibly.
    pub fn shard(&self) -> Result<Option<Shard>, Error> {
        const COUNT_KEY: &str = "split.count";
        const INDEX_KEY: &str = "split.no";
        let Some(count @ 2..) = self.metadata.opt_u32(COUNT_KEY)? else {
            return Ok(None);
        };
        let index = self.metadata.u32(INDEX_KEY)?;
        if index >= count {
            return Err(Error::WrongType {
                key: INDEX_KEY.into(),
                expected: "below `split.count`",
                found: format!("{index} of {count}"),
            });
        }
        Ok(Some(Shard { index, count }))
    }
}

struct Header {
    version: u32,
    n_tensors: u64,
    n_entries: u64,
}

/// Reads the file's sections in order.
struct Reader<'a> {
    cursor: Cursor<'a>,
    file_bytes: usize,
}

impl<'a> Reader<'a> {
    fn header(&mut self) -> Result<Header, Error> {
        let place = || "the header".to_string();
        let magic: [u8; 4] = self.cursor.array().ok_or_else(|| self.truncated(place))?;
        if magic != MAGIC {
            return Err(Error::BadMagic { found: magic });
        }
        let version = self.cursor.u32().ok_or_else(|| self.truncated(place))?;
        match version {
            2 | 3 => {}
            0 => return Err(Error::UnsupportedVersion { version }),
            swapped if swapped & 0xffff == 0 => return Err(Error::BigEndian),
            _ => return Err(Error::UnsupportedVersion { version }),
        }
        let n_tensors = self.cursor.u64().ok_or_else(|| self.truncated(place))?;
        let n_entries = self.cursor.u64().ok_or_else(|| self.truncated(place))?;
        let limit =
            |min_bytes: usize| MAX_TABLE_LEN.min((self.cursor.remaining() / min_bytes) as u64);
        check_count(|| "tensors".into(), n_tensors, limit(MIN_TENSOR_BYTES))?;
        check_count(
            || "metadata entries".into(),
            n_entries,
            limit(MIN_ENTRY_BYTES),
        )?;
        Ok(Header {
            version,
            n_tensors,
            n_entries,
        })
    }

    fn metadata(&mut self, n_entries: u64) -> Result<Metadata<'a>, Error> {
        let mut metadata = Metadata::default();
        for index in 0..n_entries as usize {
            let place = || format!("the key of metadata entry {index}");
            let key = self.cursor.string().ok_or_else(|| self.truncated(place))?;
            let key = std::str::from_utf8(key).map_err(|_| Error::NotUtf8 { place: place() })?;
            if key.is_empty() {
                return Err(Error::EmptyKey { index });
            }
            let value = self.value(key)?;
            if !metadata.push(key, value) {
                return Err(Error::DuplicateKey { key: shown(key) });
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, key: &str) -> Result<Value<'a>, Error> {
        let place = || format!("the value of metadata key `{}`", shown(key));
        let value_type = self.value_type(key)?;
        if value_type != ValueType::Array {
            return Value::decode(value_type, &mut self.cursor)
                .ok_or_else(|| self.truncated(place));
        }
        let element_type = self.value_type(key)?;
        if element_type == ValueType::Array {
            return Err(Error::NestedArray { key: shown(key) });
        }
        let count = self.cursor.u64().ok_or_else(|| self.truncated(place))?;
        let limit = MAX_ARRAY_LEN.min((self.cursor.remaining() / element_type.min_bytes()) as u64);
        check_count(
            || format!("elements of metadata key `{}`", shown(key)),
            count,
            limit,
        )?;
        Array::decode(element_type, count as usize, &mut self.cursor)
            .map(Value::Array)
            .ok_or_else(|| self.truncated(place))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, Error> {
        let place = || format!("the value of metadata key `{}`", shown(key));
        let id = self.cursor.u32().ok_or_else(|| self.truncated(place))?;
        ValueType::from_id(id).ok_or_else(|| Error::UnknownValueType {
            key: shown(key),
            id,
        })
    }

    /// The table, with offsets still relative to the data, whose start is known only behind the table.
    fn tensors(&mut self, n_tensors: u64) -> Result<Vec<TensorInfo<'a>>, Error> {
        let mut tensors = Vec::new();
        for index in 0..n_tensors as usize {
            tensors.push(self.tensor(index)?);
        }
        Ok(tensors)
    }

    fn tensor(&mut self, index: usize) -> Result<TensorInfo<'a>, Error> {
        let place = || format!("the name of tensor {index}");
        let name = self.cursor.string().ok_or_else(|| self.truncated(place))?;
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::LongTensorName {
                index,
                n_bytes: name.len(),
                limit: MAX_NAME_BYTES,
            });
        }
        let name = std::str::from_utf8(name).map_err(|_| Error::NotUtf8 { place: place() })?;

        let place = || format!("the description of tensor `{}`", shown(name));
        let n_dims = self.cursor.u32().ok_or_else(|| self.truncated(place))?;
        if n_dims as usize > MAX_DIMS {
            return Err(Error::TooManyDims {
                name: shown(name),
                n_dims: n_dims.into(),
            });
        }
        let mut dims = [1; MAX_DIMS];
        for dim in &mut dims[..n_dims as usize] {
            *dim = self.cursor.u64().ok_or_else(|| self.truncated(place))?;
        }
        let shape = dims[..(n_dims as usize).max(1)].to_vec();
        let type_id = self.cursor.u32().ok_or_else(|| self.truncated(place))?;
        let tensor_type = known_type(name, type_id)?;
        let offset = self.cursor.u64().ok_or_else(|| self.truncated(place))?;
        let size_bytes = size_bytes(name, tensor_type, &shape)?;
        // An offset beyond the address space is beyond the file, and stays so.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(TensorInfo {
            name,
            shape,
            tensor_type,
            file: 0,
            offset,
            size_bytes,
        })
    }

    fn truncated(&self, place: impl Fn() -> String) -> Error {
        Error::Truncated {
            place: place(),
            file_bytes: self.file_bytes,
        }
    }
}

fn check_count(what: impl Fn() -> String, count: u64, limit: u64) -> Result<(), Error> {
    if count > limit {
        return Err(Error::TooMany {
            what: what(),
            count,
            limit,
        });
    }
    Ok(())
}

fn known_type(name: &str, id: u32) -> Result<TensorType, Error> {
    if let Some(tensor_type) = TensorType::from_id(id) {
        return Ok(tensor_type);
    }
    Err(match TensorType::removed_name(id) {
        Some(type_name) => Error::RemovedTensorType {
            name: shown(name),
            id,
            type_name,
        },
        None => Error::UnknownTensorType {
            name: shown(name),
            id,
        },
    })
}

/// The file's alignment, checked.
pub(crate) fn alignment(metadata: &Metadata<'_>) -> Result<u64, Error> {
    let alignment = metadata
        .opt_u64(ALIGNMENT_KEY)?
        .unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        return Err(Error::BadAlignment {
            found: alignment,
            limit: MAX_ALIGNMENT,
        });
    }
    Ok(alignment)
}

/// Turns offsets in the data into offsets in the file, and checks that the tensors lie there.
fn place_tensors(
    tensors: &mut [TensorInfo<'_>],
    table_end: usize,
    alignment: u64,
    file_bytes: usize,
) -> Result<(), Error> {
    // In u128 no sum of these can overflow.
    let data_start = u128::from(table_end as u64).next_multiple_of(alignment.into());
    let file_bytes = u128::from(file_bytes as u64);
    for tensor in tensors {
        let offset = tensor.offset as u64;
        if !offset.is_multiple_of(alignment) {
            return Err(Error::MisalignedTensor {
                name: shown(tensor.name),
                offset,
                alignment,
            });
        }
        let start = data_start + u128::from(offset);
        let end = start + tensor.size_bytes as u128;
        // a tensor without values may stand at a data start that the file does not reach
        let start = if tensor.size_bytes == 0 {
            start.min(file_bytes)
        } else {
            start
        };
        match usize::try_from(start) {
            Ok(start) if end <= file_bytes || tensor.size_bytes == 0 => tensor.offset = start,
            _ => {
                return Err(Error::TensorOutsideFile {
                    name: shown(tensor.name),
                    offset,
                    size_bytes: tensor.size_bytes as u64,
                    data_bytes: file_bytes.saturating_sub(data_start) as u64,
                });
            }
        }
    }
    Ok(())
}

fn index_tensors<'a>(tensors: &[TensorInfo<'a>]) -> Result<HashMap<&'a str, usize>, Error> {
    let mut index_by_name = HashMap::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        if index_by_name.insert(tensor.name, index).is_some() {
            return Err(Error::DuplicateTensor {
                name: shown(tensor.name),
            });
        }
    }
    Ok(index_by_name)
}

fn check_overlap(tensors: &[TensorInfo<'_>]) -> Result<(), Error> {
    let mut by_offset: Vec<&TensorInfo<'_>> = tensors
        .iter()
        .filter(|tensor| tensor.size_bytes > 0)
        .collect();
    by_offset.sort_unstable_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].size_bytes > pair[1].offset {
            return Err(Error::OverlappingTensors {
                first: shown(pair[0].name),
                second: shown(pair[1].name),
            });
        }
    }
    Ok(())
}
