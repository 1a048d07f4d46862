//! What the pictures are taken of: two daemons and a shell in an empty home.

use crate::{
    fixtures::models::{self, STARTER},
    pictures::MODEL,
    process,
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What the shell says when it waits.
pub(super) const PROMPT: &str = "$ ";
/// Bytes per second of the download, so that there is something to see.
const BANDWIDTH: &str = "30M";
/// How long a daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The home, with a daemon that has no model yet and one that plays the registry.
pub(super) struct World {
    programs: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    daemons: Vec<Child>,
}

impl World {
    /// Starts both.
    pub(super) fn new(workspace: &Workspace) -> Result<Self> {
        let fixtures = workspace.fixtures_dir();
        fs::create_dir_all(&fixtures)
            .with_context(|| format!("cannot create `{}`", fixtures.display()))?;
        let gguf = models::fetch(&STARTER, &fixtures)?;
        let folder = workspace.target_dir.join("pictures");
        let _ = fs::remove_dir_all(&folder); // what an earlier run has left
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let programs = workspace.target_dir.join("release");
        let mut world = Self {
            programs,
            folder,
            address: free_address()?,
            daemons: Vec::new(),
        };
        let shelf = free_address()?;
        world.fill_shelf(shelf, &gguf)?;
        let mut daemon = world.command("slmd");
        daemon
            .arg("serve")
            .env("SLM_MIRRORS", format!("registry.ollama.ai=http://{shelf}"))
            .env("SLM_MAX_BANDWIDTH", BANDWIDTH);
        world.start(daemon, world.address)?;
        Ok(world)
    }

    /// Where the daemon without a model listens.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// A shell in the home that shows nothing of this machine.
    pub(super) fn shell(&self) -> Command {
        let mut shell = self.command("bash");
        shell
            .args(["--noprofile", "--norc", "--noediting", "-i"])
            .env("PS1", PROMPT)
            .env("TERM", "xterm-256color")
            .env("BASH_SILENCE_DEPRECATION_WARNING", "1");
        shell
    }

    /// A daemon that shares the model at `address`.
    fn fill_shelf(&mut self, address: SocketAddr, gguf: &Path) -> Result<()> {
        let own = free_address()?;
        let modelfile = self.folder.join("Modelfile");
        let text = format!("FROM {}\nPARAMETER temperature 0\n", gguf.display());
        fs::write(&modelfile, text)
            .with_context(|| format!("cannot write `{}`", modelfile.display()))?;
        let of_shelf = |mut command: Command| {
            command
                .env("SLM_MODELS", self.folder.join("shelf"))
                .env("SLM_HOST", own.to_string());
            command
        };
        let mut daemon = of_shelf(self.command("slmd"));
        let share = address.to_string();
        daemon.args(["serve", "--share", "--share-listen", &share]);
        let mut create = of_shelf(self.command("slm"));
        create.args(["create", MODEL, "-f"]).arg(&modelfile);
        self.start(daemon, address)?;
        process::output(&mut create, "creating the model").map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let own = self.programs.join(program);
        let mut command = Command::new(if own.exists() { own } else { program.into() });
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.programs.clone()]
            .into_iter()
            .chain(env::split_paths(&path));
        command
            .env_clear()
            .env("PATH", env::join_paths(folders).unwrap_or(path))
            .env("HOME", &self.folder)
            .env("LANG", "C.UTF-8")
            .env("SLM_MODELS", self.folder.join("models"))
            .env("SLM_HOST", self.address.to_string())
            .env("SLM_NO_AUTOSTART", "1")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self, mut daemon: Command, address: SocketAddr) -> Result<()> {
        let child = daemon
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start slmd")?;
        self.daemons.push(child);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > PATIENCE {
                bail!("slmd did not listen within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.folder); // what stays is below `target`
    }
}

fn free_address() -> Result<SocketAddr> {
    let free = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    free.local_addr().context("a port has an address")
}
