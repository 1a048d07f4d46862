//! A running `slmd`.

use crate::{home::Home, http::Http};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

const START_PATIENCE: Duration = Duration::from_secs(30);

/// A `slmd serve` that answers. Killed when dropped; its log is printed when the test fails.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    http: Http,
}

impl Daemon {
    /// Starts the daemon of `home` and waits until it answers.
    #[track_caller]
    pub fn start(home: &mut Home) -> Self {
        Self::start_as(home, |home| home.slmd_command(&["serve"]))
    }

    /// Like [`Daemon::start`], with `variables` in its environment.
    #[track_caller]
    pub fn start_with(home: &mut Home, variables: &[(&str, &str)]) -> Self {
        Self::start_as(home, |home| {
            let mut slmd = home.slmd_command(&["serve"]);
            slmd.envs(variables.iter().copied());
            slmd
        })
    }

    /// Like [`Daemon::start`], but no file may grow beyond some MB: every write of more fails, as on a full disk.
    #[track_caller]
    pub fn start_on_a_small_disk(home: &mut Home) -> Self {
        Self::start_as(home, |home| {
            let slmd = home.slmd_command(&["serve"]);
            let mut limited = home.command("sh");
            // the unit is 512 or 1024 bytes; without the trap the first such write would end the process
            limited.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""]);
            limited.arg(slmd.get_program()).args(slmd.get_args());
            limited
        })
    }

    /// Starts the daemon as `command` says.
    ///
    /// # Panics
    /// With its log, when the daemon ends or stays silent.
    #[track_caller]
    fn start_as(home: &mut Home, command: impl Fn(&Home) -> Command) -> Self {
        let mut last_log = String::new();
        for _ in 0..3 {
            let log = home.path().join("slmd.log");
            let file = File::create(&log).expect("a temporary home is writable");
            let child = command(home)
                .stdin(Stdio::null())
                .stdout(file.try_clone().expect("a file can be shared"))
                .stderr(file)
                .spawn()
                .expect("slmd can be started");
            let mut daemon = Self {
                child,
                log,
                http: Http::new(home.address()),
            };
            if daemon.answers(home.address()) {
                return daemon;
            }
            last_log = daemon.log();
            if !last_log.to_lowercase().contains("in use") {
                break;
            }
            home.move_address();
        }
        panic!("slmd did not start; its log:\n{last_log}");
    }

    /// Whether it listens on `address` and answers there: it alone, not a daemon that was there before.
    fn answers(&mut self, address: SocketAddr) -> bool {
        let listens = format!("listening on {address}");
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            if self.log().contains(&listens) && self.http.is_up() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// A client of this daemon.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end with `signal`, and waits.
    ///
    /// # Panics
    /// When it does not end within `bound`.
    #[track_caller]
    pub fn end(mut self, signal: Signal, bound: Duration) -> ExitStatus {
        self.signal(signal);
        self.ended(bound)
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `bound`.
    #[track_caller]
    pub fn ended(&mut self, bound: Duration) -> ExitStatus {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "slmd still runs after {bound:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Files and connections that it has open.
    pub fn n_open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(path).map_or(0, Iterator::count)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("VmRSS is in the status") * 1024
    }
}

impl Drop for Daemon {
    #[expect(
        clippy::print_stdout,
        reason = "the test runner shows it when the test failed"
    )]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- log of slmd ---\n{}", self.log());
        }
    }
}
