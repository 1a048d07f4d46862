//! The tiers of AArch64.

pub(crate) mod neon;
pub(crate) mod neon_dotprod;
