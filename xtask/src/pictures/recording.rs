//! What a terminal shows while commands are typed at a shell, as screens with their times.

use anyhow::{Context, Result, bail};
use pty_process::{
    Size,
    blocking::{Command as OnTerminal, Pty, open},
};
use std::{
    io::{Read, Write},
    num::NonZero,
    process::{Child, Command},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines and columns.
pub(super) const ROWS: u16 = 24;
pub(super) const COLUMNS: u16 = 80;
/// Between two keys, and before the first key of a line.
const KEY: Duration = Duration::from_millis(45);
const THINK: Duration = Duration::from_millis(900);
/// Screens that differ and are closer together count as one.
const FRAME: Duration = Duration::from_millis(80);
/// When nothing changes for longer, the time is shortened to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line that is typed, and what the last line on the screen is when it is done.
pub(super) struct Step {
    pub(super) line: &'static str,
    pub(super) until: &'static str,
}

/// A screen and since when it is there.
pub(super) struct Frame {
    pub(super) at: Duration,
    pub(super) screen: vt100::Screen,
}

/// Runs a shell, types the lines, and returns the screens.
pub(super) fn record(shell: Command, prompt: &str, steps: &[Step]) -> Result<Vec<Frame>> {
    let mut recorder = Recorder::start(shell)?;
    recorder.until(prompt)?;
    for step in steps {
        recorder.watch(THINK)?;
        for key in step.line.chars() {
            recorder.key(key)?;
            recorder.watch(KEY)?;
        }
        recorder.watch(KEY * 6)?;
        recorder.key('\r')?;
        recorder.until(step.until)?;
    }
    recorder.watch(THINK)?;
    Ok(paced(std::mem::take(&mut recorder.frames)))
}

struct Recorder {
    pty: Arc<Pty>,
    child: Child,
    printed: Receiver<Vec<u8>>,
    terminal: vt100::Parser,
    began: Instant,
    frames: Vec<Frame>,
}

impl Recorder {
    fn start(shell: Command) -> Result<Self> {
        let (pty, terminal) = open().context("cannot open a terminal")?;
        pty.resize(Size::new(ROWS, COLUMNS))
            .context("cannot set the size of the terminal")?;
        let child = OnTerminal::from(shell)
            .spawn(terminal)
            .context("cannot start a shell")?;
        let pty = Arc::new(pty);
        let (sender, printed) = mpsc::channel();
        let from = Arc::clone(&pty);
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(n) = (&*from).read(&mut bytes) {
                if n == 0 || sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let size = |n| NonZero::new(n).context("a terminal has lines and columns");
        Ok(Self {
            pty,
            child,
            printed,
            terminal: vt100::Parser::new(size(ROWS)?, size(COLUMNS)?, 0),
            began: Instant::now(),
            frames: Vec::new(),
        })
    }

    fn key(&mut self, key: char) -> Result<()> {
        let mut bytes = [0; 4];
        let bytes = key.encode_utf8(&mut bytes).as_bytes();
        (&*self.pty).write_all(bytes).context("cannot type")
    }

    /// Takes what is printed for so long.
    fn watch(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.printed.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the shell has ended"),
            }
        }
    }

    /// Takes what is printed until the line with the cursor is `prompt`.
    fn until(&mut self, prompt: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            self.watch(FRAME)?;
            let screen = self.terminal.screen();
            let (row, column) = screen.cursor_position();
            let line = screen.contents_between(row, 0, row, column);
            if line == prompt {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("the command does not end: {}", screen.contents());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.terminal.process(bytes);
        let at = self.began.elapsed();
        let screen = self.terminal.screen().clone();
        match self.frames.last_mut() {
            Some(last) if at < last.at + FRAME => last.screen = screen,
            _ => self.frames.push(Frame { at, screen }),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same, beginning at zero and without long pauses.
fn paced(mut frames: Vec<Frame>) -> Vec<Frame> {
    let mut before = Duration::ZERO;
    let mut now = Duration::ZERO;
    for (index, frame) in frames.iter_mut().enumerate() {
        if index > 0 {
            now += (frame.at - before).min(LONGEST_PAUSE);
        }
        before = frame.at;
        frame.at = now;
    }
    frames
}
