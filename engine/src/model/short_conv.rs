//! The gated short convolution of LFM2 (arXiv 2511.23404): `[b|c|x] = Win·n; y = Wout·(c ⊙ conv(b ⊙ x))`.
//!
//! The convolution looks at the last few tokens of each channel; the inputs it still needs are the layer's state.

use super::{
    Decoder, Part, Scratch,
    decoder::{each_part, resize},
    weights::{Linear, Loader},
};
use crate::LoadError;

/// Weights of the layer.
pub(super) struct ShortConv {
    b: Linear,
    c: Linear,
    x: Linear,
    /// `[n_taps, hidden_size]`.
    taps: Vec<f32>,
    output: Linear,
}

impl ShortConv {
    /// The convolution of block `il` of a stream of width `d`.
    pub(super) fn load(
        loader: &Loader<'_>,
        il: usize,
        n_taps: usize,
        d: usize,
    ) -> Result<Self, LoadError> {
        let name = |tensor: &str| format!("blk.{il}.shortconv.{tensor}");
        let [b, c, x] = loader.fused(&name("in_proj"), [d; 3], d)?;
        Ok(Self {
            b,
            c,
            x,
            taps: loader.taps(&name("conv.weight"), n_taps, d)?,
            output: loader.linear(&name("out_proj"), d, d)?,
        })
    }

    pub(super) fn linears(&self) -> Vec<&Linear> {
        vec![&self.b, &self.c, &self.x, &self.output]
    }

    /// From what the norm gave in `s.h` to what is added to the stream, there too.
    pub(super) fn forward(
        &self,
        decoder: &Decoder,
        parts: &mut [Part<'_>],
        il: usize,
        n_tokens: usize,
        s: &mut Scratch,
    ) {
        let compute = decoder.compute();
        decoder.project(
            &mut s.projection,
            &s.h,
            n_tokens,
            &mut [
                (&self.b, &mut s.q),
                (&self.c, &mut s.k),
                (&self.x, &mut s.v),
            ],
        );
        compute.mul_assign(&mut s.q, &s.v);
        resize(&mut s.attention, s.q.len());
        let d = s.q.len() / n_tokens;
        for (cache, tokens) in each_part(parts) {
            let values = tokens.start * d..tokens.end * d;
            compute.convolve(
                d,
                &self.taps,
                &mut cache.recurrent(il).history,
                &s.q[values.clone()],
                false,
                &mut s.attention[values],
            );
        }
        compute.mul_assign(&mut s.attention, &s.k);
        decoder.project(
            &mut s.projection,
            &s.attention,
            n_tokens,
            &mut [(&self.output, &mut s.h)],
        );
    }
}
