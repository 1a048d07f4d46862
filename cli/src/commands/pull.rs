//! `slm pull`: fetches a model, with progress.

use slm_api::Client;
use slm_api::ollama::{CopyRequest, PullRequest, TagsModel};

use crate::failure::Exit;
use crate::fit;
use crate::progress;
use crate::settings::Settings;
use crate::ui::Ui;

/// Arguments of `slm pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model, such as `qwen3:0.6b`, or `qwen3` for the one that fits this machine; or `hf.co/user/repo[:FORMAT]`, `oci://host/repo:tag`, or the
    /// address of a GGUF file
    pub model: String,
    /// Allow a registry without TLS
    #[arg(long)]
    pub insecure: bool,
    /// Bytes per second at most, such as `5M`; whoever else waits for the same model shares the bound of the first
    #[arg(long, value_name = "RATE", value_parser = bandwidth)]
    pub max_bandwidth: Option<u64>,
}

fn bandwidth(text: &str) -> Result<u64, String> {
    let rate = slm_api::rate::parse(text).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "expected bytes per second, such as 800k or 5M".to_owned())
}

/// Pulls the model.
///
/// # Errors
/// When the registry has no such model or cannot be reached, or what arrives is damaged.
pub(crate) async fn run(
    args: Args,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Exit> {
    pull(args, client, settings, ui).await?;
    Ok(Exit::Done)
}

/// The same for other commands.
///
/// # Errors
/// As [`run`].
pub(crate) async fn pull(
    args: Args,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<()> {
    let target = choose(&args.model, client, settings, ui).await?;
    let request = PullRequest {
        model: target.pull.clone(),
        insecure: args.insecure.then_some(true),
        max_bandwidth: args.max_bandwidth,
        ..PullRequest::default()
    };
    let lines = client.pull(&request).await?;
    let is_here = settings.host.is_local();
    progress::follow_sized(lines, ui, |total, here| {
        if target.is_told || here >= total {
            return;
        }
        let machine = is_here.then(|| fit::machine(settings));
        let (line, warning) = fit::of_size(&target.pull, total, here, machine.as_ref());
        ui.note(&line);
        if let Some(warning) = warning {
            ui.warn(&warning);
        }
    })
    .await?;
    if let Some(name) = target.also {
        let request = CopyRequest {
            source: target.pull,
            destination: name.clone(),
        };
        client.copy(&request).await?;
        ui.note(&format!("it is here as `{name}` too"));
    }
    Ok(())
}

/// What is pulled for a name.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// What to ask for.
    pull: String,
    /// The name that it gets besides: that of the family which was asked for.
    also: Option<String>,
    /// Whether it was said what it takes.
    is_told: bool,
}

/// What to pull for a name: that, or of a family of the catalogue the file that fits. Says what it takes, as far as the
/// catalogue knows. A daemon elsewhere has a memory that is not known here, so nothing is said about it.
async fn choose(
    name: &str,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Target> {
    let plain = Target {
        pull: name.to_owned(),
        also: None,
        is_told: false,
    };
    if !settings.host.is_local() || !fit::is_known(name)? {
        return Ok(plain);
    }
    let here = client.tags().await?.models;
    match earlier(name, &here) {
        Earlier::Choice(pull) => {
            return Ok(Target {
                pull,
                also: Some(name.to_owned()),
                is_told: false,
            });
        }
        Earlier::Other => return Ok(plain),
        Earlier::Nothing => {}
    }
    let Some(advice) = fit::advise(name, &fit::machine(settings))? else {
        return Ok(plain);
    };
    ui.note(&advice.line);
    if let Some(warning) = &advice.warning {
        ui.warn(warning);
    }
    Ok(Target {
        also: advice.is_choice.then(|| name.to_owned()),
        pull: advice.pull,
        is_told: true,
    })
}

/// What has a name already.
#[derive(Debug, PartialEq, Eq)]
enum Earlier {
    /// Nothing.
    Nothing,
    /// A file of the catalogue that was chosen before: it stays the choice.
    Choice(String),
    /// Something else, which is to be fetched again as it is.
    Other,
}

fn earlier(name: &str, here: &[TagsModel]) -> Earlier {
    let full = if name.contains(':') {
        name.to_lowercase()
    } else {
        format!("{}:latest", name.to_lowercase())
    };
    let find = |model: &&TagsModel| model.name.to_lowercase() == full;
    let Some(model) = here.iter().find(find) else {
        return Earlier::Nothing;
    };
    let is_choice = |other: &&TagsModel| {
        other.digest == model.digest && fit::is_of_family(&other.name, name).unwrap_or(false)
    };
    let choice = here.iter().find(is_choice);
    choice.map_or(Earlier::Other, |choice| {
        Earlier::Choice(choice.name.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_made_once() {
        let model = |name: &str, digest: &str| TagsModel {
            name: name.to_owned(),
            digest: digest.to_owned(),
            ..TagsModel::default()
        };
        let chosen = model("qwen3:1.7b-q4_K_M", "a");
        assert_eq!(earlier("qwen3", &[]), Earlier::Nothing);
        assert_eq!(
            earlier("qwen3", std::slice::from_ref(&chosen)),
            Earlier::Nothing
        );
        let both = [chosen.clone(), model("qwen3:latest", "a")];
        assert_eq!(
            earlier("Qwen3", &both),
            Earlier::Choice("qwen3:1.7b-q4_K_M".to_owned())
        );
        // one of the person's own, or that of the registry
        let other = [chosen, model("qwen3:latest", "b")];
        assert_eq!(earlier("qwen3", &other), Earlier::Other);
        let relative = [model("llama3.2:1b", "a"), model("qwen3:latest", "a")];
        assert_eq!(earlier("qwen3", &relative), Earlier::Other);
    }
}
