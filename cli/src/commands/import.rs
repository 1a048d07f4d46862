//! `slm import`: the models of a file that `slm export` wrote.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use slm_api::Client;
use tokio::sync::mpsc;

use crate::failure::Exit;
use crate::progress::FileBar;
use crate::text::size;
use crate::ui::Ui;

/// How much is read and sent at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that are read ahead of the connection.
const CHUNKS_AHEAD: usize = 4;

/// Arguments of `slm import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File to read, `-` for stdin
    pub file: PathBuf,
    /// Another name for the model, where there is only one
    #[arg(long = "as", value_name = "NAME")]
    pub as_name: Option<String>,
}

/// Sends the file; models appear when all of it is checked.
///
/// # Errors
/// When the file cannot be read, or the daemon finds it damaged or not whole.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let (source, n_bytes) = open(&args.file)?;
    let bar = FileBar::new("importing".to_owned(), n_bytes.unwrap_or(0), ui);
    let moving = bar.share();
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    // a thread of our own: a read of stdin that never ends must not hold up the end of the program
    std::thread::spawn(move || read_on(source, &chunks, |n_sent| moving.set(n_sent)));
    let chunks = futures_util::stream::unfold(received, |mut received| async {
        received.recv().await.map(|chunk| (chunk, received))
    });
    let imported = client
        .import(chunks, n_bytes, args.as_name.as_deref())
        .await?;
    bar.finish();
    for name in &imported.models {
        ui.data(&format!("imported '{name}'\n"))?;
    }
    ui.note(&format!(
        "{} new blobs, {}",
        imported.new_blobs,
        size::bytes(imported.new_bytes)
    ));
    Ok(Exit::Done)
}

/// What is read, and its length where that is known.
type Source = (Box<dyn Read + Send>, Option<u64>);

fn open(path: &Path) -> anyhow::Result<Source> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let fail = || format!("cannot read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(fail)?;
    let metadata = file.metadata().with_context(fail)?;
    // a pipe has no length
    let n_bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), n_bytes))
}

/// Hands on what `source` gives, to its end or as long as somebody takes it.
fn read_on(
    mut source: impl Read,
    chunks: &mpsc::Sender<std::io::Result<Bytes>>,
    on_sent: impl Fn(u64),
) {
    let mut n_sent = 0;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let result = match source.read(&mut chunk) {
            Ok(0) => return,
            Ok(n_read) => {
                chunk.truncate(n_read);
                n_sent += n_read as u64;
                on_sent(n_sent);
                Ok(Bytes::from(chunk))
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = result.is_err();
        if chunks.blocking_send(result).is_err() || failed {
            return;
        }
    }
}
