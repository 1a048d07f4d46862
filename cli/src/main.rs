//! `slm`: what a person types and sees.
//!
//! The program is thin: it speaks to the daemon through `slm-api`, starts one when none runs, and holds no logic that a
//! second client would need. One file per command in [`commands`], all printing through [`ui`].

mod answer;
mod args;
mod chats;
mod clipboard;
mod commands;
mod daemon;
mod failure;
mod files;
mod fit;
mod format;
mod hub;
mod keyboard;
mod markdown;
mod models;
mod progress;
mod repl;
mod service;
mod settings;
mod text;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Exit;
use crate::settings::Settings;
use crate::ui::{StdoutClosed, Ui};

fn main() -> ExitCode {
    let args = args::Args::parse();
    if args.no_color {
        Ui::forbid_styles();
    }
    let ui = Ui::of_process().hushed(args.quiet);
    let settings = Settings::from_env(|name| std::env::var(name).ok());
    // One worker keeps connections alive while the main thread waits for a line to be typed.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(args.command, &settings, ui));
            // A blocking read of stdin must not hold up the end.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if error.is::<StdoutClosed>() => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(Exit::Failed.code())
        }
    }
}
