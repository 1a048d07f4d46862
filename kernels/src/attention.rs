//! Causal attention over one layer's cache.

/// What one call of [`Compute::attention`](crate::Compute::attention) computes.
#[derive(Clone, Copy, Debug)]
pub struct AttentionArgs {
    /// Queries: the last positions of the cache.
    pub n_tokens: usize,
    /// Query heads; a multiple of the cache's heads.
    pub n_heads: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// How many positions a query sees, its own included; `None` for all.
    pub window: Option<usize>,
    /// `cap * tanh(score / cap)` after the scale.
    pub softcap: Option<f32>,
}

/// Reusable scratch of [`Compute::attention`](crate::Compute::attention).
#[derive(Default)]
pub struct AttentionScratch {}
