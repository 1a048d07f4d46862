//! How weights lie in memory for the kernels: tiles of 16 rows, and back. Safe code, and slow enough to be simple.
//!
//! Sixteen rows form a tile, the lanes of a vector. A tile is a plane of scales, padded to a cache line, and then a
//! plane of codes. The codes of 32 columns, a *chunk*, are 64-byte vectors `[16 rows][4 bytes]`, so that a kernel
//! multiplies four columns of sixteen rows at a time and never adds across lanes:
//!
//! | layout | vectors of a chunk |
//! |---|---|
//! | `U4` | 4: vector `v` has columns `4v..4v+4` in the low nibbles, `16+4v..16+4v+4` in the high ones |
//! | `U5` | `U4`, and 1: bit `g` of byte `i` is the fifth bit of column `4g + i` |
//! | `U6` | `U4`, and 2: bits `2(g % 4)` and the next of byte `i` of vector `g / 4` are the upper bits of column `4g + i` |
//! | `U8` | 8: vector `g` has columns `4g..4g+4`; signed codes have 128 added |
//! | floats | one value a lane: `[n_cols][16 rows]`, in the width of the source, no scales |
//!
//! Scales keep their bits: `[d; 16]` or `[d; 16] [m; 16]` as half floats for each block, then for super-blocks the
//! scales of each sub-block as bytes `[16 rows]` (and their minima likewise), unpacked from six or four bits. Rows
//! beyond the last are zero.

use crate::format::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
    BlockQ8_0, F16, QuantType,
};
use crate::memory::LINE;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Columns of a chunk.
pub(crate) const CHUNK: usize = 32;

/// How codes are laid out; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    U4,
    U5,
    U6,
    U8,
}

impl Codes {
    /// Bytes of a chunk of 16 rows.
    pub(crate) const fn chunk_bytes(self) -> usize {
        match self {
            Codes::U4 => 4 * LINE,
            Codes::U5 => 5 * LINE,
            Codes::U6 => 6 * LINE,
            Codes::U8 => 8 * LINE,
        }
    }

    /// Writes the codes of one row into a chunk.
    fn put(self, chunk: &mut [u8], row: usize, codes: &[u8; CHUNK]) {
        let words: [u32; 8] = bytemuck::pod_read_unaligned(codes);
        let mut write = |vector: usize, word: u32| {
            chunk[vector * LINE + 4 * row..][..4].copy_from_slice(&word.to_ne_bytes());
        };
        // Bits from the fourth on, `mask` of them a byte, of the words of `range` side by side.
        let upper = |range: std::ops::Range<usize>, mask: u32| {
            let n_bits = mask.count_ones() as usize / 4;
            let bits = words[range].iter().enumerate();
            bits.fold(0, |all, (g, word)| all | (word >> 4 & mask) << (n_bits * g))
        };
        if self == Codes::U8 {
            for (vector, word) in words.into_iter().enumerate() {
                write(vector, word);
            }
            return;
        }
        for v in 0..4 {
            write(
                v,
                words[v] & 0x0f0f_0f0f | (words[v + 4] & 0x0f0f_0f0f) << 4,
            );
        }
        match self {
            Codes::U5 => write(4, upper(0..8, 0x0101_0101)),
            Codes::U6 => {
                write(4, upper(0..4, 0x0303_0303));
                write(5, upper(4..8, 0x0303_0303));
            }
            Codes::U4 | Codes::U8 => {}
        }
    }

    /// The codes of one row.
    fn take(self, chunk: &[u8], row: usize) -> [u8; CHUNK] {
        std::array::from_fn(|k| {
            let (g, i) = (k / 4, k % 4);
            let byte = |vector: usize| chunk[vector * LINE + 4 * row + i];
            let low = byte(g % 4) >> (4 * (g / 4)) & 15;
            match self {
                Codes::U4 => low,
                Codes::U5 => low | (byte(4) >> g & 1) << 4,
                Codes::U6 => low | (byte(4 + g / 4) >> (2 * (g % 4)) & 3) << 4,
                Codes::U8 => byte(g),
            }
        })
    }
}

/// How scales are laid out for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    /// `d`.
    D,
    /// `d`, `m`.
    DM,
    /// `d`, and a signed byte for each of 16 sub-blocks.
    DSub16,
    /// `d`, `dmin`, and two bytes, scale and minimum, for each of this many sub-blocks.
    DMSub(usize),
}

