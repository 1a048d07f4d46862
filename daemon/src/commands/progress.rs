//! Progress on stderr: a bar per blob on a terminal, plain lines elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use slm_api::{
    bar::{Line, Parts},
    ollama::Progress,
};
use std::{collections::HashMap, io::IsTerminal, time::Duration};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);
/// Plain lines tell of every so many percent.
const PLAIN_STEP: u64 = 25;
/// More blobs than this in one stream are not shown one by one.
const MAX_BLOBS: usize = 256;

/// How wide what stands behind a bar is, each with the blank before it.
const PARTS: Parts = Parts {
    sizes: 22,
    rate: 13,
    left: 6,
};
/// Of a line that is done.
const DONE_PARTS: Parts = Parts {
    sizes: 11,
    rate: 0,
    left: 0,
};
/// What a spinner takes, and the last column.
const SPINNER_COLUMNS: usize = 3;

/// Shows lines of progress as they come.
pub(super) enum View {
    Bars(Bars),
    Plain(Plain),
}

impl View {
    /// Bars on a terminal, else lines.
    pub(super) fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars(Bars::default())
        } else {
            Self::Plain(Plain::default())
        }
    }

    /// Shows one line.
    #[expect(clippy::print_stderr, reason = "progress is what a person watches")]
    pub(super) fn show(&mut self, line: &Progress) {
        match self {
            Self::Bars(bars) => bars.show(line),
            Self::Plain(plain) => {
                if let Some(text) = plain.line(line) {
                    eprintln!("{text}");
                }
            }
        }
    }

    /// All is done.
    pub(super) fn finish(self) {
        if let Self::Bars(bars) = self {
            bars.end_step();
        }
    }
}

/// One bar per blob, one spinner for the step under way.
#[derive(Default)]
pub(super) struct Bars {
    all: MultiProgress,
    blobs: HashMap<String, ProgressBar>,
    step: Option<(String, ProgressBar)>,
}

impl Bars {
    fn show(&mut self, line: &Progress) {
        match (&line.digest, line.total) {
            (Some(digest), Some(total)) if total > 0 => {
                self.end_step();
                self.show_blob(digest, total, line);
            }
            _ => self.show_step(&line.status),
        }
    }

    fn show_blob(&mut self, digest: &str, total: u64, line: &Progress) {
        let completed = line.completed.unwrap_or(0).min(total);
        if !self.blobs.contains_key(digest) {
            if self.blobs.len() >= MAX_BLOBS {
                return;
            }
            let bar = self.all.add(ProgressBar::new(total));
            let (room, template) = bar_line(columns(), line.status.width());
            bar.set_style(style(&template));
            bar.set_message(cut(&line.status, room.label));
            // what an earlier attempt brought is no speed of this one
            bar.set_position(completed);
            bar.reset_eta();
            self.blobs.insert(digest.to_owned(), bar);
        }
        let bar = &self.blobs[digest];
        bar.set_position(completed);
        if completed == total && !bar.is_finished() {
            let (room, template) = done_line(columns(), line.status.width());
            bar.set_style(style(&template));
            bar.set_message(cut(&line.status, room.label));
            bar.finish();
        }
    }

    fn show_step(&mut self, status: &str) {
        if self.step.as_ref().is_some_and(|(step, _)| step == status) {
            return;
        }
        self.end_step();
        let spinner = self.all.add(ProgressBar::new_spinner());
        spinner.set_style(style("{msg} {spinner}"));
        let room = columns().saturating_sub(SPINNER_COLUMNS);
        spinner.set_message(cut(status, room));
        spinner.enable_steady_tick(TICK);
        self.step = Some((status.to_owned(), spinner));
    }

    /// The line of the step before stays, without its spinner.
    fn end_step(&self) {
        if let Some((_, spinner)) = &self.step {
            spinner.set_style(style("{msg}"));
            spinner.finish();
        }
    }
}

