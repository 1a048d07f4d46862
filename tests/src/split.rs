//! Cuts a GGUF file into the parts that a model in several files consists of.
//!
//! Written against the container's description, not with the product's own code: little-endian numbers, texts and arrays
//! with their length in front, tensors at offsets from the end of the table.

const ALIGNMENT: usize = 32;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        self.at += n;
        &self.bytes[self.at - n..self.at]
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes"))
    }
    fn text(&mut self) -> &'a [u8] {
        let n = self.u64() as usize;
        self.take(n)
    }
    fn skip_value(&mut self, kind: u32) {
        match kind {
            STRING => {
                self.text();
            }
            ARRAY => {
                let kind = self.u32();
                for _ in 0..self.u64() {
                    self.skip_value(kind);
                }
            }
            _ => {
                let sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
                self.take(sizes[kind as usize]);
            }
        }
    }
}

struct Tensor<'a> {
    name: &'a [u8],
    /// Number of dimensions, dimensions and type, as they stand in the table.
    head: &'a [u8],
    data: &'a [u8],
}

/// `n` files of one model: all metadata in the first, the tensors in turns.
///
/// # Panics
/// When the file is none of version 3 with the usual alignment.
pub fn split_gguf(file: &[u8], n: usize) -> Vec<Vec<u8>> {
    let mut cursor = Cursor { bytes: file, at: 0 };
    assert_eq!(cursor.take(4), b"GGUF");
    assert_eq!(cursor.u32(), 3);
    let n_tensors = cursor.u64() as usize;
    let n_entries = cursor.u64();
    let start = cursor.at;
    for _ in 0..n_entries {
        cursor.text();
        let kind = cursor.u32();
        cursor.skip_value(kind);
    }
    let metadata = &file[start..cursor.at];
    let mut table = Vec::new();
    for _ in 0..n_tensors {
        let name = cursor.text();
        let head = cursor.at;
        let n_dims = cursor.u32() as usize;
        cursor.take(8 * n_dims + 4);
        let head = &file[head..cursor.at];
        table.push((name, head, cursor.u64() as usize));
    }
    let data = &file[cursor.at.next_multiple_of(ALIGNMENT)..];
    let end_of = |offset: usize| {
        let later = table.iter().map(|(_, _, other)| *other);
        later.filter(|other| *other > offset).min()
    };
    let tensors: Vec<Tensor<'_>> = table
        .iter()
        .map(|(name, head, offset)| Tensor {
            name,
            head,
            data: &data[*offset..end_of(*offset).unwrap_or(data.len())],
        })
        .collect();
    let part = |index: usize| {
        let own: Vec<&Tensor<'_>> = tensors.iter().skip(index).step_by(n).collect();
        let (metadata, n_entries) = match index {
            0 => (metadata, n_entries),
            _ => (&[][..], 0),
        };
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((own.len() as u64).to_le_bytes());
        bytes.extend((n_entries + 3).to_le_bytes());
        bytes.extend(metadata);
        let mut put = |key: &str, kind: u32, value: &[u8]| {
            bytes.extend((key.len() as u64).to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        };
        put("split.no", 2, &(index as u16).to_le_bytes());
        put("split.count", 2, &(n as u16).to_le_bytes());
        put("split.tensors.count", 5, &(n_tensors as i32).to_le_bytes());
        let mut offset = 0;
        for tensor in &own {
            bytes.extend((tensor.name.len() as u64).to_le_bytes());
            bytes.extend(tensor.name);
            bytes.extend(tensor.head);
            bytes.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.data.len()).next_multiple_of(ALIGNMENT);
        }
        for tensor in &own {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            bytes.extend(tensor.data);
        }
        bytes
    };
    (0..n).map(part).collect()
}
