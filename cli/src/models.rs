//! Models as the command line speaks of them: looked up, fetched when missing, suggested when misspelt.

use slm_api::ollama::{ShowRequest, ShowResponse};
use slm_api::{Client, ClientError};

use crate::commands::pull;
use crate::failure::Advice;
use crate::settings::Settings;
use crate::text::nearest::nearest;
use crate::ui::Ui;

/// What the daemon knows about a model, or `None` when it has none of that name.
///
/// # Errors
/// As the client says.
pub(crate) async fn find(
    client: &Client,
    model: &str,
) -> Result<Option<ShowResponse>, ClientError> {
    let request = ShowRequest {
        model: model.to_owned(),
        ..ShowRequest::default()
    };
    match client.show(&request).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the daemon knows about a model; one that it lacks is pulled first.
///
/// # Errors
/// When the model is neither here nor to be had.
pub(crate) async fn find_or_pull(
    client: &Client,
    model: &str,
    insecure: bool,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<ShowResponse> {
    if let Some(info) = find(client, model).await? {
        return Ok(info);
    }
    let args = pull::Args {
        model: model.to_owned(),
        insecure,
        max_bandwidth: None,
    };
    if let Err(error) = pull::pull(args, client, settings, ui).await {
        let message = format!("model '{model}' is not on this machine and cannot be pulled");
        return Err(match nearest_local(client, model).await {
            // The hint of the cause, if any, is about the registry; a misspelling is likelier.
            Some(name) => Advice::new(message, did_you_mean(&name))
                .because(error)
                .into(),
            None => error.context(message),
        });
    }
    match find(client, model).await? {
        Some(info) => Ok(info),
        None => anyhow::bail!("model '{model}' was pulled, but the daemon does not find it"),
    }
}

/// The error for a model that is not here, with the nearest name that is.
pub(crate) async fn not_found(client: &Client, model: &str) -> Advice {
    let hint = match nearest_local(client, model).await {
        Some(name) => did_you_mean(&name),
        None => format!("run `slm pull {model}`, or `slm list` to see what is here"),
    };
    Advice::new(format!("model '{model}' not found"), hint)
}

/// As [`explain`], where the model was not wanted: nobody is told to fetch it.
pub(crate) async fn explain_unwanted(
    client: &Client,
    model: &str,
    error: ClientError,
) -> anyhow::Error {
    if !error.is_not_found() {
        return error.into();
    }
    let hint = match nearest_local(client, model).await {
        Some(name) => did_you_mean(&name),
        None => "run `slm list` to see what is here".to_owned(),
    };
    Advice::new(format!("model '{model}' not found"), hint).into()
}

/// Gives "not found" answers their hint and leaves other errors as they are.
pub(crate) async fn explain(client: &Client, model: &str, error: ClientError) -> anyhow::Error {
    if error.is_not_found() {
        not_found(client, model).await.into()
    } else {
        error.into()
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`? `slm list` shows all that are here")
}

/// The model on this machine that was probably meant.
pub(crate) async fn nearest_local(client: &Client, model: &str) -> Option<String> {
    let tags = client.tags().await.ok()?;
    let names = tags.models.iter().map(|model| model.name.as_str());
    nearest(model, names).map(str::to_owned)
}
