//! `slm update`: models pulled again from where they came.

use slm_api::Client;
use slm_api::care::UpdateRequest;

use crate::failure::{Advice, Exit};
use crate::models;
use crate::progress;
use crate::ui::Ui;

/// Arguments of `slm update`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of models
    #[arg(value_name = "MODEL", required_unless_present = "all")]
    pub models: Vec<String>,
    /// All models that their sources have newer
    #[arg(long, conflicts_with = "models")]
    pub all: bool,
    /// Allow registries without TLS
    #[arg(long)]
    pub insecure: bool,
}

/// Updates each model; one that fails does not keep the others.
///
/// # Errors
/// When the daemon cannot be asked; the failure of a model is printed here.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let models = if args.all {
        let found = client.outdated().await?.models;
        for model in &found {
            if let Some(error) = &model.error {
                ui.error(&anyhow::anyhow!("cannot ask for `{}`: {error}", model.name));
                exit = Exit::Failed;
            }
        }
        let outdated = found.into_iter().filter(|model| model.status == "outdated");
        outdated.map(|model| model.name).collect()
    } else {
        args.models
    };
    if args.all && models.is_empty() {
        ui.note("no model is known to be outdated");
    }
    for model in models {
        match update(client, &model, args.insecure, ui).await {
            Ok(()) => ui.data(&format!("updated '{model}'\n"))?,
            Err(error) => {
                ui.error(&error);
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

async fn update(client: &Client, model: &str, insecure: bool, ui: Ui) -> anyhow::Result<()> {
    let request = UpdateRequest {
        model: model.to_owned(),
        insecure: insecure.then_some(true),
    };
    let lines = match client.update(&request).await {
        Ok(lines) => lines,
        Err(error) => return Err(models::explain(client, model, error).await),
    };
    progress::follow(lines, ui).await.map_err(|error| {
        let text = format!("cannot update '{model}'");
        let hint = "the model that was there is still there; try again, or see `slm outdated`";
        Advice::new(text, hint).because(error).into()
    })
}
