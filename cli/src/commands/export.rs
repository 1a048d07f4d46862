//! `slm export`: models as one file, to be carried where no network is.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use slm_api::Client;
use slm_api::store::ExportRequest;

use crate::failure::{Advice, Exit};
use crate::models;
use crate::progress::FileBar;
use crate::ui::{self, StdoutClosed, Ui};

/// A longer list of digests is something else.
const MAX_LIST_BYTES: u64 = 64 * 1024 * 1024;

/// Arguments of `slm export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of models
    #[arg(required = true)]
    pub models: Vec<String>,
    /// File to write, `-` for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// File with digests that the other side has, as `slm list --digests` prints them there
    #[arg(long, value_name = "FILE")]
    pub without: Option<PathBuf>,
}

/// Writes the file; it appears when it is whole.
///
/// # Errors
/// When a model is unknown, the file cannot be written or the daemon fails.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = ExportRequest {
        without: match &args.without {
            Some(path) => digests(path)?,
            None => Vec::new(),
        },
        models: args.models,
    };
    let to_stdout = args.output == Path::new("-");
    if to_stdout && std::io::stdout().is_terminal() {
        let text = "an export is no text for a terminal";
        return Err(Advice::new(text, "name a file with `-o`, or pipe it").into());
    }
    let mut bundle = match client.export(&request).await {
        Ok(bundle) => bundle,
        Err(error) if request.models.len() == 1 => {
            return Err(models::explain(client, &request.models[0], error).await);
        }
        Err(error) => return Err(error.into()),
    };
    let mut target = Target::open(&args.output, to_stdout)?;
    let bar = FileBar::new("exporting".to_owned(), bundle.n_bytes.unwrap_or(0), ui);
    let mut n_bytes = 0;
    loop {
        let bytes = tokio::select! {
            next = bundle.next() => match next {
                Some(bytes) => bytes?,
                None => break,
            },
            // the unfinished file goes with `target`
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot hear of Ctrl-C")?;
                return Ok(Exit::Interrupted);
            }
        };
        target.write(&bytes)?;
        n_bytes += bytes.len() as u64;
        bar.set(n_bytes);
    }
    bar.finish();
    target.finish()?;
    Ok(Exit::Done)
}

/// Where the bytes go.
enum Target {
    Stdout,
    /// A device or a pipe, which stays what it is.
    Special(std::fs::File, PathBuf),
    /// Under another name until it is whole; removed when this is dropped before.
    File {
        file: tempfile::NamedTempFile,
        path: PathBuf,
    },
}

impl Target {
    fn open(path: &Path, to_stdout: bool) -> anyhow::Result<Self> {
        if to_stdout {
            return Ok(Self::Stdout);
        }
        let cannot = || format!("cannot write `{}`", path.display());
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let file = std::fs::File::options().write(true).open(path);
            return Ok(Self::Special(file.with_context(cannot)?, path.to_owned()));
        }
        // what a link leads to is replaced, not the link
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let mut builder = tempfile::Builder::new();
        // a bundle is to be carried: the umask says for whom it is
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder
            .prefix(".slm-export-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(cannot)?;
        Ok(Self::File {
            file,
            path: path.to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => match std::io::stdout().lock().write_all(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    Err(StdoutClosed.into())
                }
                written => written.context("cannot write to stdout"),
            },
            Self::Special(file, path) => file
                .write_all(bytes)
                .with_context(|| format!("cannot write `{}`", path.display())),
            Self::File { file, path } => file
                .write_all(bytes)
                .with_context(|| format!("cannot write `{}`", path.display())),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout => std::io::stdout()
                .lock()
                .flush()
                .context("cannot write to stdout"),
            Self::Special(..) => Ok(()),
            Self::File { file, path } => {
                let synced = file.as_file().sync_all();
                let kept = synced.and_then(|()| Ok(file.persist(&path)?));
                kept.map(drop)
                    .with_context(|| format!("cannot write `{}`", path.display()))
            }
        }
    }
}

fn digests(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = ui::read_text(path, MAX_LIST_BYTES)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
