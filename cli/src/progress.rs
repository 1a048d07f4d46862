//! Progress of pulls, creates and uploads on stderr: bars on a terminal, plain lines elsewhere.
//!
//! The daemon's lines are grouped by digest; a line without one is a step of its own. What was there before this run
//! started (a resumed blob) counts as progress but not as speed.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use slm_api::ClientError;
use slm_api::bar::{Line, Parts};
use slm_api::client::Chunks;
use slm_api::ollama::Progress;
use unicode_width::UnicodeWidthStr;

use crate::text::cut::{cut, cut_middle};
use crate::text::size;
use crate::ui::Ui;

const TICK: Duration = Duration::from_millis(100);
/// Plain lines tell of every so many percent.
const PLAIN_STEP: u64 = 25;
/// How wide what stands behind a bar is, each with the blank before it.
const PARTS: Parts = Parts {
    sizes: 16,
    rate: 11,
    left: 6,
};
/// Of a line that is done.
const DONE_PARTS: Parts = Parts {
    sizes: 8,
    rate: 0,
    left: 0,
};
/// What a spinner takes, and the last column.
const SPINNER_COLUMNS: usize = 3;
/// More blobs than this in one stream get no bar of their own.
const MAX_BARS: usize = 256;

/// Shows a stream of progress to its end.
///
/// # Errors
/// What the stream says.
pub(crate) async fn follow(lines: Chunks<Progress>, ui: Ui) -> Result<(), ClientError> {
    follow_sized(lines, ui, |_, _| {}).await
}

/// The same; when the stream says it, `on_size` is told the bytes in all and how many of them are here.
///
/// # Errors
/// What the stream says.
pub(crate) async fn follow_sized(
    mut lines: Chunks<Progress>,
    ui: Ui,
    mut on_size: impl FnMut(u64, u64),
) -> Result<(), ClientError> {
    let mut view = View::new(ui);
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                if let (None, Some(total)) = (&line.digest, line.total) {
                    view.aside(|| on_size(total, line.completed.unwrap_or(0)));
                }
                view.show(&line, ui);
            }
            Err(error) => {
                view.abandon();
                return Err(error);
            }
        }
    }
    view.finish();
    Ok(())
}

/// Waits for the end of a stream of progress without showing it.
///
/// # Errors
/// What the stream says.
pub(crate) async fn drain(mut lines: Chunks<Progress>) -> Result<(), ClientError> {
    while let Some(line) = lines.next().await {
        line?;
    }
    Ok(())
}

/// The bar of one file that is read or sent.
pub(crate) struct FileBar(ProgressBar);

