//! The keyboard while an answer is written: what is typed does not show up in it, and waits for whoever reads next, the
//! chat's next prompt or the shell. Ctrl-C and Ctrl-Z work as ever.
//!
//! [`watch`] notes once how the terminal was; [`hush`] is in force while its value lives. However the program ends or is
//! stopped, short of SIGKILL, the terminal is again as it was: by the end of that value, and by the task that waits for
//! the signals. Where there is no Unix terminal, all of this does nothing.

use crate::ui::Ui;

/// Who reads what is typed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The prompt of a chat, which takes keys one by one.
    Chat,
    /// The shell, after the end of this program.
    Shell,
}

#[cfg(unix)]
pub(crate) use self::unix::{hush, suspend, watch};

#[cfg(not(unix))]
pub(crate) use self::other::{hush, watch};

#[cfg(unix)]
mod unix {
    use std::io::stdin;
    use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr,
    };
    use tokio::signal::unix::{SignalKind, signal};

    use super::{Reader, Ui};

    /// The terminal as it was, and who reads next.
    static WATCHED: OnceLock<(Termios, Reader)> = OnceLock::new();
    /// How often the program was stopped and went on.
    static N_STOPS: Mutex<u64> = Mutex::new(0);
    static WENT_ON: Condvar = Condvar::new();

    /// The terminal shows keys again when this goes.
    #[must_use = "keys are hushed as long as this lives"]
    pub(crate) struct Hushed(Termios);

    /// Notes how the terminal is and restores that when a signal ends or stops the program. Where no person is at a
    /// terminal it does nothing. Needs a runtime; to be called once.
    pub(crate) fn watch(reader: Reader, ui: Ui) {
        if !ui.is_interactive() {
            return;
        }
        let Ok(terminal) = tcgetattr(stdin()) else {
            return;
        };
        if WATCHED.set((terminal, reader)).is_err() {
            return;
        }
        for ending in [Signal::TERM, Signal::HUP, Signal::QUIT] {
            let Ok(mut signals) = listen(ending) else {
                continue;
            };
            tokio::spawn(async move {
                if signals.recv().await.is_some() {
                    restore();
                    std::process::exit(128 + ending.as_raw());
                }
            });
        }
        if let Ok(stopped) = listen(Signal::TSTP) {
            tokio::spawn(stop_and_go_on(stopped));
        }
    }

    /// Keys are not shown from now on.
    pub(crate) fn hush() -> Option<Hushed> {
        let (_, reader) = WATCHED.get()?;
        let shown = tcgetattr(stdin()).ok().filter(|_| is_in_foreground())?;
        let mut hushed = shown.clone();
        hushed.local_modes.remove(LocalModes::ECHO);
        if *reader == Reader::Chat {
            // as its editor will read them: Enter is no newline, and Ctrl-D no end
            hushed.local_modes.remove(LocalModes::ICANON);
            hushed.input_modes.remove(InputModes::ICRNL);
        }
        set(&hushed);
        Some(Hushed(shown))
    }

    /// Stops this program and those that it stands in a pipe with, as Ctrl-Z does where it is a signal; returns when it
    /// goes on.
    pub(crate) fn suspend() {
        if WATCHED.get().is_none() {
            return;
        }
        let mut n_stops = N_STOPS.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *n_stops;
        if kill_process_group(getpgrp(), Signal::TSTP).is_err() {
            return;
        }
        while *n_stops == before {
            let waited = WENT_ON.wait(n_stops);
            n_stops = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    impl Drop for Hushed {
        fn drop(&mut self) {
            if is_in_foreground() {
                set(&self.0);
            }
        }
    }

    fn listen(number: Signal) -> std::io::Result<tokio::signal::unix::Signal> {
        signal(SignalKind::from_raw(number.as_raw()))
    }

    /// Each time, stops with the terminal as it was and goes on with it as it was when the signal came.
    async fn stop_and_go_on(mut stopped: tokio::signal::unix::Signal) {
        while stopped.recv().await.is_some() {
            let now = tcgetattr(stdin());
            restore();
            // whichever thread takes the signal to stop, this one goes on for a moment
            if let Ok(mut continued) = listen(Signal::CONT)
                && kill_process(getpid(), Signal::STOP).is_ok()
            {
                continued.recv().await;
            }
            if let Ok(now) = now
                && is_in_foreground()
            {
                set(&now);
            }
            *N_STOPS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            WENT_ON.notify_all();
        }
    }

    fn restore() {
        if let Some((terminal, _)) = WATCHED.get()
            && is_in_foreground()
        {
            set(terminal);
        }
    }

    /// Who is in the background would be stopped for changing the terminal.
    fn is_in_foreground() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
    }

    fn set(terminal: &Termios) {
        // what is typed already is kept; a terminal that is gone needs nothing
        let _ = tcsetattr(stdin(), OptionalActions::Now, terminal);
    }
}

#[cfg(not(unix))]
mod other {
    use super::{Reader, Ui};

    pub(crate) fn watch(_: Reader, _: Ui) {}

    pub(crate) fn hush() -> Option<()> {
        None
    }
}
