//! One user's world: a models directory, a daemon address, an environment that holds nothing else.

use crate::{
    fixtures,
    program::{Finished, Running},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A temporary home. Whatever daemon was started in it is ended when it is dropped.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    address: SocketAddr,
    variables: Vec<(String, String)>,
}

impl Home {
    /// An empty home with a free address for its daemon.
    pub fn new() -> Self {
        // on the filesystem of the fixtures, so that models are linked here as they are on a user's machine
        let parent = fixtures::build_dir().join("../tmp");
        fs::create_dir_all(&parent).expect("the target directory is writable");
        let parent = parent.canonicalize().expect("the folder was just made");
        let folder = tempfile::Builder::new()
            .prefix("home-")
            .tempdir_in(parent)
            .expect("the target directory is writable");
        Self {
            folder,
            address: free_address(),
            variables: Vec::new(),
        }
    }

    /// Takes another free address, after somebody else took the first.
    pub(crate) fn move_address(&mut self) {
        self.address = free_address();
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The models directory.
    pub fn models(&self) -> PathBuf {
        self.path().join("models")
    }

    /// Sets a variable for every program of this home.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Where the daemon listens or will.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes a file into the home.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("a temporary home is writable");
        path
    }

    /// A command in this home's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.path();
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("LANG", "C.UTF-8")
            .env("SLM_MODELS", self.models())
            .env("SLM_HOST", self.address.to_string())
            .envs(self.variables.iter().cloned())
            .current_dir(home);
        command
    }

    /// The command `slm` with `arguments`.
    pub fn slm_command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.command(fixtures::program("slm"));
        command.args(arguments);
        command
    }

    /// The command `slmd` with `arguments`.
    pub fn slmd_command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.command(fixtures::program("slmd"));
        command.args(arguments);
        command
    }

    /// As [`Home::slm_command`], for a daemon that is going to be killed: where it is gone first, none is started instead.
    pub fn slm_of_the_daemon<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.slm_command(arguments);
        command.env("SLM_NO_AUTOSTART", "1");
        command
    }

    /// Runs `slm` to its end.
    #[track_caller]
    pub fn slm<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Finished {
        Running::start(self.slm_command(arguments), b"").finish()
    }

    /// Runs `slmd` to its end.
    #[track_caller]
    pub fn slmd<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Finished {
        Running::start(self.slmd_command(arguments), b"").finish()
    }

    /// Creates model `name` from the GGUF at `path`, as a user does.
    #[track_caller]
    pub fn create(&self, name: &str, path: &Path) {
        let file = name.replace([':', '/'], "-");
        let text = format!("FROM {}\n", path.display());
        let modelfile = self.write(&format!("{file}.Modelfile"), text);
        self.slm(&[
            OsStr::new("create"),
            OsStr::new(name),
            OsStr::new("-f"),
            modelfile.as_os_str(),
        ])
        .ok();
    }

    /// The ids of every `slmd` that runs in this home, found by its environment.
    pub fn daemons(&self) -> Vec<i32> {
        let mine = format!("SLM_MODELS={}", self.models().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let is_slmd = fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| name.trim() == "slmd");
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_mine = environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mine.as_bytes());
            if is_slmd && is_mine {
                found.push(id);
            }
        }
        found
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for id in self.daemons() {
            if let Some(pid) = Pid::from_raw(id) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// A loopback address that is free, and that no other caller in this process gets.
pub(crate) fn free_address() -> SocketAddr {
    // tests run side by side: a port that the system picks is free for the next of them until its daemon listens.
    // Below 32768 the system hands none out by itself; a test program that runs beside this one starts elsewhere
    const PORTS: Range<u32> = 12_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed);
        let start = process::id().wrapping_mul(101);
        let port = PORTS.start + start.wrapping_add(turn) % (PORTS.end - PORTS.start);
        let address = (
            Ipv4Addr::LOCALHOST,
            u16::try_from(port).expect("below 32000"),
        );
        if TcpListener::bind(address).is_ok() {
            return address.into();
        }
    }
    panic!("no loopback port of {PORTS:?} is free");
}

/// A loopback port on which nobody listens.
pub fn free_port() -> u16 {
    free_address().port()
}
