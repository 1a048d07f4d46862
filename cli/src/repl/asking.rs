//! What is said to the model, and what is done with its answers.

use slm_api::ClientError;
use slm_api::ollama::{Message, Metrics};

use super::command::{Copied, Thoughts};
use super::{Repl, external, is_daemon_gone, message};
use crate::answer::{self, Ended, Printer, Style};
use crate::files::{Attached, expand, path_of};
use crate::{clipboard, daemon, models};

/// What was said last, and how it went.
#[derive(Default)]
pub(super) struct Last {
    /// As it was typed: without the files that it names.
    typed: Option<String>,
    /// The files that were attached to it.
    attached: Attached,
    /// Counts and times of the answer.
    metrics: Option<Metrics>,
    n_answers: u64,
    /// Tokens of all answers.
    n_tokens: u64,
}

impl Repl<'_> {
    /// How answers are shown now: what has a form of its own is no Markdown.
    pub(super) fn style(&self) -> Style {
        let is_free = self.session.common.format.is_none();
        Style {
            markdown: self.style.markdown && self.style.wrap && is_free,
            ..self.style
        }
    }

    /// Says something in place of all messages from `at` on, with the files that it names and those attached, and shows
    /// the answer.
    pub(super) async fn say(&mut self, typed: String, at: usize) -> anyhow::Result<()> {
        let files = self.attached.clone();
        self.say_with(files, typed, at).await
    }

    async fn say_with(&mut self, files: Attached, typed: String, at: usize) -> anyhow::Result<()> {
        let mut attached = files.clone();
        let expanded = expand(&typed, self.settings.home_dir.as_deref());
        for path in &expanded.paths {
            attached.add(path, self.session.takes_images())?;
        }
        if !attached.is_empty() {
            let names = attached.names().join(", ");
            self.ui.note(&format!("With this message: {names}"));
        }
        for name in &expanded.missing {
            self.ui
                .warn(&format!("`@{name}` names no file, and is sent as text"));
        }
        let before = self.session.messages.clone();
        self.session.messages.truncate(at);
        self.session.messages.push(Message {
            images: attached.images(),
            ..message("user", &attached.before(&expanded.text))
        });
        if self.ask(before).await? {
            self.attached = Attached::default();
            self.last.typed = Some(typed);
            self.last.attached = files;
        }
        Ok(())
    }

    /// Has the model answer what was said last. When nothing comes of it, the messages are again those `before`.
    async fn ask(&mut self, before: Vec<Message>) -> anyhow::Result<bool> {
        let mut printer = Printer::new(self.style(), self.ui);
        let mut ended = self.try_answer(&mut printer).await;
        if ended.as_ref().is_err_and(is_daemon_gone) {
            // It was stopped in between; one that is started now knows all it needs from the request.
            ended = match daemon::connect(self.settings, self.ui).await {
                Ok(_) => self.try_answer(&mut printer).await,
                Err(error) => Err(error),
            };
        }
        let is_answered = !printer.text.is_empty() && ended.is_ok();
        if is_answered {
            self.session.messages.push(Message {
                thinking: (!printer.thinking.is_empty()).then_some(printer.thinking),
                ..message("assistant", &printer.text)
            });
            self.last.n_answers += 1;
            let n_tokens = printer
                .metrics
                .as_ref()
                .and_then(|metrics| metrics.eval_count);
            self.last.n_tokens += n_tokens.unwrap_or(0);
            self.last.metrics = printer.metrics;
            self.kept.save(&self.session, self.ui);
        } else {
            self.session.messages = before;
        }
        if let Err(error) = ended {
            return Err(self.explain(error).await);
        }
        self.ui.data("\n")?;
        Ok(is_answered)
    }

    /// A model that is gone may have been renamed.
    async fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<ClientError>() {
            Ok(error) => models::explain(self.client, &self.session.common.model, error).await,
            Err(error) => error,
        }
    }

    async fn try_answer(&self, printer: &mut Printer) -> anyhow::Result<Ended> {
        let request = self.session.request();
        printer
            .follow(self.client, self.client.chat(&request))
            .await
    }

    pub(super) async fn retry(&mut self) -> anyhow::Result<()> {
        let Some(at) = self.session.last_question() else {
            return self.ui.data("Nothing was said yet\n");
        };
        let before = self.session.messages.clone();
        self.session.messages.truncate(at + 1);
        self.ask(before).await.map(drop)
    }

    /// Opens the last message in the editor and has it answered in place of what it was.
    pub(super) async fn edit(&mut self) -> anyhow::Result<()> {
        let at = self.session.last_question();
        let said = match (&self.last.typed, at) {
            (_, None) => String::new(),
            (Some(typed), _) => typed.clone(),
            (None, Some(at)) => self.session.messages[at].content.clone(),
        };
        let at = at.unwrap_or(self.session.messages.len());
        let files = if self.attached.is_empty() {
            self.last.attached.clone()
        } else {
            self.attached.clone()
        };
        self.write(files, &said, at).await
    }

    /// Opens a new message in the editor and says what it becomes.
    pub(super) async fn compose(&mut self, text: &str) -> anyhow::Result<()> {
        let files = self.attached.clone();
        self.write(files, text, self.session.messages.len()).await
    }

    async fn write(&mut self, files: Attached, text: &str, at: usize) -> anyhow::Result<()> {
        let edited = external::edit(self.settings.editor.as_deref(), text)?;
        if edited.trim().is_empty() {
            return self.ui.data("Nothing is sent: the message is empty\n");
        }
        self.ui.model_text(&format!("{edited}\n\n"))?;
        self.say_with(files, edited, at).await
    }

    pub(super) fn copy(&self, what: Copied) -> anyhow::Result<()> {
        let Some(answer) = self.session.last_answer() else {
            return self.ui.data("There is no answer to copy yet\n");
        };
        let text = match what {
            Copied::Answer => Some(answer.content.as_str()),
            Copied::Code => last_code(&answer.content),
        };
        let Some(text) = text else {
            return self.ui.data("There is no code in the last answer\n");
        };
        let done = clipboard::copy(text, self.ui)?;
        self.ui.data(&format!("{done}\n"))
    }

    pub(super) fn stats(&self) -> anyhow::Result<()> {
        let Some(metrics) = &self.last.metrics else {
            return self.ui.data("There is no complete answer yet\n");
        };
        let mut text = answer::stats(metrics);
        let context = metrics.prompt_eval_count.unwrap_or(0) + metrics.eval_count.unwrap_or(0);
        text.push_str(&format!("{:<21} {context} token(s)\n", "context used:"));
        text.push_str(&format!(
            "{:<21} {} answer(s), {} token(s)\n",
            "this session:", self.last.n_answers, self.last.n_tokens
        ));
        self.ui.data(&text)
    }

    pub(super) fn attach(&mut self, files: &[String]) -> anyhow::Result<()> {
        let mut attached = self.attached.clone();
        for file in files {
            let path = path_of(file, self.settings.home_dir.as_deref());
            attached.add(&path, self.session.takes_images())?;
        }
        self.attached = attached;
        if self.attached.is_empty() {
            return self.ui.data("Nothing is attached. Usage: /attach FILE\n");
        }
        let names = self.attached.names().join(", ");
        self.ui.data(&format!("With the next message: {names}\n"))
    }

    pub(super) fn think(&mut self, thoughts: Thoughts) -> anyhow::Result<()> {
        let done = match thoughts {
            Thoughts::Print => {
                let thinking = self
                    .session
                    .last_answer()
                    .and_then(|answer| answer.thinking.as_ref());
                return match thinking {
                    Some(text) => self.ui.thought(&format!("{}\n", text.trim_end())),
                    None => self.ui.data("The last answer came without thoughts\n"),
                };
            }
            Thoughts::Fold => "Thoughts are folded from now on; /think prints the last ones.",
            Thoughts::Show => "Thoughts are shown from now on.",
            Thoughts::Hide => "Thoughts are hidden from now on.",
        };
        self.style.fold_thinking = thoughts == Thoughts::Fold;
        self.style.hide_thinking = thoughts == Thoughts::Hide;
        self.ui.data(&format!("{done}\n"))
    }
}

/// The last block of code between fences.
fn last_code(text: &str) -> Option<&str> {
    let mut open: Option<(usize, &str)> = None;
    let mut last = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let marks = trimmed.len() - trimmed.trim_start_matches('`').len();
        match open {
            None if marks >= 3 => open = Some((at + line.len(), &trimmed[..marks])),
            Some((start, fence)) if trimmed.starts_with(fence) && marks == trimmed.len() => {
                last = Some(&text[start..at]);
                open = None;
            }
            _ => {}
        }
        at += line.len();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_code_is_found() {
        let text = "a\n```sh\nls\n```\nb\n````md\n```\nx\n```\n````\nc ```\n";
        assert_eq!(last_code(text), Some("```\nx\n```\n"));
        assert_eq!(last_code("```\nnever ended"), None);
        assert_eq!(last_code("none"), None);
        assert_eq!(last_code("```\n```"), Some(""));
    }
}
