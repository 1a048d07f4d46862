//! One run of a program: bounded in time, its output kept.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt::Debug,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long after a program's end its output may stay open: only a child that inherited it can hold it.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(10);

/// A program that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Finished {
    /// This, if it succeeded.
    ///
    /// # Panics
    /// With everything it printed, if not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "failed: {self:#?}");
        self
    }

    /// This, if it failed as a program should: a nonzero exit code, words on stderr, no panic, no signal.
    ///
    /// # Panics
    /// With everything it printed, if not.
    #[track_caller]
    pub fn refused(self) -> Self {
        let code = self.status.code();
        assert!(
            code.is_some_and(|code| code != 0 && code != 101),
            "expected an ordinary failure: {self:#?}"
        );
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        assert!(!self.stderr.trim().is_empty(), "failed silently: {self:#?}");
        self
    }

    /// Asserts that stderr has each of `words`, whatever the case of their letters.
    #[track_caller]
    pub fn complains(self, words: &[&str]) -> Self {
        let stderr = self.stderr.to_lowercase();
        for word in words {
            assert!(
                stderr.contains(&word.to_lowercase()),
                "no `{word}` on stderr: {self:#?}"
            );
        }
        self
    }
}

/// A program that may still run. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    /// Starts `command` and feeds it `input`.
    pub fn start(mut command: Command, input: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        thread::spawn(move || {
            let _ = stdin.write_all(&input); // a program need not read what it is given
        });
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When that takes minutes: the program hangs.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    /// Like [`Running::finish`], for what takes longer than others.
    ///
    /// # Panics
    /// When that takes longer than `patience`.
    #[track_caller]
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let mut timed_out = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                timed_out = true;
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        };
        let finished = Finished {
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        };
        assert!(!timed_out, "hangs: {finished:#?}");
        finished
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes); // nobody asks when the program was dropped
    });
    receiver
}

#[track_caller]
fn text(output: &Receiver<Vec<u8>>) -> String {
    let bytes = output
        .recv_timeout(OUTPUT_PATIENCE)
        .expect("a program that ended leaves its output to nobody else");
    String::from_utf8_lossy(&bytes).into_owned()
}
