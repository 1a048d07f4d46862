//! The cache of Hugging Face's tools: `hub/models--USER--REPO/snapshots/REVISION/FILE`, links to `blobs/SHA256`.
use super::{Candidate, ForeignFile, Found, Program, folder, ggufs, models_of};
use crate::{Digest, Error};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder with the repositories, in `path` or `path` itself.
pub(super) fn hub(path: &Path) -> Option<PathBuf> {
    let hub = path.join("hub");
    [hub.as_path(), path]
        .into_iter()
        .find(|folder| !repos(folder).is_empty())
        .map(Path::to_owned)
}

/// Folders of repositories, with `USER/REPO`.
fn repos(hub: &Path) -> Vec<(PathBuf, String, String)> {
    let entries = fs::read_dir(hub).into_iter().flatten().flatten();
    let repos = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (user, repo) = name.strip_prefix("models--")?.split_once("--")?;
        Some((entry.path(), user.to_owned(), repo.to_owned()))
    });
    repos.collect()
}

pub(super) fn find(path: &Path, found: &mut Found) -> Result<(), Error> {
    let Some(hub) = hub(path) else {
        return Ok(());
    };
    for (folder, user, repo) in repos(&hub) {
        let Some(snapshot) = snapshot(&folder) else {
            continue;
        };
        let mut models = Vec::new();
        for files in models_of(ggufs(&snapshot)?, &mut found.notes) {
            let parts = files
                .iter()
                .map(|path| ForeignFile::at(path, digest_of(path)));
            if let Some(parts) = parts.collect::<Option<Vec<ForeignFile>>>() {
                models.push((files, parts));
            }
        }
        let names = folder::names_in_repo(&user, &repo, models.iter().map(|(files, _)| &files[0]));
        for ((files, parts), name) in models.into_iter().zip(names) {
            match name {
                Some(name) => {
                    found
                        .candidates
                        .push(Candidate::of_files(name, Program::HuggingFace, parts))
                }
                None => folder::note_unnamed(&files[0], found),
            }
        }
    }
    Ok(())
}

/// The revision that `main` means, else the one that came last.
fn snapshot(repo: &Path) -> Option<PathBuf> {
    let snapshots = repo.join("snapshots");
    let main = fs::read_to_string(repo.join("refs").join("main")).ok();
    let main = main.map(|revision| snapshots.join(revision.trim()));
    if let Some(main) = main.filter(|main| main.is_dir()) {
        return Some(main);
    }
    let entries = fs::read_dir(snapshots).ok()?.flatten();
    let latest = entries.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    latest.map(|entry| entry.path())
}

/// Large files are named by their SHA-256, where the snapshot links to.
fn digest_of(path: &Path) -> Option<Digest> {
    let target = fs::read_link(path).ok()?;
    let hex = target.file_name()?.to_str()?;
    format!("sha256:{hex}").parse().ok()
}
