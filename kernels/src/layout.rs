//! How weights lie in memory for the kernels: tiles of 16 rows, and back. Safe code, and simple enough to be read.
//!
//! Sixteen rows form a tile, the lanes of a vector. A tile is a plane of scales, padded to a cache line, and then a
//! plane of codes. The codes of 32 columns, a *chunk*, are 64-byte vectors `[16 rows][4 bytes]`, so that a kernel
//! multiplies four columns of sixteen rows at a time and never adds across lanes:
//!
//! | layout | vectors of a chunk |
//! |---|---|
//! | `U2` | 2: bit pair `v` of byte `i` of vector `h` is column `16h + 4v + i` |
//! | `U3` | `U2`, and 1: bit `g` of byte `i` is the third bit of column `4g + i` |
//! | `U4` | 4: vector `v` has columns `4v..4v+4` in the low nibbles, `16+4v..16+4v+4` in the high ones |
//! | `U5` | `U4`, and 1: bit `g` of byte `i` is the fifth bit of column `4g + i` |
//! | `U6` | `U4`, and 2: bits `2(g % 4)` and the next of byte `i` of vector `g / 4` are the upper bits of column `4g + i` |
//! | `U8` | 8: vector `g` has columns `4g..4g+4`; signed codes have 128 added |
//! | floats | one value a lane: `[n_cols][16 rows]`, in the width of the source, no scales |
//!
//! Formats with a table of levels (`IQ4_NL`, `IQ4_XS`, `MXFP4`) keep its indices, as `U4`. `TQ1_0` becomes `U2`.
//!
//! Scales keep their bits: `[d; 16]` or `[d; 16] [m; 16]` as half floats for each block, then for super-blocks the
//! scales of each sub-block as bytes `[16 rows]` (and their minima likewise), unpacked from six bits; those of `Q2_K`
//! stay two nibbles. `MXFP4` has a byte for each row and block. `I2_S` has one plane for all blocks: `[scale; 16]` as
//! `f32`. Rows beyond the last are zero.

use crate::format::{
    BlockIq4Nl, BlockIq4Xs, BlockMxfp4, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K,
    BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, BlockTq1_0, BlockTq2_0, F16, GroupI2S,
    I2_S_GROUP, IQ4_LEVELS, MXFP4_LEVELS, QuantType, i2_s_scale, mxfp4_scale,
};
use crate::memory::LINE;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Columns of a chunk.
pub(crate) const CHUNK: usize = 32;

/// The codes of one row in a chunk: column `4g + i` is byte `i`, the lowest first, of word `g`.
type RowCodes = [u32; CHUNK / 4];
/// The codes of a chunk: word `g` of each row.
type ChunkCodes = [[u32; TILE_ROWS]; CHUNK / 4];

/// The lowest bits of each byte of a word.
const BIT: u32 = 0x0101_0101;
const PAIR: u32 = 0x0303_0303;
const NIBBLE: u32 = 0x0f0f_0f0f;

/// How codes are laid out; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    U2,
    U3,
    U4,
    U5,
    U6,
    U8,
}

impl Codes {
    /// Bytes of a chunk of 16 rows.
    pub(crate) const fn chunk_bytes(self) -> usize {
        match self {
            Codes::U2 => 2 * LINE,
            Codes::U3 => 3 * LINE,
            Codes::U4 => 4 * LINE,
            Codes::U5 => 5 * LINE,
            Codes::U6 => 6 * LINE,
            Codes::U8 => 8 * LINE,
        }
    }

