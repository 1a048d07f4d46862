//! What a request adds to the logits of some tokens.
use crate::tokenizer::TokenId;

/// Adds each bias to its token's logit. Ids that are no token count for nothing.
pub(super) fn apply(logits: &mut [f32], biases: &[(TokenId, f32)]) {
    for &(token, bias) in biases {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += bias;
        }
    }
}
