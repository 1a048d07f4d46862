//! `qwen3moe`: Qwen3 as a mixture of experts. The router's softmax is over all experts; the weights of the chosen are
//! divided by their sum, unless the file says otherwise.

use super::{
    qwen3,
    spec::{DecoderSpec, Hparams},
};
use crate::LoadError;

pub(super) fn spec(hparams: &Hparams<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = qwen3::spec(hparams)?;
    spec.experts = hparams.experts(spec.ffn_size, |ffn_size, n_used| ffn_size / n_used)?;
    if spec.experts.is_none() {
        return hparams.refuse("expert_count", 0, "must be above zero in this architecture");
    }
    Ok(spec)
}