    /// Writes the codes of a chunk.
    #[inline(always)]
    fn put(self, chunk: &mut [u8], codes: &ChunkCodes) {
        let mut write = |vector: usize, lanes: [u32; TILE_ROWS]| {
            let lanes = lanes.map(u32::to_le);
            chunk[vector * LINE..][..LINE].copy_from_slice(bytemuck::bytes_of(&lanes));
        };
        match self {
            Codes::U2 | Codes::U3 => {
                write(0, side_by_side(&codes[..4], 0, PAIR));
                write(1, side_by_side(&codes[4..], 0, PAIR));
            }
            Codes::U4 | Codes::U5 | Codes::U6 => {
                for v in 0..4 {
                    let (low, high) = (&codes[v], &codes[v + 4]);
                    write(
                        v,
                        std::array::from_fn(|row| low[row] & NIBBLE | (high[row] & NIBBLE) << 4),
                    );
                }
            }
            Codes::U8 => {
                for (vector, lanes) in codes.iter().enumerate() {
                    write(vector, *lanes);
                }
            }
        }
        match self {
            Codes::U3 => write(2, side_by_side(codes, 2, BIT)),
            Codes::U5 => write(4, side_by_side(codes, 4, BIT)),
            Codes::U6 => {
                write(4, side_by_side(&codes[..4], 4, PAIR));
                write(5, side_by_side(&codes[4..], 4, PAIR));
            }
            Codes::U2 | Codes::U4 | Codes::U8 => {}
        }
    }

    /// The codes of one row.
    fn take(self, chunk: &[u8], row: usize) -> [u8; CHUNK] {
        std::array::from_fn(|k| {
            let (g, i) = (k / 4, k % 4);
            let byte = |vector: usize| chunk[vector * LINE + 4 * row + i];
            let pair = || byte(g / 4) >> (2 * (g % 4)) & 3;
            let nibble = || byte(g % 4) >> (4 * (g / 4)) & 15;
            match self {
                Codes::U2 => pair(),
                Codes::U3 => pair() | (byte(2) >> g & 1) << 2,
                Codes::U4 => nibble(),
                Codes::U5 => nibble() | (byte(4) >> g & 1) << 4,
                Codes::U6 => nibble() | (byte(4 + g / 4) >> (2 * (g % 4)) & 3) << 4,
                Codes::U8 => byte(g),
            }
        })
    }
}

/// The bits of `mask` of every byte, from the `shift`-th on, of some words side by side.
#[inline(always)]
fn side_by_side(words: &[[u32; TILE_ROWS]], shift: u32, mask: u32) -> [u32; TILE_ROWS] {
    let n_bits = mask.count_ones() / 4;
    let mut all = [0; TILE_ROWS];
    for (g, word) in (0..).zip(words) {
        for (all, word) in all.iter_mut().zip(word) {
            *all |= (word >> shift & mask) << (n_bits * g);
        }
    }
    all
}

/// How scales are laid out for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    /// `d`.
    D,
    /// `d`, `m`.
    DM,
    /// `d`, and a signed byte for each of this many sub-blocks.
    DSub(usize),
    /// `d`, `dmin`, and two bytes, scale and minimum, for each of this many sub-blocks.
    DMSub(usize),
    /// `d`, `dmin`, and a byte, scale and minimum in its low and high nibble, for each of 16 sub-blocks.
    DMNibbles,
    /// The exponent of two as a byte.
    E8,
    /// Nothing: all blocks have the scale that the plane consists of.
    Tensor,
}

