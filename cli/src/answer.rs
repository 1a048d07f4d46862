//! Shows one answer while it is written: thoughts in grey, Markdown rendered or words wrapped, counts and times at the
//! end.
//!
//! Ctrl-C stops the answer: the stream is dropped, which closes the connection, which stops the daemon's work.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use slm_api::client::{Chunk, Chunks};
use slm_api::ollama::{ChatResponse, GenerateResponse, Metrics};
use slm_api::status::StatusLoading;
use slm_api::{Client, ClientError};

use crate::keyboard;
use crate::markdown::Markdown;
use crate::progress;
use crate::text::duration::go_duration;
use crate::text::wrap::Wrap;
use crate::ui::{Ui, clean};

/// How often it is looked how far a model is loaded.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Break lines between words.
    pub wrap: bool,
    /// Render Markdown, which breaks lines between words too.
    pub markdown: bool,
    /// Keep thoughts to the model.
    pub hide_thinking: bool,
    /// Show of the thoughts only how long they are.
    pub fold_thinking: bool,
    /// Counts and times after the answer.
    pub verbose: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The model is done.
    Complete,
    /// The person stopped it.
    Interrupted,
}

/// What the printer needs of a chunk.
pub(crate) trait Piece: Chunk {
    /// Text of the answer.
    fn text(&self) -> &str;
    /// Text of the thoughts.
    fn thinking(&self) -> &str;
    /// Counts and times, in the last one.
    fn metrics(&self) -> &Metrics;
}

impl Piece for GenerateResponse {
    fn text(&self) -> &str {
        &self.response
    }
    fn thinking(&self) -> &str {
        self.thinking.as_deref().unwrap_or_default()
    }
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Piece for ChatResponse {
    fn text(&self) -> &str {
        &self.message.content
    }
    fn thinking(&self) -> &str {
        self.message.thinking.as_deref().unwrap_or_default()
    }
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Prints one answer and keeps its text.
pub(crate) struct Printer {
    style: Style,
    ui: Ui,
    body: Body,
    thoughts: Wrap,
    /// Since when the model thinks, while it does.
    thinks_since: Option<Instant>,
    /// The answer so far.
    pub text: String,
    /// The thoughts so far.
    pub thinking: String,
    /// Counts and times, once the answer is complete.
    pub metrics: Option<Metrics>,
}

/// How the text of an answer is laid out.
enum Body {
    Plain(Wrap),
    Markdown(Box<Markdown>),
}

impl Printer {
    /// A printer for one answer.
    pub(crate) fn new(style: Style, ui: Ui) -> Self {
        Self {
            style,
            ui,
            body: if style.markdown && ui.shows_form() {
                Body::Markdown(Box::new(Markdown::new(ui.width(), ui.height())))
            } else {
                Body::Plain(new_wrap(style, ui))
            },
            thoughts: new_wrap(style, ui),
            thinks_since: None,
            text: String::new(),
            thinking: String::new(),
            metrics: None,
        }
    }

    /// Prints a stream of chunks to its end.
    ///
    /// # Errors
    /// What the daemon says, or that stdout cannot be written.
    pub(crate) async fn follow<T: Piece>(
        &mut self,
        client: &Client,
        start: impl Future<Output = Result<Chunks<T>, ClientError>>,
    ) -> anyhow::Result<Ended> {
        let _hushed = keyboard::hush();
        let waiting = progress::spinner("", self.ui);
        let ended = tokio::select! {
            ended = self.follow_with(start, &waiting) => ended,
            never = tell_loading(client, &waiting) => match never {},
        };
        waiting.finish_and_clear();
        self.end()?;
        let ended = ended?;
        if self.style.verbose
            && let Some(metrics) = &self.metrics
        {
            self.ui.note(stats(metrics).trim_end());
        }
        Ok(ended)
    }

    async fn follow_with<T: Piece>(
        &mut self,
        start: impl Future<Output = Result<Chunks<T>, ClientError>>,
        waiting: &ProgressBar,
    ) -> anyhow::Result<Ended> {
        // One listener for the whole answer: a signal that comes while a chunk is printed is not lost.
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        let mut chunks = tokio::select! {
            chunks = start => chunks?,
            _ = &mut interrupt => return Ok(Ended::Interrupted),
        };
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                _ = &mut interrupt => return Ok(Ended::Interrupted),
            };
            let Some(chunk) = chunk.transpose()? else {
                return Ok(Ended::Complete);
            };
            if !chunk.thinking().is_empty() || !chunk.text().is_empty() {
                waiting.finish_and_clear();
            }
            self.show(&chunk)?;
            if chunk.is_last() {
                self.metrics = Some(chunk.metrics().clone());
            }
        }
    }

    fn show(&mut self, chunk: &impl Piece) -> anyhow::Result<()> {
        if !chunk.thinking().is_empty() {
            self.thinking.push_str(chunk.thinking());
            self.show_thinking(chunk.thinking())?;
        }
        if !chunk.text().is_empty() {
            self.end_thinking()?;
            self.show_text(chunk.text())?;
        }
        Ok(())
    }

