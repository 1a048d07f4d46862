//! `cargo xtask figures`: sizes of the programs, and how quick and how small they are when they do nothing.
//!
//! Each time is the median of several runs in an empty home of its own. Other work on the machine makes them longer.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

const USAGE: &str =
    "usage: cargo xtask figures [--profile NAME]   (default: dist, as releases are built)";
/// Runs of which the median counts.
const N_RUNS: usize = 15;
/// How long a daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// Builds the programs, and prints their figures beside what they should be.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let profile = match arguments {
        [] => "dist",
        [flag, name] if flag == "--profile" => name,
        _ => bail!("{USAGE}"),
    };
    let workspace = Workspace::load()?;
    process::show(
        workspace.cargo().args([
            "build",
            "--profile",
            profile,
            "--package",
            "slm-daemon",
            "--package",
            "slm-cli",
        ]),
        "building slm",
    )?;
    let folder = workspace.target_dir.join(profile);
    let home = Home::new(&folder)?;
    println!("| figure | measured | goal |");
    println!("| --- | ---: | ---: |");
    for name in ["slmd", "slm"] {
        let bytes = fs::metadata(folder.join(name))
            .with_context(|| format!("cannot read the size of {name}"))?
            .len();
        println!("| size of `{name}` | {:.1} MB | |", bytes as f64 / 1e6);
    }
    let starts: Vec<Duration> = (0..N_RUNS)
        .map(|_| home.start().map(|daemon| daemon.took))
        .collect::<Result<_>>()?;
    println!("| start to listening | {} | < 50 ms |", median(starts));
    let daemon = home.start()?;
    thread::sleep(IDLE);
    match daemon.resident_bytes() {
        Some(bytes) => println!("| idle memory | {:.1} MB | < 30 MB |", bytes as f64 / 1e6),
        None => println!("| idle memory | not told by this system | < 30 MB |"),
    }
    let lists: Vec<Duration> = (0..N_RUNS)
        .map(|_| {
            let began = Instant::now();
            process::output(home.command("slm").arg("list"), "listing models")?;
            Ok(began.elapsed())
        })
        .collect::<Result<_>>()?;
    println!("| `slm list` | {} | < 20 ms |", median(lists));
    Ok(ExitCode::SUCCESS)
}

fn median(mut times: Vec<Duration>) -> String {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{:.1} ms", middle.as_secs_f64() * 1e3)
}

/// A user's world, empty and gone when dropped.
struct Home {
    programs: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
}

/// A daemon that listens; ended when dropped.
struct Daemon {
    child: Child,
    took: Duration,
}

impl Home {
    fn new(programs: &Path) -> Result<Self> {
        let folder = programs.join(format!("figures-{}", std::process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let free = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        Ok(Self {
            programs: programs.to_owned(),
            folder,
            address: free.local_addr().context("a port has an address")?,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("SLM_MODELS", self.folder.join("models"))
            .env("SLM_HOST", self.address.to_string())
            .stdin(Stdio::null());
        command
    }

    /// Starts a daemon, and waits until it takes connections.
    fn start(&self) -> Result<Daemon> {
        let began = Instant::now();
        let mut command = self.command("slmd");
        let child = command
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start slmd")?;
        let mut daemon = Daemon {
            child,
            took: Duration::ZERO,
        };
        while TcpStream::connect(self.address).is_err() {
            if began.elapsed() > PATIENCE || daemon.child.try_wait()?.is_some() {
                bail!("slmd did not listen within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_micros(200));
        }
        daemon.took = began.elapsed();
        Ok(daemon)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // what stays is below `target`
    }
}

impl Daemon {
    /// Bytes in memory that are its own or mapped; `None` where the system has no `/proc`.
    fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times = [9, 1, 5].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), "5.0 ms");
        assert_eq!(median(Vec::new()), "0.0 ms");
    }
}