impl FileBar {
    /// A bar for `n_bytes`, labelled with what is done.
    pub(crate) fn new(label: String, n_bytes: u64, ui: Ui) -> Self {
        if !ui.stderr_is_terminal() {
            ui.note(&label);
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(n_bytes);
        // of a path, both ends say what it is
        lay_out(&bar, &label, bar_line, cut_middle);
        Self(bar)
    }

    /// So much is done.
    pub(crate) fn set(&self, n_bytes: u64) {
        self.0.set_position(n_bytes);
    }

    /// All is done: the bar goes.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }

    /// A second handle of the same bar.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A spinner on stderr while something is awaited; nothing without a terminal.
pub(crate) fn spinner(label: &str, ui: Ui) -> ProgressBar {
    if !ui.stderr_is_terminal() || !ui.stdout_is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner()
        .with_style(spinner_style())
        .with_message(spinner_message(label));
    spinner.enable_steady_tick(TICK);
    spinner
}

enum View {
    Bars(Bars),
    Plain(Plain),
}

impl View {
    fn new(ui: Ui) -> Self {
        if ui.stderr_is_terminal() {
            Self::Bars(Bars::default())
        } else {
            Self::Plain(Plain::default())
        }
    }

    fn show(&mut self, line: &Progress, ui: Ui) {
        match self {
            Self::Bars(bars) => bars.show(line),
            Self::Plain(plain) => {
                if let Some(text) = plain.line(line) {
                    ui.note(&text);
                }
            }
        }
    }

    /// Has something said that is no progress.
    fn aside(&self, say: impl FnOnce()) {
        match self {
            Self::Bars(bars) => bars.all.suspend(say),
            Self::Plain(_) => say(),
        }
    }

    fn finish(self) {
        if let Self::Bars(bars) = self {
            bars.end_step();
        }
    }

    /// Leaves the bars where they stand.
    fn abandon(self) {
        if let Self::Bars(bars) = self {
            let step = bars.step.iter().map(|(_, bar)| bar);
            for bar in bars.blobs.values().chain(step) {
                bar.abandon();
            }
        }
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    blobs: HashMap<String, ProgressBar>,
    /// What is said of each, whole.
    labels: HashMap<String, String>,
    /// The step under way and its spinner.
    step: Option<(String, ProgressBar)>,
}

impl Bars {
    fn show(&mut self, line: &Progress) {
        match (&line.digest, line.total) {
            (Some(digest), Some(total)) if total > 0 => {
                self.show_blob(digest, total, line.completed.unwrap_or(0), &line.status);
            }
            _ => self.show_step(&line.status),
        }
    }

    fn show_blob(&mut self, digest: &str, total: u64, completed: u64, status: &str) {
        self.end_step();
        if !self.blobs.contains_key(digest) {
            if self.blobs.len() >= MAX_BARS {
                return;
            }
            let message = match resumed_at(status, completed, total) {
                Some(size) => format!("{status} (resumed at {size})"),
                None => status.to_owned(),
            };
            let bar = ProgressBar::hidden();
            lay_out(&bar, &message, bar_line, cut);
            bar.set_length(total);
            bar.set_position(completed);
            // The meter of speed takes note of where the bar begins, and only then starts to measure.
            bar.tick();
            bar.reset_eta();
            let bar = self.all.add(bar);
            self.blobs.insert(digest.to_owned(), bar);
            self.labels.insert(digest.to_owned(), message);
        }
        let bar = &self.blobs[digest];
        bar.set_position(completed.min(total));
        if completed >= total && !bar.is_finished() {
            let label = self.labels[digest].as_str();
            lay_out(bar, label, done_line, cut);
            bar.finish();
        }
    }

    fn show_step(&mut self, status: &str) {
        if self.step.as_ref().is_some_and(|(step, _)| step == status) {
            return;
        }
        self.end_step();
        let spinner = ProgressBar::new_spinner()
            .with_style(spinner_style())
            .with_message(spinner_message(status));
        let spinner = self.all.add(spinner);
        if status == "success" {
            spinner.finish();
        } else {
            spinner.enable_steady_tick(TICK);
        }
        self.step = Some((status.to_owned(), spinner));
    }

    /// The step before has ended: its line stays, its spinner stops.
    fn end_step(&self) {
        if let Some((_, spinner)) = &self.step {
            spinner.finish();
        }
    }
}

/// Progress as lines for a log: each step once, each blob every [`PLAIN_STEP`] percent.
#[derive(Default)]
struct Plain {
    last_step: String,
    /// Percent last told, by digest.
    told: HashMap<String, u64>,
}

impl Plain {
    fn line(&mut self, line: &Progress) -> Option<String> {
        let (Some(digest), Some(total)) = (&line.digest, line.total.filter(|total| *total > 0))
        else {
            if self.last_step == line.status {
                return None;
            }
            self.last_step.clone_from(&line.status);
            return Some(line.status.clone());
        };
        let completed = line.completed.unwrap_or(0).min(total);
        let percent = u64::try_from(u128::from(completed) * 100 / u128::from(total)).unwrap_or(100);
        let (done, whole) = (size::bytes(completed), size::bytes(total));
        let Some(told) = self.told.get_mut(digest) else {
            if self.told.len() >= MAX_BARS {
                return None;
            }
            self.told.insert(digest.clone(), percent);
            return Some(match resumed_at(&line.status, completed, total) {
                Some(done) => format!("{}: resumed at {done} of {whole}", line.status),
                None if completed == total => format!("{}: {whole}", line.status),
                None if line.status.starts_with("pushing") => {
                    format!("{}: {whole} to send", line.status)
                }
                None => format!("{}: {whole} to fetch", line.status),
            });
        };
        if percent / PLAIN_STEP <= *told / PLAIN_STEP {
            return None;
        }
        *told = percent;
        Some(format!("{}: {percent}% ({done} of {whole})", line.status))
    }
}

/// Where a transfer goes on that an earlier one has begun. Other work, such as hashing, always begins anew.
fn resumed_at(status: &str, completed: u64, total: u64) -> Option<String> {
    let is_transfer = status.starts_with("pulling ") || status.starts_with("pushing ");
    (is_transfer && completed > 0 && completed < total).then(|| size::bytes(completed))
}

fn columns() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

/// A bar's style and label, cut to what the terminal has room for.
fn lay_out(
    bar: &ProgressBar,
    label: &str,
    line: fn(usize, usize) -> (Line, String),
    cut: fn(&str, usize) -> String,
) {
    let (line, template) = line(columns(), label.width());
    bar.set_style(with_sizes(&template).progress_chars("█▉▊▋▌▍▎▏ "));
    bar.set_message(cut(label, line.label));
}

/// What a line has room for while it goes on.
fn bar_line(columns: usize, label: usize) -> (Line, String) {
    let line = Line::fitting(columns, label, PARTS);
    let template = line.template("{done:>7}/{whole:<7}", "{rate:>10}", "{left:>5}");
    (line, template)
}

/// The same when it is done.
fn done_line(columns: usize, label: usize) -> (Line, String) {
    let line = Line::done(columns, label, DONE_PARTS, PARTS);
    (line, line.template("{whole:>7}", "", ""))
}

/// What stands before a spinner, cut to what the terminal has room for.
pub(crate) fn spinner_message(label: &str) -> String {
    cut_middle(label, columns().saturating_sub(SPINNER_COLUMNS))
}

fn spinner_style() -> ProgressStyle {
    style("{msg} {spinner}").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

fn with_sizes(template: &str) -> ProgressStyle {
    style(template)
        .with_key("done", |state: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&size::bytes(state.pos()));
        })
        .with_key("whole", |state: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&size::bytes(state.len().unwrap_or(0)));
        })
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // Before the first measurement there is nothing to tell.
            if state.per_sec() >= 1.0 {
                let _ = write!(out, "{}/s", size::bytes(state.per_sec() as u64));
            }
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn Write| {
            if state.per_sec() >= 1.0 {
                let _ = out.write_str(&remaining(state.eta().as_secs()));
            }
        })
}

