//! Where the states of conversations are kept on disk, and how much of it they get.

use slm_engine::PrefixStoreOptions;
use slm_registry::{Digest, paths};
use std::path::Path;

/// Bytes that states get where nobody says how many.
const DEFAULT_BYTES: u64 = 2_000_000_000;
/// The part of what is free that this is at most.
const PART_OF_FREE: u64 = 20;

/// For the model with these weights; `None` where nothing is kept.
pub(super) fn options(wanted: Option<u64>, weights: &Digest) -> Option<PrefixStoreOptions> {
    let cache = paths::default_cache_dir()?;
    let max_bytes = wanted.unwrap_or_else(|| {
        let free = free_bytes(&cache).unwrap_or(0);
        DEFAULT_BYTES.min(free / PART_OF_FREE)
    });
    (max_bytes > 0).then(|| PrefixStoreOptions {
        dir: cache.join("prefixes"),
        model_key: weights.to_string(),
        max_bytes,
    })
}

/// Bytes that this user may still write where `path` is, or is going to be.
fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let place = path.ancestors().find(|place| place.exists())?;
        let stat = rustix::fs::statvfs(place).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_small_part_of_what_is_free_or_what_was_said() {
        let weights = Digest::of(b"weights");
        assert_eq!(options(Some(0), &weights), None);
        if let Some(options) = options(Some(5), &weights) {
            assert_eq!(options.max_bytes, 5);
            assert!(options.model_key.starts_with("sha256:"));
        }
        let here = std::env::temp_dir();
        let free = free_bytes(&here.join("not/there"));
        assert_eq!(free.is_some(), cfg!(unix));
    }
}
