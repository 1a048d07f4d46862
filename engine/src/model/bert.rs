//! `bert`: BERT and its many descendants (MiniLM, BGE, E5, Arctic Embed, RoBERTa's kin). A table of positions, biases
//! everywhere, a feed-forward layer of two matrices.

use super::{encoder::EncoderSpec, spec::Hparams};
use crate::LoadError;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<EncoderSpec, LoadError> {
    hparams.encoder()
}
