//! Commands that run a model themselves, without a daemon, find its file here.

use crate::{catalog::Catalog, config::Flags, routes::model_name};
use anyhow::{anyhow, bail};
use slm_registry::Store;
use std::path::{Path, PathBuf};

/// The file that `model` means: a path, else a name in the store.
pub(super) fn find(model: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(model);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if path.is_dir() {
        bail!("`{model}` is a folder; name a GGUF file in it");
    }
    if model.ends_with(".gguf") || model.starts_with(['.', '/', '~']) || model.contains('\\') {
        bail!("there is no file `{model}`");
    }
    let missing =
        || anyhow!("`{model}` is neither a file nor a stored model; `slm list` shows these");
    let name = model_name(model).map_err(|_| missing())?;
    let locations = super::resolve(&Flags::default())?.locations;
    if !locations.hot.is_dir() && !locations.are_several() {
        return Err(missing());
    }
    let store = Store::open_without_index(locations).map_err(super::with_hint)?;
    match Catalog::new(store).find(&name) {
        Ok(record) if !record.adapters.is_empty() => bail!(
            "`{model}` runs with an adapter, which this command would leave out; name the file of the weights to measure these alone"
        ),
        Ok(record) => match record.weights_paths.as_slice() {
            [path] => Ok(path.clone()),
            _ => bail!(
                "`{model}` is stored in several files, and this command takes a stored model in one; name the first file of the original"
            ),
        },
        Err(error) if error.status() == http::StatusCode::NOT_FOUND => Err(missing()),
        Err(error) => Err(anyhow!("{}", error.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_said_plainly() {
        let words = |model: &str| format!("{:#}", find(model).unwrap_err());
        assert_eq!(words("./none.gguf"), "there is no file `./none.gguf`");
        assert!(words(env!("CARGO_MANIFEST_DIR")).contains("is a folder"));
    }
}