impl Scales {
    /// Bytes of a block of 16 rows.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Scales::D => 2 * TILE_ROWS,
            Scales::DM => 4 * TILE_ROWS,
            Scales::DSub16 => (2 + 16) * TILE_ROWS,
            Scales::DMSub(n_subs) => (4 + 2 * n_subs) * TILE_ROWS,
        }
    }

    fn put(self, block: &mut [u8], row: usize, scales: &BlockScales) {
        block[2 * row..][..2].copy_from_slice(&scales.d.0);
        match self {
            Scales::D => {}
            Scales::DM => block[32 + 2 * row..][..2].copy_from_slice(&scales.m.0),
            Scales::DSub16 => {
                for (sub, scale) in scales.subs.iter().enumerate() {
                    block[32 + sub * TILE_ROWS + row] = *scale;
                }
            }
            Scales::DMSub(n_subs) => {
                block[32 + 2 * row..][..2].copy_from_slice(&scales.m.0);
                for sub in 0..n_subs {
                    block[64 + 2 * sub * TILE_ROWS + row] = scales.subs[sub];
                    block[64 + (2 * sub + 1) * TILE_ROWS + row] = scales.sub_mins[sub];
                }
            }
        }
    }

    fn take(self, block: &[u8], row: usize) -> BlockScales {
        let half = |at: usize| F16([block[at + 2 * row], block[at + 2 * row + 1]]);
        let mut scales = BlockScales {
            d: half(0),
            ..BlockScales::default()
        };
        match self {
            Scales::D => {}
            Scales::DM => scales.m = half(32),
            Scales::DSub16 => {
                scales.subs = std::array::from_fn(|sub| block[32 + sub * TILE_ROWS + row]);
            }
            Scales::DMSub(n_subs) => {
                scales.m = half(32);
                for sub in 0..n_subs {
                    scales.subs[sub] = block[64 + 2 * sub * TILE_ROWS + row];
                    scales.sub_mins[sub] = block[64 + (2 * sub + 1) * TILE_ROWS + row];
                }
            }
        }
        scales
    }
}

/// The scales of one block of one row, as stored.
#[derive(Default)]
struct BlockScales {
    d: F16,
    m: F16,
    /// Of sub-blocks; signed in `Scales::DSub16`.
    subs: [u8; 16],
    sub_mins: [u8; 16],
}

/// A block of codes that can be laid out in tiles.
trait Source: bytemuck::Pod {
    const CODES: Codes;
    const SCALES: Scales;
    /// What is taken off a code.
    const OFFSET: i32;
    /// Chunks of a block.
    const CHUNKS: usize;
    fn scales(&self) -> BlockScales;
    /// The unsigned codes of a chunk.
    fn codes(&self, chunk: usize) -> [u8; CHUNK];
}

fn nibbles(qs: &[u8; 16]) -> [u8; CHUNK] {
    std::array::from_fn(|k| if k < 16 { qs[k] & 15 } else { qs[k - 16] >> 4 })
}

fn nibbles_and_fifth_bits(qs: &[u8; 16], qh: [u8; 4]) -> [u8; CHUNK] {
    let qh = u32::from_le_bytes(qh);
    let low = nibbles(qs);
    std::array::from_fn(|k| low[k] | ((qh >> k & 1) as u8) << 4)
}

impl Source for BlockQ4_0 {
    const CODES: Codes = Codes::U4;
    const SCALES: Scales = Scales::D;
    const OFFSET: i32 = 8;
    const CHUNKS: usize = 1;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            ..BlockScales::default()
        }
    }
    fn codes(&self, _chunk: usize) -> [u8; CHUNK] {
        nibbles(&self.qs)
    }
}

impl Source for BlockQ4_1 {
    const CODES: Codes = Codes::U4;
    const SCALES: Scales = Scales::DM;
    const OFFSET: i32 = 0;
    const CHUNKS: usize = 1;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            m: self.m,
            ..BlockScales::default()
        }
    }
    fn codes(&self, _chunk: usize) -> [u8; CHUNK] {
        nibbles(&self.qs)
    }
}

impl Source for BlockQ5_0 {
    const CODES: Codes = Codes::U5;
    const SCALES: Scales = Scales::D;
    const OFFSET: i32 = 16;
    const CHUNKS: usize = 1;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            ..BlockScales::default()
        }
    }
    fn codes(&self, _chunk: usize) -> [u8; CHUNK] {
        nibbles_and_fifth_bits(&self.qs, self.qh)
    }
}

impl Source for BlockQ5_1 {
    const CODES: Codes = Codes::U5;
    const SCALES: Scales = Scales::DM;
    const OFFSET: i32 = 0;
    const CHUNKS: usize = 1;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            m: self.m,
            ..BlockScales::default()
        }
    }
    fn codes(&self, _chunk: usize) -> [u8; CHUNK] {
        nibbles_and_fifth_bits(&self.qs, self.qh)
    }
}

