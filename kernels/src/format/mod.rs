//! One file per weight format: block layout, dequantise, quantise. [`QuantType`] is the table of them.
//!
//! Every block is a plain struct of bytes without alignment, so a tensor's bytes can be seen as blocks wherever they
//! lie (`bytemuck::cast_slice`), on any machine. Dequantising computes in `f32` in the order that the reference
//! writes and never fuses, which makes it exact to the bit; it is the meaning of a format, and faster code is tested
//! against it. To add a format: one file with a [`Block`], one variant of [`QuantType`], one row of `FORMATS`.
//!
//! A tensor is rows of blocks, and nothing else but in `I2_S`, which ends in a tail of 32 bytes for its one scale. What
//! is said here of the bytes of some values means a tensor of its own: [`QuantType::part`] cuts one out of another.
//!
//! Layouts are those of the GGUF specification and of its reference implementation, ggml. Notation in the files:
//! `d` is the scale of a block, `dmin` or `m` its minimum, `qs` the low bits of the codes, `qh` their high bits.

mod bfloat16;
mod float16;
mod float32;
mod i2_s;
mod iq4_nl;
mod iq4_xs;
mod k_scales;
mod mxfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod scale_search;
#[cfg(test)]
mod tests;
mod tq1_0;
mod tq2_0;

use std::borrow::Cow;
use std::ops::Range;

pub use bfloat16::Bf16;
pub use float16::F16;
pub use float32::F32;
pub use i2_s::GroupI2S;
pub(crate) use i2_s::{I2_S_GROUP, i2_s_scale};
pub use iq4_nl::BlockIq4Nl;
pub(crate) use iq4_nl::IQ4_LEVELS;
pub use iq4_xs::BlockIq4Xs;
pub use k_scales::KScales;
pub use mxfp4::BlockMxfp4;
pub(crate) use mxfp4::{MXFP4_LEVELS, mxfp4_scale};
pub use q2_k::BlockQ2K;
pub use q3_k::BlockQ3K;
pub use q4_0::BlockQ4_0;
pub use q4_1::BlockQ4_1;
pub use q4_k::BlockQ4K;
pub use q5_0::BlockQ5_0;
pub use q5_1::BlockQ5_1;
pub use q5_k::BlockQ5K;
pub use q6_k::BlockQ6K;
pub use q8_0::BlockQ8_0;
pub use tq1_0::BlockTq1_0;
pub use tq2_0::BlockTq2_0;

/// A weight format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names that the field uses")]
pub enum QuantType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    I2S,
    Mxfp4,
}

/// Everything that is known of a format, in the order of [`QuantType`]'s variants.
static FORMATS: [Format; 19] = [
    Format::of::<F32>(QuantType::F32, 0, "F32"),
    Format::of::<F16>(QuantType::F16, 1, "F16"),
    Format::of::<Bf16>(QuantType::Bf16, 30, "BF16"),
    Format::of::<BlockQ4_0>(QuantType::Q4_0, 2, "Q4_0"),
    Format::of::<BlockQ4_1>(QuantType::Q4_1, 3, "Q4_1"),
    Format::of::<BlockQ5_0>(QuantType::Q5_0, 6, "Q5_0"),
    Format::of::<BlockQ5_1>(QuantType::Q5_1, 7, "Q5_1"),
    Format::of::<BlockQ8_0>(QuantType::Q8_0, 8, "Q8_0"),
    Format::of::<BlockQ2K>(QuantType::Q2K, 10, "Q2_K"),
    Format::of::<BlockQ3K>(QuantType::Q3K, 11, "Q3_K"),
    Format::of::<BlockQ4K>(QuantType::Q4K, 12, "Q4_K"),
    Format::of::<BlockQ5K>(QuantType::Q5K, 13, "Q5_K"),
    Format::of::<BlockQ6K>(QuantType::Q6K, 14, "Q6_K"),
    Format::of::<BlockIq4Nl>(QuantType::Iq4Nl, 20, "IQ4_NL"),
    Format::of::<BlockIq4Xs>(QuantType::Iq4Xs, 23, "IQ4_XS"),
    Format::of::<BlockTq1_0>(QuantType::Tq1_0, 34, "TQ1_0"),
    Format::of::<BlockTq2_0>(QuantType::Tq2_0, 35, "TQ2_0"),
    Format {
        quant_type: QuantType::I2S,
        id: 36,
        name: "I2_S",
        block_len: i2_s::I2_S_GROUP,
        block_bytes: size_of::<GroupI2S>(),
        tail_bytes: i2_s::I2_S_TAIL,
        dequantize: i2_s::dequantize,
        quantize: i2_s::quantize,
    },
    Format::of::<BlockMxfp4>(QuantType::Mxfp4, 39, "MXFP4"),
];

impl QuantType {
    /// Every format that can be computed with.
    pub const ALL: &[QuantType] = &{
        let mut all = [QuantType::F32; FORMATS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = FORMATS[index].quant_type;
            assert!(all[index] as usize == index, "rows follow the variants");
            index += 1;
        }
        all
    };

