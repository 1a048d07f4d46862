//! `slmd export` and `slmd import`: bundles without a daemon; beside one they are safe too.

use crate::{config::PlaceFlags, routes::model_name};
use anyhow::{Context, anyhow};
use slm_registry::{Digest, ModelName};
use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, BufWriter, IsTerminal, Read},
    path::{Path, PathBuf},
};

/// Bytes per write.
const BUFFER_BYTES: usize = 1 << 20;
/// A longer list of digests is something else.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Arguments of `slmd export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Names of stored models
    #[arg(required = true)]
    models: Vec<String>,
    /// File to write, `-` for stdout
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// File with digests that the other side has, as `slm list --digests` prints them there
    #[arg(long, value_name = "FILE")]
    without: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Arguments of `slmd import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// File to read, `-` for stdin
    file: PathBuf,
    /// Another name for the model, where there is only one
    #[arg(long = "as", value_name = "NAME")]
    as_name: Option<String>,
    #[command(flatten)]
    place: PlaceFlags,
}

fn name(raw: &str) -> anyhow::Result<ModelName> {
    model_name(raw).map_err(|error| anyhow!("`{raw}`: {}", error.message()))
}

/// Writes the bundle. A file appears when it is whole.
///
/// # Errors
/// What the store or the disk refuse.
pub(super) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let names = args.models.iter().map(|raw| name(raw));
    let names = names.collect::<anyhow::Result<Vec<ModelName>>>()?;
    let without = match &args.without {
        Some(path) => digests(path)?,
        None => HashSet::new(),
    };
    let store = super::open_store(&args.place)?;
    let export = store
        .plan_export(&names, &without)
        .map_err(super::with_hint)?;
    if args.output == Path::new("-") {
        let stdout = io::stdout();
        anyhow::ensure!(
            !stdout.is_terminal(),
            "a bundle is no text for a terminal; name a file with `-o`"
        );
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, stdout.lock());
        return export.write(&mut out).map_err(super::with_hint);
    }
    let fail = || format!("cannot write `{}`", args.output.display());
    let folder = args.output.parent().filter(|path| *path != Path::new(""));
    let file = tempfile::Builder::new()
        .prefix(".slm-export-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(fail)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    export.write(&mut out).map_err(super::with_hint)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error);
    let file = file.with_context(fail)?;
    file.as_file().sync_all().with_context(fail)?;
    let file = file.persist(&args.output).with_context(fail)?;
    make_readable(&file).with_context(fail)
}

/// Temporary files are for their owner alone; a bundle is to be carried.
fn make_readable(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

fn digests(path: &Path) -> anyhow::Result<HashSet<Digest>> {
    let fail = || format!("cannot read `{}`", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(fail)?;
    file.take(MAX_LIST_BYTES)
        .read_to_string(&mut text)
        .with_context(fail)?;
    let words = text.split_whitespace();
    words
        .map(|word| {
            word.parse()
                .map_err(|_| anyhow!("`{word:.100}` in `{}` is no digest", path.display()))
        })
        .collect()
}

/// Stores the models of a bundle.
///
/// # Errors
/// A bundle that is damaged or not whole, or what the store refuses.
pub(super) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    super::start_log("warn");
    let as_name = args.as_name.as_deref().map(name).transpose()?;
    let mut reader: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let fail = || format!("cannot read `{}`", args.file.display());
        let file = File::open(&args.file).with_context(fail)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
    };
    let store = super::open_store(&args.place)?;
    let imported = store
        .import(&mut *reader, as_name.as_ref())
        .map_err(super::with_hint)?;
    for name in &imported.models {
        super::stdout::line(&format!("imported {name}"))?;
    }
    Ok(())
}
