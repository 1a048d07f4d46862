//! Where models live, and the secrets to get them.
use std::path::PathBuf;

/// Where this user's data is: the platform's local data directory for `slm`.
pub fn default_data_dir() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "slm")?;
    Some(dirs.data_local_dir().to_owned())
}

/// The models directory when nothing else is said: `models` under the platform's data directory for `slm`.
/// Creates nothing. `None` when the platform gives no home directory.
pub fn default_models_dir() -> Option<PathBuf> {
    // The local one: on Windows the other would roam, and models are large.
    Some(default_data_dir()?.join("models"))
}

/// Where what can be made again is kept: the platform's cache directory for `slm`.
pub fn default_cache_dir() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "slm")?;
    Some(dirs.cache_dir().to_owned())
}

/// Where `slm login` keeps credentials: in the platform's configuration directory for `slm`.
pub fn default_credentials_file() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "slm")?;
    Some(dirs.config_dir().join("credentials.json"))
}
