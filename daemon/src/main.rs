//! `slmd`: the daemon that keeps models and serves them over HTTP.
//!
//! Composes the other crates: configuration, routes, loading and evicting, limits, shutdown. It alone turns domain
//! errors into status codes. See `commands` for what the program can do and `routes` for what it answers.

mod ahead;
mod body;
mod caller;
mod care;
mod catalog;
mod commands;
mod config;
mod cpu;
mod create;
mod details;
mod error;
mod inference;
mod middleware;
mod models;
mod ndjson;
mod observe;
mod parts;
mod paths;
mod pulls;
mod pushes;
mod reports;
mod responses;
mod routes;
mod server;
mod share;
mod shutdown;
mod state;
#[cfg(test)]
mod testing;
mod upload;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
