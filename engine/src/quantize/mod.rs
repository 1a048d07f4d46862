//! A model with its weights in other types: read like a file, made part by part as it is read, and never in memory as a
//! whole.
//!
//! [`Mix`] says which tensor gets which type; the codes are those of `kernels`, which are the reference's. Rows are made on
//! several threads; what comes out does not depend on their number.

mod mix;

pub use mix::{Mix, UnknownMix};

use mix::{Types, is_mixed};
use slm_gguf::{Gguf, TensorInfo, TensorType, Value, Writer};
use slm_kernels::format::{QuantType, dequantize, quantize};
use std::{
    io::{self, Read},
    thread,
};

/// Values that a thread makes at a time, about.
const VALUES_AT_ONCE: usize = 1 << 20;
/// Bytes that are copied at a time.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Where a file says of what it is a part.
const OF_PARTS: &str = "split.";
const FILE_TYPE: &str = "general.file_type";
const VERSION: &str = "general.quantization_version";
const ALIGNMENT: &str = "general.alignment";
/// The version of the formats, and what tensors are aligned to.
const FORMATS: u32 = 2;
const ALIGNED_TO: usize = 32;

/// Why a model cannot have its weights in other types.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// They are in codes already, from which no good others can be made.
    #[error(
        "quantization is only supported for F16, BF16 and F32 models, and `{tensor}` is {found}; start from a file whose weights are whole"
    )]
    Quantized {
        /// A tensor.
        tensor: String,
        /// Its type.
        found: &'static str,
    },
    /// A tensor whose rows are none.
    #[error("the rows of `{tensor}` cannot be made {wanted}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The type that it should get.
        wanted: &'static str,
    },
    /// The new file would be none.
    #[error("the head of the new file cannot be written")]
    Head(#[from] slm_gguf::Error),
}

/// What becomes of a tensor.
struct Planned<'a> {
    data: &'a [u8],
    /// Types before and behind, and the values of a row; nothing where the tensor stays as it is.
    change: Option<(QuantType, QuantType, usize)>,
}

impl<'a> Planned<'a> {
    fn new(gguf: &Gguf<'a>, info: &TensorInfo<'a>, to: TensorType) -> Result<Self, QuantizeError> {
        let data = gguf.tensor_data(info);
        if to == info.tensor_type {
            return Ok(Self { data, change: None });
        }
        let wrong = || QuantizeError::Shape {
            tensor: info.name.to_owned(),
            wanted: to.name(),
        };
        let n_cols = info.shape.first().and_then(|n| usize::try_from(*n).ok());
        let n_cols = n_cols.filter(|n| *n > 0).ok_or_else(wrong)?;
        let kind = |t: TensorType| QuantType::from_id(t.id()).ok_or_else(wrong);
        let (from, to) = (kind(info.tensor_type)?, kind(to)?);
        let row_bytes = |kind: QuantType| kind.tensor_bytes(1, n_cols).ok_or_else(wrong);
        if row_bytes(to)? == 0 || !data.len().is_multiple_of(row_bytes(from)?.max(1)) {
            return Err(wrong());
        }
        let change = Some((from, to, n_cols));
        Ok(Self { data, change })
    }

    /// Takes the next bytes of the tensor, and appends what becomes of them.
    fn next(&mut self, n_threads: usize, out: &mut Vec<u8>) {
        let Some((from, to, n_cols)) = self.change else {
            let (now, later) = self.data.split_at(self.data.len().min(BYTES_AT_ONCE));
            out.extend_from_slice(now);
            self.data = later;
            return;
        };
        let bytes = |kind: QuantType| kind.tensor_bytes(1, n_cols).unwrap_or(1);
        let (row_before, row_behind) = (bytes(from), bytes(to));
        let rows_each = (VALUES_AT_ONCE / n_cols).max(1);
        let n_rows = (self.data.len() / row_before).min(rows_each * n_threads);
        let (now, later) = self.data.split_at(n_rows * row_before);
        self.data = later;
        let begin = out.len();
        out.resize(begin + n_rows * row_behind, 0);
        let parts = now.chunks(rows_each * row_before);
        let made = out[begin..].chunks_mut(rows_each * row_behind);
        thread::scope(|scope| {
            for (part, made) in parts.zip(made) {
                scope.spawn(move || {
                    let mut values = vec![0.0; n_cols];
                    let rows = part.chunks_exact(row_before);
                    for (row, made) in rows.zip(made.chunks_exact_mut(row_behind)) {
                        dequantize(from, row, &mut values);
                        quantize(to, &values, made);
                    }
                });
            }
        });
    }
}

