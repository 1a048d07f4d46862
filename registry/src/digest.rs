//! Content address of a blob.
use std::{fmt, str::FromStr};

/// Content address of a blob: the SHA-256 of its bytes, `sha256:` + 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest([u8; 32]);

/// Why text is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("invalid digest format")]
pub struct DigestError;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(_bytes: &[u8]) -> Self {
        todo!()
    }
    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        let _ = self.0;
        todo!()
    }
}
impl FromStr for Digest {
    type Err = DigestError;
    /// Accepts `sha256:<hex>` and `sha256-<hex>`.
    fn from_str(_text: &str) -> Result<Self, DigestError> {
        todo!()
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
