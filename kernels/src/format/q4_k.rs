//! `Q4_K`: 256 values in eight sub-blocks of 32, 4-bit codes, `x = (d·scale)·q − dmin·min`; 144 bytes.
//!
//! Bytes: `d` f16, `dmin` f16, 12 bytes of [`KScales`], then four runs of 32 bytes; run `c` holds sub-block `2c` in
//! its low nibbles and `2c + 1` in its high ones. Source: ggml, `block_q4_K`.

use super::scale_search::{MinSearch, WithMin, code, largest, nearest, with_min};
use super::{Block, F16, KScales};

/// 256 values of `Q4_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4K {
    /// Scale of the scales.
    pub d: F16,
    /// Scale of the minima.
    pub dmin: F16,
    /// Scale and minimum of each sub-block.
    pub scales: KScales,
    /// Codes: byte `32c + l` has value `l` of sub-block `2c` (low) and of sub-block `2c + 1` (high).
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ4K>() == 144);

impl Block for BlockQ4K {
    const LEN: usize = 256;

    fn dequantize(&self, out: &mut [f32]) {
        let affine = SubBlockAffine::of(self.d, self.dmin, &self.scales);
        for (j, out) in out.chunks_exact_mut(32).enumerate() {
            let (run, shift) = (j / 2, 4 * (j % 2));
            let (scale, min) = (affine.scales[j], affine.mins[j]);
            for (x, q) in out.iter_mut().zip(&self.qs[32 * run..][..32]) {
                *x = scale * f32::from(q >> shift & 15) - min;
            }
        }
    }

    fn quantize(values: &[f32]) -> Self {
        let coded = encode_sub_blocks(
            values,
            &MinSearch {
                max_code: 15.0,
                first: -1.0,
                step: 0.1,
                n_steps: 20,
                by_magnitude: false,
            },
        );
        let codes = &coded.codes;
        Self {
            d: coded.d,
            dmin: coded.dmin,
            scales: coded.scales,
            qs: std::array::from_fn(|byte| {
                let (run, l) = (byte / 32, byte % 32);
                codes[2 * run][l] | codes[2 * run + 1][l] << 4
            }),
        }
    }
}

/// The effective scale and minimum of each sub-block of a `Q4_K` or `Q5_K` block.
pub(super) struct SubBlockAffine {
    pub(super) scales: [f32; 8],
    pub(super) mins: [f32; 8],
}

impl SubBlockAffine {
    #[inline]
    pub(super) fn of(d: F16, dmin: F16, packed: &KScales) -> Self {
        let (d, dmin) = (d.to_f32(), dmin.to_f32());
        Self {
            scales: packed.scales().map(|scale| d * f32::from(scale)),
            mins: packed.mins().map(|min| dmin * f32::from(min)),
        }
    }
}

/// What the quantisers of `Q4_K` and `Q5_K` share: everything but where the codes go.
pub(super) struct EncodedSubBlocks {
    pub(super) d: F16,
    pub(super) dmin: F16,
    pub(super) scales: KScales,
    pub(super) codes: [[u8; 32]; 8],
}

/// Finds scales and minima of the eight sub-blocks, rounds them to six bits, and encodes with what they became.
pub(super) fn encode_sub_blocks(values: &[f32], search: &MinSearch) -> EncodedSubBlocks {
    let sub_blocks = values.as_chunks::<32>().0;
    let found: [WithMin<32>; 8] = std::array::from_fn(|j| {
        let x = &sub_blocks[j];
        let sum_squares = x.iter().fold(0.0, |sum, x| sum + x * x);
        let rms = (sum_squares / 32.0).sqrt();
        with_min(x, &x.map(|x| rms + x.abs()), search)
    });
    let max_scale = largest(found.iter().map(|sub| sub.scale));
    let max_min = largest(found.iter().map(|sub| sub.min));
    let six_bits = |value: f32, max: f32| {
        let steps_per_unit = if max > 0.0 { 63.0 / max } else { 0.0 };
        nearest(steps_per_unit * value).clamp(0.0, 63.0) as u8
    };
    let d = F16::from_f32(max_scale / 63.0);
    let dmin = F16::from_f32(max_min / 63.0);
    let scales = KScales::pack(
        std::array::from_fn(|j| six_bits(found[j].scale, max_scale)),
        std::array::from_fn(|j| six_bits(found[j].min, max_min)),
    );
    let rounded = SubBlockAffine::of(d, dmin, &scales);
    let codes = std::array::from_fn(|j| {
        let (scale, min) = (rounded.scales[j], rounded.mins[j]);
        if scale == 0.0 {
            return found[j].codes.map(|q| q as u8);
        }
        sub_blocks[j].map(|x| code((x + min) / scale, 0.0, search.max_code) as u8)
    });
    EncodedSubBlocks {
        d,
        dmin,
        scales,
        codes,
    }
}