impl Scales {
    /// Bytes of a block of 16 rows.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Scales::D => 2 * TILE_ROWS,
            Scales::DM => 4 * TILE_ROWS,
            Scales::DSub(n_subs) => (2 + n_subs) * TILE_ROWS,
            Scales::DMSub(n_subs) => (4 + 2 * n_subs) * TILE_ROWS,
            Scales::DMNibbles => (4 + 16) * TILE_ROWS,
            Scales::E8 => TILE_ROWS,
            Scales::Tensor => 0,
        }
    }

    /// Bytes of the plane for a number of blocks, a multiple of [`LINE`].
    const fn plane_bytes(self, n_blocks: usize) -> usize {
        match self {
            Scales::Tensor => 4 * TILE_ROWS,
            _ => (n_blocks * self.block_bytes()).next_multiple_of(LINE),
        }
    }

    #[inline(always)]
    fn put(self, block: &mut [u8], row: usize, scales: &BlockScales) {
        let mut put_half = |at: usize, value: F16| {
            block[at + 2 * row..][..2].copy_from_slice(&value.0);
        };
        match self {
            Scales::D | Scales::DSub(_) => put_half(0, scales.d),
            Scales::DM | Scales::DMSub(_) | Scales::DMNibbles => {
                put_half(0, scales.d);
                put_half(32, scales.m);
            }
            Scales::E8 | Scales::Tensor => {}
        }
        match self {
            Scales::DSub(n_subs) => {
                for (sub, scale) in scales.subs[..n_subs].iter().enumerate() {
                    block[32 + sub * TILE_ROWS + row] = *scale;
                }
            }
            Scales::DMSub(n_subs) => {
                for sub in 0..n_subs {
                    block[64 + 2 * sub * TILE_ROWS + row] = scales.subs[sub];
                    block[64 + (2 * sub + 1) * TILE_ROWS + row] = scales.sub_mins[sub];
                }
            }
            Scales::DMNibbles => {
                for sub in 0..16 {
                    block[64 + sub * TILE_ROWS + row] =
                        scales.subs[sub] | scales.sub_mins[sub] << 4;
                }
            }
            Scales::E8 => block[row] = scales.e,
            Scales::D | Scales::DM | Scales::Tensor => {}
        }
    }

    /// The scales of block `block` of the plane.
    fn take(self, plane: &[u8], block: usize, row: usize) -> BlockScales {
        let block = &plane[block * self.block_bytes()..];
        let half = |at: usize| F16([block[at + 2 * row], block[at + 2 * row + 1]]);
        let byte = |at: usize| block[at + row];
        let mut scales = BlockScales::default();
        match self {
            Scales::D => scales.d = half(0),
            Scales::DM => (scales.d, scales.m) = (half(0), half(32)),
            Scales::DSub(n_subs) => {
                scales.d = half(0);
                for sub in 0..n_subs {
                    scales.subs[sub] = byte(32 + sub * TILE_ROWS);
                }
            }
            Scales::DMSub(n_subs) => {
                (scales.d, scales.m) = (half(0), half(32));
                for sub in 0..n_subs {
                    scales.subs[sub] = byte(64 + 2 * sub * TILE_ROWS);
                    scales.sub_mins[sub] = byte(64 + (2 * sub + 1) * TILE_ROWS);
                }
            }
            Scales::DMNibbles => {
                (scales.d, scales.m) = (half(0), half(32));
                for sub in 0..16 {
                    let both = byte(64 + sub * TILE_ROWS);
                    (scales.subs[sub], scales.sub_mins[sub]) = (both & 15, both >> 4);
                }
            }
            Scales::E8 => scales.e = byte(0),
            Scales::Tensor => {
                scales.of_tensor = bytemuck::pod_read_unaligned(&plane[4 * row..][..4]);
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
    /// Of sub-blocks; signed in `Scales::DSub`.
    subs: [u8; 16],
    sub_mins: [u8; 16],
    /// Of `Scales::E8`.
    e: u8,
    /// Of `Scales::Tensor`.
    of_tensor: f32,
}

/// A block of codes that can be laid out in tiles.
trait Source: bytemuck::Pod {
    const CODES: Codes;
    const SCALES: Scales;
    /// Chunks of a block.
    const CHUNKS: usize;
    fn scales(&self) -> BlockScales;
    /// The unsigned codes of a chunk.
    fn codes(&self, chunk: usize) -> RowCodes;
    /// What a code counts for.
    fn level(code: u8) -> i32;
}

/// Bytes as words of four, the lowest byte first.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    std::array::from_fn(|word| {
        let bytes = &bytes[4 * word..][..4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    })
}

/// Low nibbles, then high ones.
#[inline(always)]
fn nibbles(qs: &[u8; 16]) -> RowCodes {
    let qs = words::<4>(qs);
    std::array::from_fn(|g| qs[g % 4] >> (4 * (g / 4)) & NIBBLE)
}

