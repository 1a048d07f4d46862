//! `slm completions` and `slm man`: made from the grammar of the command line itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;

use crate::failure::Exit;
use crate::ui::Ui;

/// The name that people type.
const NAME: &str = "slm";

/// Arguments of `slm completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Arguments of `slm man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder; without one, the first page is printed
    pub folder: Option<PathBuf>,
}

/// Prints the script.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn run(args: &Args, ui: Ui) -> anyhow::Result<Exit> {
    ui.data(&script(args.shell)?)?;
    Ok(Exit::Done)
}

fn script(shell: clap_complete::Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Args::command(), NAME, &mut script);
    Ok(String::from_utf8(script)?)
}

/// Prints the page of `slm`, or writes all pages.
///
/// # Errors
/// When stdout or the folder cannot be written.
pub(crate) fn man(args: &ManArgs, ui: Ui) -> anyhow::Result<Exit> {
    let pages = pages()?;
    let Some(folder) = &args.folder else {
        let first = pages.first().map_or("", |(_, page)| page.as_str());
        ui.data(first)?;
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder `{}`", folder.display()))?;
    for (name, page) in &pages {
        write(&folder.join(name), page)?;
    }
    ui.note(&format!(
        "wrote {} pages into {}",
        pages.len(),
        folder.display()
    ));
    Ok(Exit::Done)
}

fn write(path: &Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| format!("cannot write `{}`", path.display()))
}

/// File names and pages: that of `slm`, then one for each command.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut command = crate::args::Args::command();
    command.build();
    let mut pages = vec![page(&command, NAME)?];
    for sub in command.get_subcommands() {
        if sub.get_name() != "help" && !sub.is_hide_set() {
            pages.push(page(sub, &format!("{NAME}-{}", sub.get_name()))?);
        }
    }
    Ok(pages)
}

fn page(command: &clap::Command, name: &str) -> anyhow::Result<(String, String)> {
    let mut page = Vec::new();
    let command = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok((format!("{name}.1"), String::from_utf8(page)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in clap_complete::Shell::value_variants() {
            let script = script(*shell).expect("a script");
            for word in ["pull", "doctor", "completions"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().expect("pages");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "slm.1");
        for command in crate::args::Args::command().get_subcommands() {
            let name = format!("slm-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "no {name}");
        }
        let (_, pull) = pages
            .iter()
            .find(|(name, _)| name == "slm-pull.1")
            .expect("a page");
        assert!(pull.contains(".TH slm-pull 1"), "{pull}");
        assert!(pull.contains("max\\-bandwidth"), "{pull}");
    }
}
