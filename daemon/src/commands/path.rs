//! `slmd path MODEL`: where the files of a stored model are.

use crate::{config::PlaceFlags, paths, routes::model_name};
use anyhow::anyhow;

/// Arguments of `slmd path`.
#[derive(Debug, clap::Args)]
pub(super) struct PathArgs {
    /// Name of a stored model
    model: String,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Prints the path of the weights: one line, or one for each part.
///
/// # Errors
/// No such model, or a file of it that is missing.
pub(super) fn run(args: &PathArgs) -> anyhow::Result<()> {
    let explain = |error: crate::error::ApiError| anyhow!("{}", error.message());
    let name = model_name(&args.model).map_err(explain)?;
    let store = super::open_store(&args.place)?;
    let found = paths::of_model(&store, &name).map_err(explain)?;
    for file in found.files.iter().filter(|file| file.kind == "model") {
        super::stdout::line(&file.path)?;
    }
    Ok(())
}
