//! The disk side of a download: the file `sha256-<hex>-partial` and the thread that writes and hashes it.
//!
//! The file's length is the progress: it survives a kill, and the hash is computed anew from the file. A file lock keeps
//! two processes from writing the same download.
use crate::{
    Digest, Error,
    digest::Hasher,
    store::{Shared, ingest},
};
use bytes::Bytes;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Chunks of the network that may wait for the disk.
const MAX_WAITING_CHUNKS: usize = 64;
/// Ollama downloads a blob in at most so many parts, each with a state file of its own.
const MAX_FOREIGN_PARTS: usize = 1024;

/// Where the download of `digest` is.
pub(super) fn path(shared: &Shared, digest: &Digest) -> PathBuf {
    shared
        .blobs()
        .join(format!("{}-partial", digest.file_name()))
}

/// Bytes of `digest` that an earlier attempt has left.
pub(super) fn len(shared: &Shared, digest: &Digest) -> u64 {
    fs::metadata(path(shared, digest)).map_or(0, |metadata| metadata.len())
}

/// An open and locked download.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    len: u64,
}

impl Partial {
    /// Opens or creates the download of `digest`, which has `total` bytes when it is complete; `None` while another
    /// process downloads it.
    pub(super) fn open(
        shared: &Shared,
        digest: &Digest,
        total: u64,
    ) -> Result<Option<Self>, Error> {
        let path = path(shared, digest);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(Error::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::write(&path)(error)),
        }
        if !is_still_at(&file, &path) {
            // Its owner has finished between our opening and locking: this is a blob now.
            return Ok(None);
        }
        let mut partial = Self {
            path,
            file,
            hasher: Hasher::default(),
            len: 0,
        };
        // A download of Ollama has holes: its length says nothing.
        let is_foreign = remove_foreign_parts(&partial.path);
        if is_foreign || partial.file_len()? > total {
            partial.restart()?;
        }
        partial.read_back()?;
        Ok(Some(partial))
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn file_len(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata().map_err(Error::read(&self.path))?;
        Ok(metadata.len())
    }

    fn read_back(&mut self) -> Result<(), Error> {
        let result = self.file.seek(SeekFrom::Start(0));
        result.map_err(Error::read(&self.path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n_bytes) => {
                    self.hasher.update(&buffer[..n_bytes]);
                    self.len += n_bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::read(&self.path)(error)),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(Error::write(&self.path))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all bytes.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(Error::write(&self.path))?;
        self.hasher = Hasher::default();
        self.len = 0;
        Ok(())
    }

    /// The digest of all bytes so far.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().digest()
    }

    /// Makes the complete download visible as the blob `digest`, which it is.
    pub(super) fn reveal(self, shared: &Shared, digest: Digest) -> Result<(), Error> {
        ingest::reveal(shared, &self.file, &self.path, ingest::BLOB_MODE, digest)
    }

    /// Removes the download.
    pub(super) fn discard(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::write(&self.path))
    }

    /// Starts the thread that appends what is sent to it.
    pub(super) fn into_writer(mut self) -> Writer {
        let (sender, mut receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
        let task = tokio::task::spawn_blocking(move || {
            while let Some(command) = receiver.blocking_recv() {
                match command {
                    Command::Append(bytes) => self.append(&bytes)?,
                    Command::Restart => self.restart()?,
                }
            }
            Ok(self)
        });
        Writer { sender, task }
    }
}

enum Command {
    Append(Bytes),
    Restart,
}

/// The thread that writes a [`Partial`]. When it is dropped, what was sent is still written.
pub(super) struct Writer {
    sender: mpsc::Sender<Command>,
    task: JoinHandle<Result<Partial, Error>>,
}

/// The writer has stopped early; [`Writer::finish`] says why.
#[derive(Debug)]
pub(super) struct Stopped;

impl Writer {
    /// Sends bytes, waiting while the disk is behind.
    pub(super) async fn append(&self, bytes: Bytes) -> Result<(), Stopped> {
        let sent = self.sender.send(Command::Append(bytes)).await;
        sent.map_err(|_| Stopped)
    }

    /// Makes the writer forget all bytes.
    pub(super) async fn restart(&self) -> Result<(), Stopped> {
        self.sender
            .send(Command::Restart)
            .await
            .map_err(|_| Stopped)
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> Result<Partial, Error> {
        drop(self.sender);
        super::joined(self.task).await
    }
}

/// Whether `file` has not been renamed or removed since it was opened.
fn is_still_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (ours, theirs) = (file.metadata().map(id), fs::metadata(path).map(id));
        matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes Ollama's state files `…-partial-<N>` beside `path`; whether there were any.
fn remove_foreign_parts(path: &Path) -> bool {
    let mut n_parts = 0;
    for n_part in 0..MAX_FOREIGN_PARTS {
        let mut part = path.as_os_str().to_owned();
        part.push(format!("-{n_part}"));
        if fs::remove_file(&part).is_err() {
            break;
        }
        n_parts += 1;
    }
    n_parts > 0
}