/// As [`nibbles`], with the bits of a word as fifth ones.
#[inline(always)]
fn nibbles_and_fifth_bits(qs: &[u8; 16], qh: [u8; 4]) -> RowCodes {
    let qh = u32::from_le_bytes(qh);
    let low = nibbles(qs);
    std::array::from_fn(|g| {
        // Bit `i` of four to bit `8i`: each copy is seven places further.
        let spread = ((qh >> (4 * g) & 15) * 0x0020_4081) & BIT;
        low[g] | spread << 4
    })
}

/// The bit pairs of chunk `chunk` of 256, of which 32 bytes hold four chunks.
#[inline(always)]
fn pairs(qs: &[u8; 64], chunk: usize) -> RowCodes {
    words(&qs[32 * (chunk / 4)..]).map(|word| word >> (2 * (chunk % 4)) & PAIR)
}

/// A block with nothing but a scale.
#[inline(always)]
fn only(d: F16) -> BlockScales {
    BlockScales {
        d,
        ..BlockScales::default()
    }
}

/// A block with a scale and a minimum.
#[inline(always)]
fn both(d: F16, m: F16) -> BlockScales {
    BlockScales {
        d,
        m,
        ..BlockScales::default()
    }
}

/// The first eight of sixteen.
#[inline(always)]
fn first_eight(bytes: [u8; 8]) -> [u8; 16] {
    std::array::from_fn(|sub| if sub < 8 { bytes[sub] } else { 0 })
}

/// Implements [`Source`]: layouts of codes and scales, chunks, then scales, codes and levels.
macro_rules! source {
    ($block:ty: $codes:ident, $scales:expr, $chunks:literal, |$at:ident| $block_scales:expr,
     |$of:ident, $chunk:pat_param| $row_codes:expr, |$code:ident| $level:expr) => {
        impl Source for $block {
            const CODES: Codes = Codes::$codes;
            const SCALES: Scales = $scales;
            const CHUNKS: usize = $chunks;
            #[inline(always)]
            fn scales(&self) -> BlockScales {
                let $at = self;
                $block_scales
            }
            #[inline(always)]
            fn codes(&self, chunk: usize) -> RowCodes {
                let ($of, $chunk) = (self, chunk);
                $row_codes
            }
            #[inline(always)]
            fn level(code: u8) -> i32 {
                let $code = i32::from(code);
                $level
            }
        }
    };
}