impl Source for BlockQ8_0 {
    const CODES: Codes = Codes::U8;
    const SCALES: Scales = Scales::D;
    const OFFSET: i32 = 128;
    const CHUNKS: usize = 1;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            ..BlockScales::default()
        }
    }
    fn codes(&self, _chunk: usize) -> [u8; CHUNK] {
        self.qs.map(|q| q as u8 ^ 0x80)
    }
}

impl Source for BlockQ2K {
    const CODES: Codes = Codes::U4;
    const SCALES: Scales = Scales::DMSub(16);
    const OFFSET: i32 = 0;
    const CHUNKS: usize = 8;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            m: self.dmin,
            subs: self.scales.map(|s| s & 15),
            sub_mins: self.scales.map(|s| s >> 4),
        }
    }
    fn codes(&self, chunk: usize) -> [u8; CHUNK] {
        let (half, g) = (chunk / 4, chunk % 4);
        std::array::from_fn(|l| self.qs[32 * half + l] >> (2 * g) & 3)
    }
}

impl Source for BlockQ3K {
    const CODES: Codes = Codes::U4;
    const SCALES: Scales = Scales::DSub16;
    const OFFSET: i32 = 4;
    const CHUNKS: usize = 8;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            subs: self.unpack_scales().map(|scale| scale as u8),
            ..BlockScales::default()
        }
    }
    fn codes(&self, chunk: usize) -> [u8; CHUNK] {
        let (half, g) = (chunk / 4, chunk % 4);
        std::array::from_fn(|l| {
            self.qs[32 * half + l] >> (2 * g) & 3 | (self.hmask[l] >> chunk & 1) << 2
        })
    }
}

/// The first eight of sixteen.
fn first_eight(bytes: [u8; 8]) -> [u8; 16] {
    std::array::from_fn(|sub| if sub < 8 { bytes[sub] } else { 0 })
}

impl Source for BlockQ4K {
    const CODES: Codes = Codes::U4;
    const SCALES: Scales = Scales::DMSub(8);
    const OFFSET: i32 = 0;
    const CHUNKS: usize = 8;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            m: self.dmin,
            subs: first_eight(self.scales.scales()),
            sub_mins: first_eight(self.scales.mins()),
        }
    }
    fn codes(&self, chunk: usize) -> [u8; CHUNK] {
        std::array::from_fn(|l| self.qs[32 * (chunk / 2) + l] >> (4 * (chunk & 1)) & 15)
    }
}

impl Source for BlockQ5K {
    const CODES: Codes = Codes::U5;
    const SCALES: Scales = Scales::DMSub(8);
    const OFFSET: i32 = 0;
    const CHUNKS: usize = 8;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            m: self.dmin,
            subs: first_eight(self.scales.scales()),
            sub_mins: first_eight(self.scales.mins()),
        }
    }
    fn codes(&self, chunk: usize) -> [u8; CHUNK] {
        std::array::from_fn(|l| {
            self.qs[32 * (chunk / 2) + l] >> (4 * (chunk & 1)) & 15 | (self.qh[l] >> chunk & 1) << 4
        })
    }
}

impl Source for BlockQ6K {
    const CODES: Codes = Codes::U6;
    const SCALES: Scales = Scales::DSub16;
    const OFFSET: i32 = 32;
    const CHUNKS: usize = 8;
    fn scales(&self) -> BlockScales {
        BlockScales {
            d: self.d,
            subs: self.scales.map(|scale| scale as u8),
            ..BlockScales::default()
        }
    }
    fn codes(&self, chunk: usize) -> [u8; CHUNK] {
        let (half, g) = (chunk / 4, chunk % 4);
        std::array::from_fn(|l| {
            self.ql[64 * half + 32 * (g & 1) + l] >> (4 * (g >> 1)) & 15
                | (self.qh[32 * half + l] >> (2 * g) & 3) << 4
        })
    }
}

/// Calls `$call::<Block>(…)` for the block type of a format of codes, `$floats` for a float of `$size` bytes.
macro_rules! by_format {
    ($quant_type:expr, $call:ident($($argument:expr),*), |$size:ident| $floats:expr) => {
        match $quant_type {
            QuantType::F32 => { let $size = 4; $floats }
            QuantType::F16 | QuantType::Bf16 => { let $size = 2; $floats }
            QuantType::Q4_0 => $call::<BlockQ4_0>($($argument),*),
            QuantType::Q4_1 => $call::<BlockQ4_1>($($argument),*),
            QuantType::Q5_0 => $call::<BlockQ5_0>($($argument),*),
            QuantType::Q5_1 => $call::<BlockQ5_1>($($argument),*),
            QuantType::Q8_0 => $call::<BlockQ8_0>($($argument),*),
            QuantType::Q2K => $call::<BlockQ2K>($($argument),*),
            QuantType::Q3K => $call::<BlockQ3K>($($argument),*),
            QuantType::Q4K => $call::<BlockQ4K>($($argument),*),
            QuantType::Q5K => $call::<BlockQ5K>($($argument),*),
            QuantType::Q6K => $call::<BlockQ6K>($($argument),*),
        }
    };
}

