//! `nomic-bert`: Nomic Embed. Queries and keys are rotated in place of a table of positions, and the feed-forward layer
//! has a gate.

use super::{
    encoder::{EncoderSpec, Ffn},
    spec::Hparams,
};
use crate::LoadError;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<EncoderSpec, LoadError> {
    let mut spec = hparams.encoder()?;
    spec.positions = hparams.encoder_rope(spec.head_dim)?;
    spec.ffn = Ffn::GatedSilu;
    Ok(spec)
}