source!(BlockQ4_0: U4, Scales::D, 1, |b| only(b.d), |b, _| nibbles(&b.qs), |q| q - 8);
source!(BlockQ4_1: U4, Scales::DM, 1, |b| both(b.d, b.m), |b, _| nibbles(&b.qs), |q| q);
source!(
    BlockQ5_0: U5, Scales::D, 1,
    |b| only(b.d), |b, _| nibbles_and_fifth_bits(&b.qs, b.qh), |q| q - 16
);
source!(
    BlockQ5_1: U5, Scales::DM, 1,
    |b| both(b.d, b.m), |b, _| nibbles_and_fifth_bits(&b.qs, b.qh), |q| q
);
source!(
    BlockQ8_0: U8, Scales::D, 1,
    |b| only(b.d),
    |b, _| words(bytemuck::cast_slice(&b.qs)).map(|word: u32| word ^ 0x8080_8080),
    |q| q - 128
);
source!(
    BlockQ2K: U2, Scales::DMNibbles, 8,
    |b| BlockScales {
        subs: b.scales.map(|s| s & 15),
        sub_mins: b.scales.map(|s| s >> 4),
        ..both(b.d, b.dmin)
    },
    |b, chunk| pairs(&b.qs, chunk),
    |q| q
);
source!(
    BlockQ3K: U3, Scales::DSub(16), 8,
    |b| BlockScales {
        subs: b.unpack_scales().map(|scale| scale as u8),
        ..only(b.d)
    },
    |b, chunk| {
        let (low, high) = (pairs(&b.qs, chunk), words::<8>(&b.hmask));
        std::array::from_fn(|g| low[g] | (high[g] >> chunk & BIT) << 2)
    },
    |q| q - 4
);
source!(
    BlockQ4K: U4, Scales::DMSub(8), 8,
    |b| BlockScales {
        subs: first_eight(b.scales.scales()),
        sub_mins: first_eight(b.scales.mins()),
        ..both(b.d, b.dmin)
    },
    |b, chunk| words(&b.qs[32 * (chunk / 2)..]).map(|word| word >> (4 * (chunk % 2)) & NIBBLE),
    |q| q
);
source!(
    BlockQ5K: U5, Scales::DMSub(8), 8,
    |b| BlockScales {
        subs: first_eight(b.scales.scales()),
        sub_mins: first_eight(b.scales.mins()),
        ..both(b.d, b.dmin)
    },
    |b, chunk| {
        let (low, high) = (words::<8>(&b.qs[32 * (chunk / 2)..]), words::<8>(&b.qh));
        std::array::from_fn(|g| {
            low[g] >> (4 * (chunk % 2)) & NIBBLE | (high[g] >> chunk & BIT) << 4
        })
    },
    |q| q
);
source!(
    BlockQ6K: U6, Scales::DSub(16), 8,
    |b| BlockScales {
        subs: b.scales.map(|scale| scale as u8),
        ..only(b.d)
    },
    |b, chunk| {
        let (half, group) = (chunk / 4, chunk % 4);
        let low = words::<8>(&b.ql[64 * half + 32 * (group % 2)..]);
        let high = words::<8>(&b.qh[32 * half..]);
        std::array::from_fn(|g| {
            low[g] >> (4 * (group / 2)) & NIBBLE | (high[g] >> (2 * group) & PAIR) << 4
        })
    },
    |q| q - 32
);
source!(
    BlockIq4Nl: U4, Scales::D, 1,
    |b| only(b.d), |b, _| nibbles(&b.qs), |q| IQ4_LEVELS[(q & 15) as usize].into()
);
source!(
    BlockIq4Xs: U4, Scales::DSub(8), 8,
    |b| BlockScales {
        subs: first_eight(b.unpack_scales().map(|scale| scale as u8)),
        ..only(b.d)
    },
    |b, chunk| nibbles(&b.qs[chunk]),
    |q| IQ4_LEVELS[(q & 15) as usize].into()
);
source!(BlockTq1_0: U2, Scales::D, 8, |b| only(b.d), |b, chunk| b.codes(chunk), |q| q - 1);
source!(BlockTq2_0: U2, Scales::D, 8, |b| only(b.d), |b, chunk| pairs(&b.qs, chunk), |q| q - 1);
source!(
    GroupI2S: U2, Scales::Tensor, 4,
    |_b| BlockScales::default(),
    |b, chunk| words(&b.0).map(|word| word >> (6 - 2 * chunk) & PAIR),
    |q| q - 1
);
source!(
    BlockMxfp4: U4, Scales::E8, 1,
    |b| BlockScales { e: b.e, ..BlockScales::default() },
    |b, _| nibbles(&b.qs),
    |q| MXFP4_LEVELS[(q & 15) as usize].into()
);

const _: () = assert!(<GroupI2S as Source>::CHUNKS * CHUNK == I2_S_GROUP);

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
            QuantType::Iq4Nl => $call::<BlockIq4Nl>($($argument),*),
            QuantType::Iq4Xs => $call::<BlockIq4Xs>($($argument),*),
            QuantType::Tq1_0 => $call::<BlockTq1_0>($($argument),*),
            QuantType::Tq2_0 => $call::<BlockTq2_0>($($argument),*),
            QuantType::I2S => $call::<GroupI2S>($($argument),*),
            QuantType::Mxfp4 => $call::<BlockMxfp4>($($argument),*),
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
    let scales_bytes = B::SCALES.plane_bytes(n_chunks / B::CHUNKS);
    TileShape {
        scales_bytes,
        tile_bytes: scales_bytes + n_chunks * B::CODES.chunk_bytes(),
    }
}