    fn show_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.text.push_str(text);
        match &mut self.body {
            Body::Plain(wrap) => {
                let shown = wrap.push(text);
                self.ui.model_text(&shown)
            }
            Body::Markdown(markdown) => {
                let shown = markdown.push(text);
                self.ui.data(&shown)
            }
        }
    }

    fn show_thinking(&mut self, text: &str) -> anyhow::Result<()> {
        if self.style.hide_thinking {
            return Ok(());
        }
        let is_new = self.thinks_since.is_none();
        let since = *self.thinks_since.get_or_insert_with(Instant::now);
        if self.style.fold_thinking && self.ui.shows_form() {
            let size = thought_size(&self.thinking, since);
            return self.ui.status(&format!("Thinking... {size}"));
        }
        if is_new {
            self.ui.thought("Thinking...\n")?;
        }
        if self.style.fold_thinking {
            return Ok(());
        }
        let shown = self.thoughts.push(text);
        self.ui.thought(&shown)
    }

    fn end_thinking(&mut self) -> anyhow::Result<()> {
        let Some(since) = self.thinks_since.take() else {
            return Ok(());
        };
        if self.style.fold_thinking {
            let size = thought_size(&self.thinking, since);
            if self.ui.shows_form() {
                self.ui.status(&format!("Thought for {size}."))?;
                return self.ui.data("\n\n");
            }
            return self.ui.thought("...done thinking.\n\n");
        }
        let rest = self.thoughts.finish();
        self.thoughts = new_wrap(self.style, self.ui);
        let newline = if self.thinking.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.ui
            .thought(&format!("{rest}{newline}...done thinking.\n\n"))
    }

    /// Everything held back, and the end of the line.
    fn end(&mut self) -> anyhow::Result<()> {
        self.end_thinking()?;
        let mut rest = match &mut self.body {
            Body::Plain(wrap) => wrap.finish(),
            Body::Markdown(markdown) => return self.ui.data(&markdown.finish()),
        };
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            rest.push('\n');
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.ui.model_text(&rest)
    }
}

/// Says in the line that waits how far the loading of a model is, as long as that line is there.
async fn tell_loading(client: &Client, waiting: &ProgressBar) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if waiting.is_hidden() || waiting.is_finished() {
            std::future::pending::<()>().await;
        }
        // whoever cannot tell need not be asked again
        let Ok(status) = client.status().await else {
            return std::future::pending().await;
        };
        let text = status.loading.map(|now| loading(&now));
        waiting.set_message(progress::spinner_message(&text.unwrap_or_default()));
    }
}

fn loading(now: &StatusLoading) -> String {
    let model = clean(&now.model);
    match now.phase.as_str() {
        "room" => format!("waiting until other models make room for {model}"),
        _ if now.total > 0 => {
            let percent = u128::from(now.completed) * 100 / u128::from(now.total);
            format!("loading {model} {percent}%")
        }
        _ => format!("loading {model}"),
    }
}

/// Shows an answer that is there already.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn show(text: &str, style: Style, ui: Ui) -> anyhow::Result<()> {
    let mut printer = Printer::new(style, ui);
    printer.show_text(text)?;
    printer.end()
}

/// How long the thoughts are, in time and in words.
fn thought_size(thinking: &str, since: Instant) -> String {
    let n_words = thinking.split_whitespace().count();
    let seconds = since.elapsed().as_secs();
    let s = if n_words == 1 { "" } else { "s" };
    format!("{seconds} s, {n_words} word{s}")
}

fn new_wrap(style: Style, ui: Ui) -> Wrap {
    Wrap::new(style.wrap.then(|| ui.width()))
}

/// The block of counts and times; what is not known is left out.
pub(crate) fn stats(metrics: &Metrics) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<21} {value}", format!("{label}:"));
        }
    };
    let duration = |nanos: Option<u64>| nanos.filter(|n| *n > 0).map(go_duration);
    let tokens = |count: Option<u64>| count.filter(|n| *n > 0).map(|n| format!("{n} token(s)"));
    let rate = |count: Option<u64>, nanos: Option<u64>| {
        let (count, nanos) = (count?, nanos.filter(|n| *n > 0)?);
        Some(format!(
            "{:.2} tokens/s",
            count as f64 / (nanos as f64 / 1e9)
        ))
    };
    let m = metrics;
    line("total duration", duration(m.total_duration));
    line("load duration", duration(m.load_duration));
    line("prompt eval count", tokens(m.prompt_eval_count));
    line("prompt eval duration", duration(m.prompt_eval_duration));
    line(
        "prompt eval rate",
        rate(m.prompt_eval_count, m.prompt_eval_duration),
    );
    line("eval count", tokens(m.eval_count));
    line("eval duration", duration(m.eval_duration));
    line("eval rate", rate(m.eval_count, m.eval_duration));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stats_block() {
        let metrics = Metrics {
            total_duration: Some(1_234_500_000),
            load_duration: Some(12_300_000),
            prompt_eval_count: Some(26),
            prompt_eval_duration: Some(100_000_000),
            eval_count: Some(298),
            eval_duration: Some(4_200_000_000),
            ..Metrics::default()
        };
        let expected = "\
total duration:       1.2345s
load duration:        12.3ms
prompt eval count:    26 token(s)
prompt eval duration: 100ms
prompt eval rate:     260.00 tokens/s
eval count:           298 token(s)
eval duration:        4.2s
eval rate:            70.95 tokens/s
";
        assert_eq!(stats(&metrics), expected);
        assert_eq!(stats(&Metrics::default()), "");
    }
}