/// A file whose weights are those of another in other types.
pub struct Quantized<'a, P> {
    tensors: std::vec::IntoIter<Planned<'a>>,
    current: Option<Planned<'a>>,
    /// What has been made and not been read.
    made: Vec<u8>,
    n_read: usize,
    /// Bytes of the tensors' data so far, in the new file.
    offset: usize,
    alignment: usize,
    n_threads: usize,
    /// Of the weights' bytes in the old file, those that have been dealt with.
    n_done: u64,
    progress: P,
}

impl<'a, P: FnMut(u64) -> io::Result<()>> Quantized<'a, P> {
    /// The model `gguf` with the types of `mix`. `progress` is told how many bytes of weights have been dealt with, and
    /// ends the reading with an error of its own.
    ///
    /// # Errors
    /// Weights that are in codes already, or whose shape does not allow it.
    pub fn new(
        gguf: &Gguf<'a>,
        mix: Mix,
        n_threads: usize,
        progress: P,
    ) -> Result<Self, QuantizeError> {
        let whole = [TensorType::F32, TensorType::F16, TensorType::BF16];
        let is_in_codes =
            |info: &&TensorInfo<'_>| is_mixed(info) && !whole.contains(&info.tensor_type);
        if let Some(info) = gguf.tensors().iter().find(is_in_codes) {
            return Err(QuantizeError::Quantized {
                tensor: info.name.to_owned(),
                found: info.tensor_type.name(),
            });
        }
        let types = Types::new(mix, gguf);
        let mut writer = Writer::new();
        let own = [FILE_TYPE, VERSION];
        for (key, value) in gguf.metadata().iter() {
            if !own.contains(&key) && !key.starts_with(OF_PARTS) {
                writer.put_value(key, value);
            }
        }
        writer.put(FILE_TYPE, mix.file_type).put(VERSION, FORMATS);
        let mut tensors = Vec::with_capacity(gguf.tensors().len());
        for info in gguf.tensors() {
            let to = types.of(info);
            writer.tensor_later(info.name, to, &info.shape);
            tensors.push(Planned::new(gguf, info, to)?);
        }
        let alignment = match gguf.metadata().get(ALIGNMENT) {
            Some(Value::U32(n)) => *n as usize,
            _ => ALIGNED_TO,
        };
        Ok(Self {
            made: writer.head()?,
            tensors: tensors.into_iter(),
            current: None,
            n_read: 0,
            offset: 0,
            alignment,
            n_threads: n_threads.max(1),
            n_done: 0,
            progress,
        })
    }

    /// Makes more, unless there is no more.
    fn make(&mut self) -> io::Result<()> {
        self.made.clear();
        self.n_read = 0;
        while self.made.is_empty() {
            let Some(tensor) = &mut self.current else {
                self.current = self.tensors.next();
                if self.current.is_none() {
                    return Ok(());
                }
                continue;
            };
            let before = tensor.data.len();
            tensor.next(self.n_threads, &mut self.made);
            self.n_done += (before - tensor.data.len()) as u64;
            self.offset += self.made.len();
            if tensor.data.is_empty() {
                self.current = None;
                let padding = self.offset.next_multiple_of(self.alignment) - self.offset;
                self.made.resize(self.made.len() + padding, 0);
                self.offset += padding;
            }
            (self.progress)(self.n_done)?;
        }
        Ok(())
    }
}

