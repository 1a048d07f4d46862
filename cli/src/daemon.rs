//! Getting hold of a daemon: the one that answers, else one that is started here.
//!
//! A started daemon outlives this program: it has its own process group, so that Ctrl-C does not reach it, no stdin,
//! and writes to a log file. Only a daemon on this machine is ever started.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use slm_api::{Client, ClientError};

use crate::failure::Advice;
use crate::settings::Settings;
use crate::ui::Ui;

/// How long a started daemon may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one that ends may take: running answers have ten seconds of it.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A log larger than this is set aside before the next start.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How much of the log is shown when the daemon does not come up.
const SHOWN_LOG_LINES: usize = 10;
const SHOWN_LOG_BYTES: u64 = 16 * 1024;

/// A client of a daemon that answers.
///
/// # Errors
/// When none answers and none may or can be started.
pub(crate) async fn connect(settings: &Settings, ui: Ui) -> anyhow::Result<Client> {
    let client = Client::new(&settings.host)?;
    let may_start = settings.autostart && settings.host.is_local();
    let answered = match asked(&client).await {
        Err(error) if error.is_ending() && may_start => {
            ui.note("slmd is stopping; it is started again when it has ended");
            until_ended(&client).await
        }
        answered => answered,
    };
    match answered {
        Ok(()) => Ok(client),
        Err(ClientError::Connect { .. }) if may_start => {
            start(&client, settings, ui).await?;
            Ok(client)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a daemon answers; one that does not is asked for its reason, which a ping has no place for.
async fn asked(client: &Client) -> Result<(), ClientError> {
    match client.ping().await {
        Err(ClientError::Status { .. }) => client.version().await.map(drop),
        answered => answered,
    }
}

/// What a daemon that ends answers when it has ended, or another that took its place; or still, when it takes too long.
async fn until_ended(client: &Client) -> Result<(), ClientError> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        match asked(client).await {
            // the connection may break off at the very end
            Err(error) if error.is_ending() || matches!(error, ClientError::Broken { .. }) => {
                if began.elapsed() > END_TIMEOUT {
                    return Err(error);
                }
            }
            answered => return answered,
        }
    }
}

async fn start(client: &Client, settings: &Settings, ui: Ui) -> anyhow::Result<()> {
    let program = find_slmd()?;
    let mut log = Log::open(settings)?;
    let mut child = spawn_detached(&program, &log)
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    ui.note(&format!("starting slmd, its log is {}", log.path.display()));
    let started = Instant::now();
    loop {
        if client.ping().await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("cannot wait for slmd")? {
            // Somebody else may have started one at the same time, which is as good.
            if client.ping().await.is_ok() {
                return Ok(());
            }
            let tail = log.tail();
            return Err(Advice::new(
                format!("slmd ended at once ({status}){tail}"),
                "run `slmd serve` to see it fail in the foreground",
            )
            .into());
        }
        if started.elapsed() > START_TIMEOUT {
            let tail = log.tail();
            return Err(Advice::new(
                format!(
                    "slmd was started but does not answer at {} after {} s{tail}",
                    client.url(),
                    START_TIMEOUT.as_secs()
                ),
                format!("look at its log, {}", log.path.display()),
            )
            .into());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// `slmd` beside this program, else on the path.
///
/// # Errors
/// When there is none.
pub(crate) fn find_slmd() -> anyhow::Result<PathBuf> {
    let name = format!("slmd{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    find_in(folders, &name).ok_or_else(|| {
        Advice::new(
            "the daemon's program `slmd` is neither beside `slm` nor on the PATH",
            "install `slmd` beside `slm`, or build it with `cargo build --release`",
        )
        .into()
    })
}

fn find_in(folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn spawn_detached(program: &Path, log: &Log) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(log.file.try_clone()?)
        .stderr(log.file.try_clone()?);
    detach(&mut command);
    command.spawn()
}

#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// Where a daemon that is started here writes its log; `None` without a home directory.
pub(crate) fn log_path(settings: &Settings) -> Option<PathBuf> {
    Some(settings.state_dir.as_ref()?.join("slmd.log"))
}

/// The log that a started daemon writes to.
struct Log {
    path: PathBuf,
    file: File,
    /// Where this start begins in it.
    start: u64,
}

impl Log {
    fn open(settings: &Settings) -> anyhow::Result<Self> {
        let (Some(folder), Some(path)) = (&settings.state_dir, log_path(settings)) else {
            return Err(Advice::new(
                "there is no home directory to keep the daemon's log in",
                "set HOME, or start the daemon yourself with `slmd serve`",
            )
            .into());
        };
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder `{}`", folder.display()))?;
        Self::open_at(path)
    }

    fn open_at(path: PathBuf) -> anyhow::Result<Self> {
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES) {
            let old = path.with_extension("log.old");
            std::fs::rename(&path, &old)
                .with_context(|| format!("cannot set the old log aside as `{}`", old.display()))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
            .with_context(|| format!("cannot open the daemon's log `{}`", path.display()))?;
        let start = file.metadata().map_or(0, |meta| meta.len());
        Ok(Self { path, file, start })
    }

    /// The last lines written since this start, each on a line of its own after a colon, or nothing.
    fn tail(&mut self) -> String {
        let len = self.file.metadata().map_or(0, |meta| meta.len());
        let from = self.start.max(len.saturating_sub(SHOWN_LOG_BYTES));
        let mut bytes = Vec::new();
        let is_read = self.file.seek(SeekFrom::Start(from)).is_ok()
            && (&self.file)
                .take(SHOWN_LOG_BYTES)
                .read_to_end(&mut bytes)
                .is_ok();
        if !is_read {
            return String::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if lines.is_empty() {
            return String::new();
        }
        let shown = &lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..];
        format!(", its log says:\n  {}", shown.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_first_folder_that_has_the_program_wins() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        for sub in [&a, &b] {
            std::fs::create_dir(sub).expect("folder");
        }
        let folders = || [PathBuf::from("relative"), a.clone(), b.clone()].into_iter();
        assert_eq!(find_in(folders(), "slmd"), None);
        std::fs::write(b.join("slmd"), "").expect("write");
        assert_eq!(find_in(folders(), "slmd"), Some(b.join("slmd")));
        std::fs::write(a.join("slmd"), "").expect("write");
        assert_eq!(find_in(folders(), "slmd"), Some(a.join("slmd")));
    }

    #[test]
    fn only_the_last_lines_of_this_start_are_shown() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("slmd.log");
        std::fs::write(&path, "old line\n").expect("write");
        let mut log = Log::open_at(path).expect("log");
        assert_eq!(log.tail(), "");
        for i in 0..20 {
            writeln!(log.file, "line {i}\n").expect("write");
        }
        let tail = log.tail();
        assert!(tail.starts_with(", its log says:\n  line 10\n"), "{tail}");
        assert!(tail.ends_with("line 19"), "{tail}");
        assert!(!tail.contains("old"), "{tail}");
    }

    #[test]
    fn a_log_that_grew_large_is_set_aside() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("slmd.log");
        let file = File::create(&path).expect("create");
        file.set_len(MAX_LOG_BYTES + 1).expect("sparse");
        let log = Log::open_at(path).expect("log");
        assert_eq!(log.start, 0);
        assert!(folder.path().join("slmd.log.old").exists());
    }
}
