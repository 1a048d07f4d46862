//! The model that guesses for another, as the option `draft_model` names it.

use crate::{
    error::ApiError,
    inference::RunOptions,
    routes::{as_asked, model_name},
    state::App,
};
use std::{path::PathBuf, sync::Arc};

/// Where its weights are.
///
/// # Errors
/// A name that is wrong, or that no model has.
pub(super) async fn weights(
    app: &Arc<App>,
    options: &RunOptions,
) -> Result<Option<PathBuf>, ApiError> {
    let Some(name) = options.draft_model.clone() else {
        return Ok(None);
    };
    let found = app.blocking(move |app| {
        let record = model_name(&name).and_then(|name| app.catalog.find(&name));
        let record = record.map_err(|error| as_asked(error, &name))?;
        match record.weights_paths.as_slice() {
            [path] => Ok(path.clone()),
            _ => Err(ApiError::bad_request(format!(
                "\"{name}\" comes in several files and cannot guess for another model"
            ))),
        }
    });
    found.await.map(Some)
}