impl<P: FnMut(u64) -> io::Result<()>> Read for Quantized<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.n_read == self.made.len() {
            self.make()?;
        }
        let rest = &self.made[self.n_read..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.n_read += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Vec<u8> {
        let root = env!("CARGO_MANIFEST_DIR");
        std::fs::read(format!("{root}/../tests/data/golden/{name}.gguf")).unwrap()
    }

    fn quantized(bytes: &[u8], mix: &str, n_threads: usize) -> Vec<u8> {
        let gguf = Gguf::parse(bytes).unwrap();
        let mix = mix.parse().unwrap();
        let mut made = Vec::new();
        let mut last = 0;
        let progress = |n| {
            last = n;
            Ok(())
        };
        let mut file = Quantized::new(&gguf, mix, n_threads, progress).unwrap();
        file.read_to_end(&mut made).unwrap();
        drop(file);
        let total: usize = gguf.tensors().iter().map(|info| info.size_bytes).sum();
        assert_eq!(last, total as u64);
        made
    }

    fn values(gguf: &Gguf<'_>, info: &TensorInfo<'_>) -> Vec<f32> {
        let mut values = vec![0.0; info.n_elements() as usize];
        let kind = QuantType::from_id(info.tensor_type.id()).unwrap();
        dequantize(kind, gguf.tensor_data(info), &mut values);
        values
    }

    #[test]
    fn what_is_made_is_the_model_in_other_types() {
        let whole = golden("qwen3");
        let made = quantized(&whole, "q8_0", 3);
        assert_eq!(made, quantized(&whole, "q8_0", 1));
        let (whole, made) = (Gguf::parse(&whole).unwrap(), Gguf::parse(&made).unwrap());
        assert_eq!(made.metadata().u32(FILE_TYPE).unwrap(), 7);
        let key = "qwen3.block_count";
        assert_eq!(made.metadata().get(key), whole.metadata().get(key));
        assert_eq!(made.tensors().len(), whole.tensors().len());
        let mut n_changed = 0;
        for (before, behind) in whole.tensors().iter().zip(made.tensors()) {
            assert_eq!((before.name, &before.shape), (behind.name, &behind.shape));
            if behind.tensor_type == before.tensor_type {
                assert_eq!(whole.tensor_data(before), made.tensor_data(behind));
                continue;
            }
            n_changed += 1;
            assert_eq!(behind.tensor_type, TensorType::Q8_0, "{}", before.name);
            let pair = (values(&whole, before), values(&made, behind));
            for (before, behind) in pair.0.chunks(32).zip(pair.1.chunks(32)) {
                let most = before.iter().fold(0f32, |most, x| most.max(x.abs()));
                // half a step, and what rounding the scale to 16 bits adds
                let step = most / 127.0 * (0.5 + 127.0 / 2048.0);
                let off = before.iter().zip(behind).map(|(a, b)| (a - b).abs());
                assert!(off.fold(0.0, f32::max) <= step * 1.001);
            }
        }
        assert!(n_changed > 10, "{n_changed}");
    }

    #[test]
    fn a_mix_gives_the_head_and_what_matters_more_better_types() {
        let whole = golden("llama");
        let made = quantized(&whole, "Q4_K_M", 2);
        let gguf = Gguf::parse(&made).unwrap();
        let kind = |name: &str| gguf.tensor(name).unwrap().tensor_type;
        // rows of 64 and 160 are no whole blocks of 256
        assert_eq!(kind("token_embd.weight"), TensorType::Q8_0);
        assert_eq!(kind("blk.0.attn_q.weight"), TensorType::Q5_0);
        assert_eq!(kind("blk.2.ffn_down.weight"), TensorType::Q8_0);
        assert_eq!(kind("output_norm.weight"), TensorType::F32);
    }

    #[test]
    fn weights_in_codes_are_refused_by_name() {
        let bytes = golden("qwen3-q4_0");
        let gguf = Gguf::parse(&bytes).unwrap();
        let mix = "q8_0".parse().unwrap();
        let refused = Quantized::new(&gguf, mix, 1, |_| Ok(())).err().unwrap();
        let text = refused.to_string();
        assert!(
            text.starts_with("quantization is only supported for F16, BF16 and F32 models, and `"),
            "{text}"
        );
    }

    #[test]
    fn whoever_watches_can_end_it() {
        let bytes = golden("llama");
        let gguf = Gguf::parse(&bytes).unwrap();
        let stop = |_| Err(io::Error::other("enough"));
        let mut file = Quantized::new(&gguf, "f16".parse().unwrap(), 1, stop).unwrap();
        let error = io::copy(&mut file, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }
}