/// Lays out up to 16 `rows` of `row_bytes` each, of a tensor that ends in `tail`, in a zeroed tile.
pub(crate) fn pack_tile(
    quant_type: QuantType,
    row_bytes: usize,
    rows: &[u8],
    tail: &[u8],
    tile: &mut [u8],
) {
    by_format!(
        quant_type,
        pack_codes(row_bytes, rows, tail, tile),
        |size| match size {
            4 => pack_floats::<4>(row_bytes, rows, tile),
            _ => pack_floats::<2>(row_bytes, rows, tile),
        }
    );
}

fn pack_floats<const SIZE: usize>(row_bytes: usize, rows: &[u8], tile: &mut [u8]) {
    /// Columns that are laid out together, so that their lines stay in the first-level cache.
    const STRIP: usize = 64;
    let (columns, _) = tile.as_chunks_mut::<SIZE>();
    for (strip, columns) in columns.chunks_mut(STRIP * TILE_ROWS).enumerate() {
        for (row, values) in rows.chunks_exact(row_bytes).enumerate() {
            let (values, _) = values.as_chunks::<SIZE>();
            let values = values[values.len().min(strip * STRIP)..].iter();
            for (column, value) in columns.chunks_exact_mut(TILE_ROWS).zip(values) {
                column[row] = *value;
            }
        }
    }
}

fn pack_codes<B: Source>(row_bytes: usize, rows: &[u8], tail: &[u8], tile: &mut [u8]) {
    let blocks: &[B] = bytemuck::cast_slice(rows);
    let n_blocks = row_bytes / size_of::<B>();
    let n_rows = (rows.len() / row_bytes).min(TILE_ROWS);
    let (scales, codes) = tile.split_at_mut(B::SCALES.plane_bytes(n_blocks));
    if B::SCALES == Scales::Tensor {
        for scale in scales.chunks_exact_mut(4).take(n_rows) {
            scale.copy_from_slice(&i2_s_scale(tail).to_ne_bytes());
        }
    }
    let mut words = [[0; TILE_ROWS]; CHUNK / 4];
    for block in 0..n_blocks {
        let size = B::SCALES.block_bytes();
        let scales = &mut scales[block * size..][..size];
        for row in 0..n_rows {
            let of_row = &blocks[row * n_blocks + block];
            B::SCALES.put(scales, row, &of_row.scales());
        }
        let size = B::CODES.chunk_bytes();
        let codes = &mut codes[block * B::CHUNKS * size..][..B::CHUNKS * size];
        for (chunk, codes) in codes.chunks_exact_mut(size).enumerate() {
            for row in 0..n_rows {
                let of_row = blocks[row * n_blocks + block].codes(chunk);
                for (words, word) in words.iter_mut().zip(of_row) {
                    words[row] = word;
                }
            }
            B::CODES.put(codes, &words);
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
    let (plane, codes) = tile.split_at(shape_of::<B>(out.len()).scales_bytes);
    for (chunk, out) in out.chunks_exact_mut(CHUNK).enumerate() {
        let scales = B::SCALES.take(plane, chunk / B::CHUNKS, row);
        let codes = B::CODES.take(&codes[chunk * B::CODES.chunk_bytes()..], row);
        let (d, m) = (scales.d.to_f32(), scales.m.to_f32());
        for (k, (value, code)) in out.iter_mut().zip(codes).enumerate() {
            let level = B::level(code) as f32;
            let sub =
                |n_subs: usize| (chunk % B::CHUNKS * CHUNK + k) * n_subs / (B::CHUNKS * CHUNK);
            let affine = |sub: usize| {
                d * f32::from(scales.subs[sub]) * level - m * f32::from(scales.sub_mins[sub])
            };
            *value = match B::SCALES {
                Scales::D => d * level,
                Scales::DM => d * level + m,
                Scales::DSub(n_subs) => d * f32::from(scales.subs[sub(n_subs)] as i8) * level,
                Scales::DMSub(n_subs) => affine(sub(n_subs)),
                Scales::DMNibbles => affine(sub(16)),
                Scales::E8 => mxfp4_scale(scales.e) * level,
                Scales::Tensor => scales.of_tensor * level,
            };
        }
    }
}
