//! Where models live.
use std::path::PathBuf;

/// The models directory when nothing else is said: `models` under the platform's data directory for `slm`.
/// Creates nothing. `None` when the platform gives no home directory.
pub fn default_models_dir() -> Option<PathBuf> {
    todo!()
}