/// Seconds to go as `22s`, `3m05s`, `2h10m`.
fn remaining(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) if h < 100 => format!("{h}h{m:02}m"),
        _ => "99h+".to_owned(),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are of few forms, and drawn by a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(completed: Option<u64>) -> Progress {
        Progress {
            status: "pulling 0123456789ab".into(),
            digest: Some("sha256:0123456789ab".into()),
            total: Some(2_000_000_000),
            completed,
        }
    }

    fn step(status: &str) -> Progress {
        Progress {
            status: status.into(),
            ..Progress::default()
        }
    }

    #[test]
    fn the_templates_are_sound() {
        for columns in 0..200 {
            for line in [bar_line, done_line] {
                let style = with_sizes(&line(columns, 20).1);
                ProgressBar::hidden().with_style(style).tick();
            }
        }
        ProgressBar::hidden().with_style(spinner_style()).tick();
    }

    #[test]
    fn plain_lines_tell_each_step_once_and_blobs_in_quarters() {
        let mut plain = Plain::default();
        let mut lines = vec![
            step("pulling manifest"),
            step("pulling manifest"),
            blob(None),
        ];
        lines.extend((1..=200).map(|i| blob(Some(i * 10_000_000))));
        lines.extend([
            blob(Some(2_000_000_000)),
            step("writing manifest"),
            step("success"),
        ]);
        let told: Vec<String> = lines.iter().filter_map(|line| plain.line(line)).collect();
        assert_eq!(
            told,
            [
                "pulling manifest",
                "pulling 0123456789ab: 2 GB to fetch",
                "pulling 0123456789ab: 25% (500 MB of 2 GB)",
                "pulling 0123456789ab: 50% (1 GB of 2 GB)",
                "pulling 0123456789ab: 75% (1.5 GB of 2 GB)",
                "pulling 0123456789ab: 100% (2 GB of 2 GB)",
                "writing manifest",
                "success",
            ]
        );
    }

    #[test]
    fn a_resumed_blob_and_one_that_was_there_say_so() {
        let resumed = Plain::default().line(&blob(Some(1_200_000_000)));
        assert_eq!(
            resumed.as_deref(),
            Some("pulling 0123456789ab: resumed at 1.2 GB of 2 GB")
        );
        let cached = Plain::default().line(&blob(Some(2_000_000_000)));
        assert_eq!(cached.as_deref(), Some("pulling 0123456789ab: 2 GB"));
    }

    #[test]
    fn a_total_of_zero_is_a_step() {
        let empty = Progress {
            total: Some(0),
            ..blob(None)
        };
        assert_eq!(
            Plain::default().line(&empty).as_deref(),
            Some("pulling 0123456789ab")
        );
    }

    #[test]
    fn bars_follow_any_order_of_lines() {
        let mut bars = Bars {
            all: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()),
            ..Bars::default()
        };
        for line in [
            step("pulling manifest"),
            blob(Some(5)),
            blob(Some(9_000_000_000)),
            blob(Some(1)),
            step("success"),
        ] {
            bars.show(&line);
        }
        let bar = &bars.blobs["sha256:0123456789ab"];
        assert!(bar.is_finished());
        assert!(bar.message().contains("resumed at 5 B"));
    }

    #[test]
    fn what_was_there_before_is_no_speed() {
        let mut bars = Bars {
            all: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()),
            ..Bars::default()
        };
        bars.show(&blob(Some(1_200_000_000)));
        bars.show(&blob(Some(1_200_000_000)));
        let bar = &bars.blobs["sha256:0123456789ab"];
        assert_eq!(bar.position(), 1_200_000_000);
        assert_eq!(bar.per_sec(), 0.0);
    }

    #[test]
    fn remaining_time_is_short() {
        for (seconds, expected) in [
            (22, "22s"),
            (185, "3m05s"),
            (7_800, "2h10m"),
            (u64::MAX, "99h+"),
        ] {
            assert_eq!(remaining(seconds), expected);
        }
    }
}
