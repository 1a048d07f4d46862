//! Shows one answer while it is written: thoughts in grey, words wrapped, counts and times at the end.
//!
//! Ctrl-C stops the answer: the stream is dropped, which closes the connection, which stops the daemon's work.

use std::fmt::Write;

use indicatif::ProgressBar;
use slm_api::ClientError;
use slm_api::client::{Chunk, Chunks};
use slm_api::ollama::{ChatResponse, GenerateResponse, Metrics};

use crate::progress;
use crate::text::duration::go_duration;
use crate::text::wrap::Wrap;
use crate::ui::Ui;

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Break lines between words.
    pub wrap: bool,
    /// Keep thoughts to the model.
    pub hide_thinking: bool,
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
    wrap: Wrap,
    is_thinking: bool,
    /// The answer so far.
    pub text: String,
    /// The thoughts so far.
    pub thinking: String,
}

impl Printer {
    /// A printer for one answer.
    pub(crate) fn new(style: Style, ui: Ui) -> Self {
        Self {
            style,
            ui,
            wrap: new_wrap(style, ui),
            is_thinking: false,
            text: String::new(),
            thinking: String::new(),
        }
    }

    /// Prints a stream of chunks to its end.
    ///
    /// # Errors
    /// What the daemon says, or that stdout cannot be written.
    pub(crate) async fn follow<T: Piece>(
        &mut self,
        start: impl Future<Output = Result<Chunks<T>, ClientError>>,
    ) -> anyhow::Result<Ended> {
        let waiting = progress::spinner("", self.ui);
        let ended = self.follow_with(start, &waiting).await;
        waiting.finish_and_clear();
        self.end()?;
        let (ended, metrics) = ended?;
        if self.style.verbose
            && let Some(metrics) = metrics
        {
            self.ui.note(stats(&metrics).trim_end());
        }
        Ok(ended)
    }

    async fn follow_with<T: Piece>(
        &mut self,
        start: impl Future<Output = Result<Chunks<T>, ClientError>>,
        waiting: &ProgressBar,
    ) -> anyhow::Result<(Ended, Option<Metrics>)> {
        // One listener for the whole answer: a signal that comes while a chunk is printed is not lost.
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        let mut chunks = tokio::select! {
            chunks = start => chunks?,
            _ = &mut interrupt => return Ok((Ended::Interrupted, None)),
        };
        let mut metrics = None;
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                _ = &mut interrupt => return Ok((Ended::Interrupted, None)),
            };
            let Some(chunk) = chunk.transpose()? else {
                return Ok((Ended::Complete, metrics));
            };
            if !chunk.thinking().is_empty() || !chunk.text().is_empty() {
                waiting.finish_and_clear();
            }
            self.show(&chunk)?;
            if chunk.is_last() {
                metrics = Some(chunk.metrics().clone());
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
            self.text.push_str(chunk.text());
            let shown = self.wrap.push(chunk.text());
            self.ui.model_text(&shown)?;
        }
        Ok(())
    }

    fn show_thinking(&mut self, text: &str) -> anyhow::Result<()> {
        if self.style.hide_thinking {
            return Ok(());
        }
        if !self.is_thinking {
            self.is_thinking = true;
            self.ui.thought("Thinking...\n")?;
        }
        let shown = self.wrap.push(text);
        self.ui.thought(&shown)
    }

    fn end_thinking(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.is_thinking) {
            return Ok(());
        }
        let rest = self.wrap.finish();
        self.wrap = new_wrap(self.style, self.ui);
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
        let mut rest = self.wrap.finish();
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            rest.push('\n');
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.ui.model_text(&rest)
    }
}

fn new_wrap(style: Style, ui: Ui) -> Wrap {
    Wrap::new(style.wrap.then(|| ui.width()))
}

/// The block of counts and times; what is not known is left out.
fn stats(metrics: &Metrics) -> String {
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
