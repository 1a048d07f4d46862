//! `slm gc`: what nobody needs, shown first and removed when asked.

use slm_api::Client;
use slm_api::care::{GcRequest, GcResponse};

use crate::commands::list::short_id;
use crate::failure::Exit;
use crate::format::Format;
use crate::text::{size, table};
use crate::ui::Ui;

/// Arguments of `slm gc`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove it, in place of showing what would go
    #[arg(short = 'f', long, visible_alias = "force")]
    pub yes: bool,
    /// How old blobs that no model uses and unfinished downloads must be, such as `30m` or `0` (default: an hour, and
    /// two weeks for downloads)
    #[arg(long, value_name = "AGE", value_parser = slm_api::age::parse)]
    pub older_than: Option<u64>,
    /// Earlier versions of models too, which `slm rollback` goes back to (otherwise kept for a month)
    #[arg(long)]
    pub history: bool,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Shows or removes.
///
/// # Errors
/// When the store cannot be read or written.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = GcRequest {
        remove: args.yes.then_some(true),
        older_than: args.older_than,
        history: args.history.then_some(true),
    };
    let found = client.gc(&request).await?;
    args.format.print(&found, render, ui)?;
    Ok(Exit::Done)
}

fn render(found: &GcResponse) -> String {
    let mut rows = Vec::new();
    for (what, files) in [("blob", &found.blobs), ("download", &found.partials)] {
        rows.extend(files.iter().map(|file| {
            vec![
                what.to_owned(),
                short_id(&file.digest),
                size::bytes(file.size),
            ]
        }));
    }
    rows.extend(found.versions.iter().map(|version| {
        vec![
            "version".to_owned(),
            short_id(&version.digest),
            version.name.clone(),
        ]
    }));
    let mut text = table::render(&rows, 0);
    if let Some(name) = &found.blocked_by {
        text.push_str(&format!(
            "blobs are kept: the manifest of `{name}` cannot be read; pull it again or remove it\n"
        ));
    }
    let n_bytes = size::bytes(found.bytes);
    text.push_str(&match (rows.is_empty(), found.removed) {
        (true, _) => "nothing to remove\n".to_owned(),
        (false, true) => format!("removed {n_bytes}\n"),
        (false, false) => format!("{n_bytes} would be removed; `slm gc --yes` does it\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_api::care::{GcFile, GcVersion};

    #[test]
    fn what_would_go_is_listed_with_its_size() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let file = |size| GcFile {
            digest: digest.clone(),
            size,
        };
        let mut found = GcResponse {
            bytes: 3_000,
            blobs: vec![file(1_000)],
            partials: vec![file(2_000)],
            versions: vec![GcVersion {
                name: "m:latest".to_owned(),
                digest: digest.clone(),
            }],
            ..GcResponse::default()
        };
        assert_eq!(
            render(&found),
            "blob        0123456789ab    1 KB\n\
             download    0123456789ab    2 KB\n\
             version     0123456789ab    m:latest\n\
             3 KB would be removed; `slm gc --yes` does it\n"
        );
        found.removed = true;
        assert!(render(&found).ends_with("removed 3 KB\n"));
        assert_eq!(render(&GcResponse::default()), "nothing to remove\n");
    }
}