    /// From the ggml type id; `None` when there is no arithmetic for it.
    pub fn from_id(id: u32) -> Option<Self> {
        FORMATS.iter().find(|f| f.id == id).map(|f| f.quant_type)
    }

    /// From the field's name, such as `Q4_K`, in any case; `None` when there is no arithmetic for it.
    pub fn from_name(name: &str) -> Option<Self> {
        FORMATS
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.quant_type)
    }

    /// The ggml type id.
    pub fn id(self) -> u32 {
        self.format().id
    }

    /// The field's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// Values per block.
    pub fn block_len(self) -> usize {
        self.format().block_len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.format().block_bytes
    }

    /// Bytes of a tensor behind its blocks: 32 of `I2_S`, else none.
    pub fn tail_bytes(self) -> usize {
        self.format().tail_bytes
    }

    /// Bytes of the blocks of a row of `n_cols` values; `None` when blocks do not divide it, or when they overflow.
    pub fn row_bytes(self, n_cols: usize) -> Option<usize> {
        if !n_cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (n_cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bytes of a tensor of `n_rows` rows of `n_cols` values; `None` when blocks do not divide a row, or when they
    /// overflow.
    pub fn tensor_bytes(self, n_rows: usize, n_cols: usize) -> Option<usize> {
        let blocks = self.row_bytes(n_cols)?.checked_mul(n_rows)?;
        blocks.checked_add(self.tail_bytes())
    }

    /// The bytes of a tensor of its own that holds `values`, counted from the first, of the tensor of `bytes`; `None`
    /// when blocks do not end there, or when the tensor does.
    pub fn part(self, bytes: &[u8], values: Range<usize>) -> Option<Cow<'_, [u8]>> {
        let (blocks, tail) = bytes.split_at_checked(bytes.len().checked_sub(self.tail_bytes())?)?;
        let blocks = blocks.get(self.row_bytes(values.start)?..self.row_bytes(values.end)?)?;
        Some(match tail {
            [] => blocks.into(),
            _ => [blocks, tail].concat().into(),
        })
    }

    fn format(self) -> &'static Format {
        &FORMATS[self as usize]
    }
}

/// Expands a whole tensor into `out`, bit for bit as the reference does.
///
/// # Panics
/// When `bytes` is not exactly a tensor of `out.len()` values.
pub fn dequantize(quant_type: QuantType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        quant_type.tensor_bytes(1, out.len()),
        Some(bytes.len()),
        "{} values of {}",
        out.len(),
        quant_type.name()
    );
    (quant_type.format().dequantize)(bytes, out);
}

/// Quantises a whole tensor by the reference's method without an importance matrix.
///
/// The bytes are those of the reference, also for the K formats, which search for scales: the tests hold whole matrices
/// against it. Values that are not finite give some block, never a panic.
///
/// # Panics
/// When `values.len()` is not a multiple of the block length, or `out` is not exactly a tensor of that many values.
pub fn quantize(quant_type: QuantType, values: &[f32], out: &mut [u8]) {
    assert_eq!(
        quant_type.tensor_bytes(1, values.len()),
        Some(out.len()),
        "{} values of {}",
        values.len(),
        quant_type.name()
    );
    (quant_type.format().quantize)(values, out);
}

/// The bytes of `LEN` neighbouring values of a row, as they stand in a file.
pub trait Block: bytemuck::Pod {
    /// Values per block.
    const LEN: usize;

    /// Writes the block's values to `out`, whose length is [`Self::LEN`].
    fn dequantize(&self, out: &mut [f32]);

    /// The block that stands for `values`, whose length is [`Self::LEN`].
    fn quantize(values: &[f32]) -> Self;
}

struct Format {
    quant_type: QuantType,
    id: u32,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
    tail_bytes: usize,
    dequantize: fn(&[u8], &mut [f32]),
    quantize: fn(&[f32], &mut [u8]),
}

impl Format {
    const fn of<B: Block>(quant_type: QuantType, id: u32, name: &'static str) -> Self {
        assert!(
            align_of::<B>() == 1,
            "blocks lie anywhere in a file's bytes"
        );
        Self {
            quant_type,
            id,
            name,
            block_len: B::LEN,
            block_bytes: size_of::<B>(),
            tail_bytes: 0,
            dequantize: dequantize_blocks::<B>,
            quantize: quantize_blocks::<B>,
        }
    }
}

fn dequantize_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks: &[B] = bytemuck::cast_slice(bytes);
    for (block, values) in blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
        block.dequantize(values);
    }
}

fn quantize_blocks<B: Block>(values: &[f32], out: &mut [u8]) {
    let blocks: &mut [B] = bytemuck::cast_slice_mut(out);
    for (block, values) in blocks.iter_mut().zip(values.chunks_exact(B::LEN)) {
        *block = B::quantize(values);
    }
}
