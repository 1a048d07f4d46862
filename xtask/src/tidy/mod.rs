//! `cargo xtask tidy`: rules of this repository that no compiler checks.
//!
//! [`arrows`] holds the table of which crate may use which, [`sources`] the rules for single files, [`docs`] those for
//! the documentation. Each returns problems as `place: what is wrong`; the whole runs as a unit test too.

mod arrows;
mod docs;
mod sources;

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Prints every problem; fails when there is one.
pub(crate) fn run() -> Result<ExitCode> {
    let problems = problems(&Workspace::load()?)?;
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        println!("tidy: all rules hold");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("tidy: {} to mend", problems.len());
    Ok(ExitCode::FAILURE)
}

fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let files = text_files(&workspace.root)?;
    let mut problems = arrows::check(&workspace.packages);
    problems.extend(files.iter().flat_map(sources::check));
    problems.extend(docs::check_links(&workspace.root, &files));
    problems.extend(docs::check_architecture(&workspace.packages, &files));
    Ok(problems)
}

/// A file of the repository with its text.
struct TextFile {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// The files that git tracks or would, as far as they are text.
fn text_files(root: &Path) -> Result<Vec<TextFile>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(root);
    let listed = process::output(&mut git, "listing the repository's files")?;
    let mut files = Vec::new();
    for path in listed.split_terminator('\0') {
        let place: PathBuf = root.join(path);
        if !place.is_file() {
            continue; // removed, not yet committed
        }
        let bytes = fs::read(&place).with_context(|| format!("cannot read `{path}`"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let problems = problems(&Workspace::load().unwrap()).unwrap();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}
