//! Text for the clipboard: through a program where there is one, and through the terminal itself (OSC 52), which also
//! works on another machine's screen.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::ui::Ui;

/// Terminals take no longer sequence.
const MAX_TERMINAL_BYTES: usize = 74_994;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Programs that take the clipboard's text on stdin: name, arguments, and a variable without which they have no screen.
const PROGRAMS: &[(&str, &[&str], Option<&str>)] = &[
    ("pbcopy", &[], None),
    ("wl-copy", &[], Some("WAYLAND_DISPLAY")),
    ("xclip", &["-selection", "clipboard"], Some("DISPLAY")),
    ("xsel", &["--clipboard", "--input"], Some("DISPLAY")),
    ("clip.exe", &[], None),
];

/// Copies text and says how that went.
///
/// # Errors
/// When the terminal cannot be written.
pub(crate) fn copy(text: &str, ui: Ui) -> anyhow::Result<String> {
    let n = text.chars().count();
    let by_program = programs().find(|(program, arguments)| feed(program, arguments, text));
    let fits = text.len() <= MAX_TERMINAL_BYTES;
    if fits {
        ui.data(&osc52(text))?;
    }
    Ok(match by_program {
        Some((program, _)) => {
            let name = program.file_stem().unwrap_or_default();
            format!("Copied {n} characters with {}", name.display())
        }
        None if fits => format!("Copied {n} characters through the terminal, if it allows that"),
        None => "Too long to be copied through the terminal; install wl-copy or xclip".to_owned(),
    })
}

fn osc52(text: &str) -> String {
    format!("\u{1b}]52;c;{}\u{7}", BASE64_STANDARD.encode(text))
}

/// The programs that are there.
fn programs() -> impl Iterator<Item = (PathBuf, &'static [&'static str])> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|f| f.is_absolute())
        .collect();
    let usable = PROGRAMS.iter().filter(|(_, _, screen)| {
        screen.is_none_or(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    });
    usable.filter_map(move |(name, arguments, _)| {
        let mut programs = folders.iter().map(|folder| folder.join(name));
        Some((programs.find(|program| program.is_file())?, *arguments))
    })
}

/// Whether the program took the text.
fn feed(program: &PathBuf, arguments: &[&str], text: &str) -> bool {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let stdin = child.stdin.take();
    let text = text.to_owned();
    // A program that reads nothing must not hold this one up.
    let writing = std::thread::spawn(move || {
        stdin.is_some_and(|mut stdin| stdin.write_all(text.as_bytes()).is_ok())
    });
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return status.success() && writing.join().unwrap_or(false),
            Ok(None) => std::thread::sleep(POLL_INTERVAL),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_carries_base64() {
        assert_eq!(osc52("häuser\n"), "\u{1b}]52;c;aMOkdXNlcgo=\u{7}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_takes_the_text_or_does_not() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let copy = folder.path().join("copy");
        let shell = PathBuf::from("/bin/sh");
        let script = format!("cat > '{}'", copy.display());
        assert!(feed(&shell, &["-c", &script], "text"));
        assert_eq!(std::fs::read_to_string(&copy).expect("written"), "text");
        assert!(!feed(&shell, &["-c", "exit 1"], "text"));
        assert!(!feed(&folder.path().join("none"), &[], "text"));
    }
}
