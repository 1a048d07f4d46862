//! `slmd login HOST` and `slmd logout HOST`: who one is to a registry, in a file that its owner alone reads.

use crate::config::Config;
use anyhow::{Context, bail};
use slm_registry::remote::Credentials;
use std::io::{self, BufRead, IsTerminal, Read};

/// No password or token is longer.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// Arguments of `slmd login`.
#[derive(Debug, clap::Args)]
pub(super) struct LoginArgs {
    /// Host of the registry, with its port if it has one, such as ghcr.io
    host: String,
    /// Name of the user; asked for when it is missing
    #[arg(short, long)]
    username: Option<String>,
    /// Take the password from standard input to its end, for scripts
    #[arg(long)]
    password_stdin: bool,
}

/// Arguments of `slmd logout`.
#[derive(Debug, clap::Args)]
pub(super) struct LogoutArgs {
    /// Host of the registry
    host: String,
}

/// Stores a user and a password.
///
/// # Errors
/// No password, or the disk.
#[expect(clippy::print_stderr, reason = "a dialogue with a person")]
pub(super) fn login(args: LoginArgs, config: &Config) -> anyhow::Result<()> {
    let host = host(&args.host)?;
    let username = match args.username {
        Some(username) => username,
        None if args.password_stdin => bail!("say who you are with --username"),
        None => ask("Username: ")?,
    };
    let password = if args.password_stdin {
        let mut text = String::new();
        let mut input = io::stdin().lock().take(MAX_PASSWORD_BYTES);
        input
            .read_to_string(&mut text)
            .context("cannot read the password")?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        ask_secretly("Password or token: ")?
    };
    if username.is_empty() || password.is_empty() {
        bail!("neither the name nor the password may be empty");
    }
    let credentials = Credentials { username, password };
    let keyring = &config.network.keyring;
    keyring
        .store(&host, credentials)
        .map_err(super::with_hint)?;
    if let Some(path) = &keyring.own {
        eprintln!("stored for {host} in {}", path.display());
    }
    Ok(())
}

/// Removes what [`login`] stored.
///
/// # Errors
/// When there is nothing to remove, or the disk.
pub(super) fn logout(args: &LogoutArgs, config: &Config) -> anyhow::Result<()> {
    let host = host(&args.host)?;
    if !config
        .network
        .keyring
        .remove(&host)
        .map_err(super::with_hint)?
    {
        bail!("nothing is stored for `{host}`");
    }
    Ok(())
}

/// The host of `https://host/…` or `host`.
fn host(text: &str) -> anyhow::Result<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        bail!("`{text}` is no host of a registry");
    }
    Ok(host.to_owned())
}

#[expect(clippy::print_stderr, reason = "a dialogue with a person")]
fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    let mut line = String::new();
    let mut input = io::stdin().lock().take(MAX_PASSWORD_BYTES);
    input
        .read_line(&mut line)
        .context("cannot read the answer")?;
    Ok(line.trim().to_owned())
}

/// As [`ask`], without showing on a terminal what is typed.
fn ask_secretly(question: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return ask(question);
    }
    let answer = rpassword::prompt_password(question).context("cannot read the answer")?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_a_name_begins_with() {
        assert_eq!(host("https://ghcr.io/v2/").unwrap(), "ghcr.io");
        assert_eq!(host("h:5000").unwrap(), "h:5000");
        for bad in ["", "https://", "a b", "h@x"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