/// Lines for a log: each step once, each blob in quarters.
#[derive(Debug, Default)]
pub(super) struct Plain {
    last_step: String,
    /// Percent last told, by digest.
    told: HashMap<String, u64>,
}

impl Plain {
    fn line(&mut self, line: &Progress) -> Option<String> {
        let total = line.total.filter(|total| *total > 0);
        let (Some(digest), Some(total)) = (&line.digest, total) else {
            let is_new = self.last_step != line.status;
            self.last_step.clone_from(&line.status);
            return is_new.then(|| line.status.clone());
        };
        let completed = line.completed.unwrap_or(0).min(total);
        let percent = (u128::from(completed) * 100 / u128::from(total)) as u64;
        let told = self.told.get(digest).copied();
        let is_step = told.is_none_or(|told| percent / PLAIN_STEP > told / PLAIN_STEP);
        if !is_step || (told.is_none() && self.told.len() >= MAX_BLOBS) {
            return None;
        }
        self.told.insert(digest.clone(), percent);
        Some(format!("{}: {percent}% of {total} bytes", line.status))
    }
}

fn columns() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

/// What a line has room for while it goes on.
fn bar_line(columns: usize, label: usize) -> (Line, String) {
    let line = Line::fitting(columns, label, PARTS);
    let sizes = "{decimal_bytes:>10}/{decimal_total_bytes:<10}";
    let template = line.template(sizes, "{decimal_bytes_per_sec:>12}", "{eta:>5}");
    (line, template)
}

/// The same when it is done.
fn done_line(columns: usize, label: usize) -> (Line, String) {
    let line = Line::done(columns, label, DONE_PARTS, PARTS);
    (line, line.template("{decimal_total_bytes:>10}", "", ""))
}

/// The text, or its beginning and `…` where it has more than `columns`.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut taken = 0;
    let start = text.chars().take_while(|c| {
        taken += c.width().unwrap_or(0);
        taken < columns
    });
    start.chain(['…']).collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are of few forms, and drawn by a test")
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(completed: u64) -> Progress {
        Progress {
            status: "pulling 0123456789ab".into(),
            digest: Some("sha256:01".into()),
            total: Some(200),
            completed: Some(completed),
        }
    }

    fn step(status: &str) -> Progress {
        Progress {
            status: status.into(),
            ..Progress::default()
        }
    }

    #[test]
    fn plain_lines_tell_each_step_once_and_blobs_in_quarters() {
        let mut plain = Plain::default();
        let all = [
            step("pulling manifest"),
            step("pulling manifest"),
            blob(0),
            blob(10),
            blob(120),
            blob(130),
            blob(200),
            blob(200),
            step("success"),
        ];
        let told: Vec<String> = all.iter().filter_map(|line| plain.line(line)).collect();
        assert_eq!(
            told,
            [
                "pulling manifest",
                "pulling 0123456789ab: 0% of 200 bytes",
                "pulling 0123456789ab: 60% of 200 bytes",
                "pulling 0123456789ab: 100% of 200 bytes",
                "success"
            ]
        );
    }

    #[test]
    fn lines_fit_the_terminal_and_their_templates_are_sound() {
        for columns in 0..200 {
            for line in [bar_line, done_line] {
                let style = style(&line(columns, 20).1);
                ProgressBar::hidden().with_style(style).tick();
            }
        }
        assert_eq!(
            bar_line(40, 20).1,
            "{msg}: {percent:>3}% ▕{bar:4}▏ {eta:>5}"
        );
        assert_eq!(
            (cut("abcd", 4), cut("abcd", 3), cut("你好", 3)),
            ("abcd".to_owned(), "ab…".to_owned(), "你…".to_owned())
        );
    }

    #[test]
    fn bars_take_every_line() {
        let mut bars = Bars::default();
        bars.all
            .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        for line in [
            step("pulling manifest"),
            blob(10),
            blob(200),
            step("success"),
        ] {
            bars.show(&line);
        }
        bars.end_step();
        assert!(bars.blobs["sha256:01"].is_finished());
    }
}
