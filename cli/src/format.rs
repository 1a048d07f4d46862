//! `--format`: for people, or for programs.

use crate::ui::Ui;
use serde::Serialize;

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON value, as the daemon gave it
    Json,
}

impl Format {
    /// Prints `value` as JSON, or as the text that `render` makes of it.
    ///
    /// # Errors
    /// As [`Ui::data`].
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        render: impl FnOnce(&T) -> String,
        ui: Ui,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text => ui.model_text(&render(value)),
            Self::Json => ui.data(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        }
    }
}
