//! A terminal with a person at it: a program runs there, keys are typed, and the screen is what the person would see.

use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Pts, Pty, open};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::termios::{LocalModes, tcgetattr};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: u16 = 24;

/// The terminal and the program on it, which is killed when this is dropped.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    /// Kept open, so that its modes can be read when the program has ended.
    pts: Pts,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    /// Runs a command on a terminal of so many columns.
    pub(crate) fn run(mut command: Command, columns: u16) -> Self {
        let (pty, pts) = open().expect("a terminal");
        pty.resize(Size::new(ROWS, columns)).expect("its size");
        command.env("TERM", "xterm");
        let child = pty_process::blocking::Command::from(command)
            .spawn_borrowed(&pts)
            .expect("the program starts");
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(ROWS), size(columns), 0)));
        let shown = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || show(&shown.0, &shown.1));
        Self {
            pty,
            pts,
            screen,
            child,
        }
    }

    /// Types keys.
    pub(crate) fn type_keys(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("typed");
    }

    /// Makes the terminal narrower or wider.
    pub(crate) fn resize(&self, columns: u16) {
        let mut screen = self.screen.lock().expect("no panic");
        screen.screen_mut().set_size(size(ROWS), size(columns));
        let resized = self.pty.resize(Size::new(ROWS, columns));
        resized.expect("another size");
    }

    /// What the screen shows, without what is blank below.
    pub(crate) fn text(&self) -> String {
        let screen = self.screen.lock().expect("no panic");
        screen.screen().contents().trim_end().to_owned()
    }

    /// The rows of the screen down to the last that shows something; a line that was broken has several.
    pub(crate) fn rows(&self) -> Vec<String> {
        let screen = self.screen.lock().expect("no panic");
        let (_, columns) = screen.screen().size();
        let rows = screen.screen().rows(0, columns.get());
        let mut rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        while rows.pop_if(|row| row.is_empty()).is_some() {}
        rows
    }

    /// Waits until the screen shows something.
    #[track_caller]
    pub(crate) fn until_shown(&self, text: &str) {
        self.until(text, || self.text().contains(text));
    }

    /// Waits for something to become true.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            let text = self.text();
            assert!(
                began.elapsed() < PATIENCE,
                "never: {what}; there is\n{text}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn has_echo(&self) -> bool {
        self.modes().contains(LocalModes::ECHO)
    }

    /// Whether the terminal is as a shell's child finds it.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.modes()
            .contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN)
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.pts).expect("modes").local_modes
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
    }

    /// Waits until the program is stopped.
    #[track_caller]
    pub(crate) fn until_stopped(&self) {
        let pid = Some(Pid::from_child(&self.child));
        self.until("it is stopped", || {
            let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
            let state = waitpid(pid, options).expect("a child");
            state.is_some_and(|(_, status)| status.stopped())
        });
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "hangs at\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The exit code at the end; as shells have it, where a signal ended the program.
    #[track_caller]
    pub(crate) fn code(&mut self) -> i32 {
        let status = self.finish();
        let by_signal = || 128 + status.signal().expect("ended somehow");
        status.code().unwrap_or_else(by_signal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(n: u16) -> NonZero<u16> {
    NonZero::new(n).expect("not zero")
}

/// Takes what the program prints, and tells it where the cursor is when it asks.
fn show(mut pty: &Pty, screen: &Mutex<vt100::Parser>) {
    let mut bytes = [0; 4096];
    while let Ok(n) = pty.read(&mut bytes) {
        let bytes = &bytes[..n];
        let Ok(mut parser) = screen.lock() else {
            return;
        };
        parser.process(bytes);
        let (row, column) = parser.screen().cursor_position();
        drop(parser);
        if bytes.windows(4).any(|part| part == b"\x1b[6n") {
            let _ = write!(pty, "\x1b[{};{}R", row + 1, column + 1);
        }
    }
}