/// Where the planes of a tile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileShape {
    /// Bytes before the codes.
    pub(crate) scales_bytes: usize,
    /// All bytes, a multiple of [`LINE`].
    pub(crate) tile_bytes: usize,
}

impl TileShape {
    /// Of a matrix of `n_cols` columns, which blocks divide.
    pub(crate) fn new(quant_type: QuantType, n_cols: usize) -> Self {
        by_format!(quant_type, shape_of(n_cols), |size| TileShape {
            scales_bytes: 0,
            tile_bytes: (n_cols * TILE_ROWS * size).next_multiple_of(LINE),
        })
    }
}

fn shape_of<B: Source>(n_cols: usize) -> TileShape {
    let n_chunks = n_cols / CHUNK;
    let scales_bytes = (n_chunks / B::CHUNKS * B::SCALES.block_bytes()).next_multiple_of(LINE);
    TileShape {
        scales_bytes,
        tile_bytes: scales_bytes + n_chunks * B::CODES.chunk_bytes(),
    }
}

/// Lays out up to 16 `rows` of `row_bytes` each in a zeroed tile.
pub(crate) fn pack_tile(quant_type: QuantType, row_bytes: usize, rows: &[u8], tile: &mut [u8]) {
    by_format!(quant_type, pack_codes(row_bytes, rows, tile), |size| {
        for (row, values) in rows.chunks_exact(row_bytes).enumerate() {
            for (col, value) in values.chunks_exact(size).enumerate() {
                tile[(col * TILE_ROWS + row) * size..][..size].copy_from_slice(value);
            }
        }
    });
}

fn pack_codes<B: Source>(row_bytes: usize, rows: &[u8], tile: &mut [u8]) {
    let n_chunks = row_bytes / size_of::<B>() * B::CHUNKS;
    let (scales, codes) = tile.split_at_mut(shape_of::<B>(n_chunks * CHUNK).scales_bytes);
    for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
        let blocks = bytes
            .chunks_exact(size_of::<B>())
            .map(bytemuck::pod_read_unaligned::<B>)
            .zip(scales.chunks_exact_mut(B::SCALES.block_bytes()))
            .zip(codes.chunks_exact_mut(B::CHUNKS * B::CODES.chunk_bytes()));
        for ((block, scales), codes) in blocks {
            B::SCALES.put(scales, row, &block.scales());
            for (chunk, codes) in codes.chunks_exact_mut(B::CODES.chunk_bytes()).enumerate() {
                B::CODES.put(codes, row, &block.codes(chunk));
            }
        }
    }
}

/// Expands one row of a tile as [`crate::format::dequantize`] expands its source.
pub(crate) fn dequantize_row(quant_type: QuantType, tile: &[u8], row: usize, out: &mut [f32]) {
    by_format!(quant_type, dequantize_codes(tile, row, out), |size| {
        for (col, value) in out.iter_mut().enumerate() {
            let bytes = &tile[(col * TILE_ROWS + row) * size..][..size];
            crate::format::dequantize(quant_type, bytes, std::slice::from_mut(value));
        }
    });
}

fn dequantize_codes<B: Source>(tile: &[u8], row: usize, out: &mut [f32]) {
    let (scales, codes) = tile.split_at(shape_of::<B>(out.len()).scales_bytes);
    for (chunk, out) in out.chunks_exact_mut(CHUNK).enumerate() {
        let block = &scales[chunk / B::CHUNKS * B::SCALES.block_bytes()..];
        let scales = B::SCALES.take(block, row);
        let codes = B::CODES.take(&codes[chunk * B::CODES.chunk_bytes()..], row);
        let (d, m) = (scales.d.to_f32(), scales.m.to_f32());
        for (k, (value, code)) in out.iter_mut().zip(codes).enumerate() {
            let code = (i32::from(code) - B::OFFSET) as f32;
            let sub =
                |n_subs: usize| (chunk % B::CHUNKS * CHUNK + k) * n_subs / (B::CHUNKS * CHUNK);
            *value = match B::SCALES {
                Scales::D => d * code,
                Scales::DM => d * code + m,
                Scales::DSub16 => d * f32::from(scales.subs[sub(16)] as i8) * code,
                Scales::DMSub(n_subs) => {
                    let sub = sub(n_subs);
                    d * f32::from(scales.subs[sub]) * code - m * f32::from(scales.sub_mins[sub])
                }
            };
        }
    }
}
