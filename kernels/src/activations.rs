//! Activations, quantised once for all matrices that read them.

/// Reusable scratch of [`Compute::matmul`](crate::Compute::matmul).
#[derive(Default)]
pub struct Activations {}
