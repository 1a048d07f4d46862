//! `crane` of go-containerregistry: a second registry and a second client, where they could be built.

use crate::fixtures;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The program, if it was built; says so when it was not.
#[expect(
    clippy::print_stdout,
    reason = "the test runner shows what was passed over"
)]
pub fn crane() -> Option<PathBuf> {
    let program = fixtures::optional("crane/crane");
    if program.is_none() {
        println!(
            "passed over: there is no `crane`, which `cargo xtask test` builds where there is Go"
        );
    }
    program
}

/// Runs `crane` with `arguments`; what it printed.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn run_crane(program: &Path, arguments: &[&str]) -> String {
    let out = Command::new(program)
        .args(arguments)
        .output()
        .expect("crane can be started");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "crane {arguments:?}: {stderr}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A running registry that keeps everything in memory. Killed when dropped.
#[derive(Debug)]
pub struct CraneRegistry {
    child: Child,
    address: SocketAddr,
}

impl CraneRegistry {
    /// Starts an empty registry, if there is the program.
    ///
    /// # Panics
    /// When it does not say where it listens.
    pub fn start() -> Option<Self> {
        let mut child = Command::new(crane()?)
            .args(["registry", "serve", "--address", "127.0.0.1:0"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("crane can be started");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut text = String::new();
        let port = loop {
            let mut line = String::new();
            let n_bytes = log.read_line(&mut line).expect("a log is text");
            assert!(n_bytes > 0, "crane did not start; its log:\n{text}");
            text.push_str(&line);
            if let Some((_, port)) = line.split_once("serving on port ") {
                break port.trim().parse().expect("a port is a number");
            }
        };
        // somebody has to read what it goes on to say
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self {
            child,
            address: ([127, 0, 0, 1], port).into(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for CraneRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
