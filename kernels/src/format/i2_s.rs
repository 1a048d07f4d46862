//! `I2_S`: ternary values with one scale for a whole tensor, 2-bit codes, `x = scale·(q − 1)`; a byte for four values,
//! and 32 bytes at the end of the tensor.
//!
//! Groups of 128 values lie one after the other: byte `p` of a group's 32 has values `p`, `32 + p`, `64 + p` and
//! `96 + p`, the first in its top bits. Of the 32 bytes at the end the first four are the scale, an `f32`, and the
//! others nothing. The type id is that of BitNet's fork of ggml; rows that groups do not divide would share groups,
//! and are not taken. Files that its builds for other machines wrote in other orders under the same id cannot be told
//! apart. No writer gives the code 3. Source: microsoft/BitNet, `quantize_i2_s`, with groups of 128.

use super::scale_search::largest;

/// Values of a group.
pub(crate) const I2_S_GROUP: usize = 128;
/// Bytes at the end of a tensor.
pub(crate) const I2_S_TAIL: usize = 32;

/// The codes of 128 values of `I2_S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct GroupI2S(pub [u8; 32]);

const _: () = assert!(size_of::<GroupI2S>() * 4 == I2_S_GROUP);

/// The scale that a tensor's last 32 bytes hold; 0 when they are not there.
pub(crate) fn i2_s_scale(tail: &[u8]) -> f32 {
    tail.first_chunk()
        .map_or(0.0, |&scale| f32::from_le_bytes(scale))
}

/// Expands a whole tensor of `out.len()` values.
pub(super) fn dequantize(bytes: &[u8], out: &mut [f32]) {
    let (codes, tail) = bytes.split_at(bytes.len().saturating_sub(I2_S_TAIL));
    let scale = i2_s_scale(tail);
    for (codes, out) in codes.chunks_exact(32).zip(out.chunks_exact_mut(I2_S_GROUP)) {
        for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
            for (x, q) in out.iter_mut().zip(codes) {
                *x = scale * (f32::from(q >> (6 - 2 * quarter) & 3) - 1.0);
            }
        }
    }
}

/// Quantises a whole tensor: signs, and the largest magnitude.
pub(super) fn quantize(values: &[f32], out: &mut [u8]) {
    const NEGLIGIBLE: f32 = 1e-6;
    let (codes, tail) = out.split_at_mut(out.len().saturating_sub(I2_S_TAIL));
    for (codes, values) in codes
        .chunks_exact_mut(32)
        .zip(values.chunks_exact(I2_S_GROUP))
    {
        for (p, byte) in codes.iter_mut().enumerate() {
            *byte = values.iter().skip(p).step_by(32).fold(0, |bits, &x| {
                let code = match x {
                    _ if x.abs() < NEGLIGIBLE => 1,
                    _ if x > 0.0 => 2,
                    _ => 0,
                };
                bits << 2 | code
            });
        }
    }
    tail.fill(0);
    if let Some(scale) = tail.first_chunk_mut() {
        *scale = largest(values.iter().map(|x| x.abs())).to_le_bytes();
    }
}
