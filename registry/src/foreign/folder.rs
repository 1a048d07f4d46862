//! GGUF files in folders: LM Studio's, whose paths are those of repositories, and any other.
use super::{Candidate, ForeignFile, Found, Program, ggufs, models_of};
use crate::{Error, ModelName, modelfile::parts, remote};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// `PUBLISHER/REPOSITORY/FILE`, as on Hugging Face, and named so.
pub(super) fn find_by_publisher(root: &Path, found: &mut Found) -> Result<(), Error> {
    let mut models = models_of(ggufs(root)?, &mut found.notes);
    models.sort();
    let place = |path: &Path| {
        let mut parts = path.strip_prefix(root).ok()?.iter();
        let publisher = parts.next()?.to_str()?.to_owned();
        let repo = parts.next()?.to_str()?.to_owned();
        // what comes third is the file, or a folder that the repository has
        parts.next().map(|_| (publisher, repo))
    };
    while !models.is_empty() {
        let of_first = place(&models[0][0]);
        let (same, others): (Vec<_>, Vec<_>) = models
            .into_iter()
            .partition(|files| place(&files[0]) == of_first);
        models = others;
        let Some((publisher, repo)) = of_first else {
            same.iter().for_each(|files| note_unnamed(&files[0], found));
            continue;
        };
        let names = names_in_repo(&publisher, &repo, same.iter().map(|files| &files[0]));
        for (files, name) in same.iter().zip(names) {
            add(files, name, Program::LmStudio, found);
        }
    }
    Ok(())
}

/// Files of any folder, or one file; named by themselves.
pub(super) fn find(path: &Path, found: &mut Found) -> Result<(), Error> {
    let files = if path.is_file() {
        vec![path.to_owned()]
    } else {
        ggufs(path)?
    };
    for files in models_of(files, &mut found.notes) {
        add(&files, name_of_file(&files[0]), Program::Folder, found);
    }
    Ok(())
}

fn add(files: &[PathBuf], name: Option<ModelName>, program: Program, found: &mut Found) {
    let parts = files.iter().map(|path| ForeignFile::at(path, None));
    match (name, parts.collect::<Option<Vec<ForeignFile>>>()) {
        (Some(name), Some(parts)) => found
            .candidates
            .push(Candidate::of_files(name, program, parts)),
        _ => note_unnamed(&files[0], found),
    }
}

pub(super) fn note_unnamed(path: &Path, found: &mut Found) {
    let text = format!("`{}` makes no name for a model", path.display());
    found.notes.push(text);
}

/// `hf.co/USER/REPO:FORMAT` for each file, as a pull of it would be called; two of one format are called by their files.
pub(super) fn names_in_repo<'a>(
    user: &str,
    repo: &str,
    files: impl Iterator<Item = &'a PathBuf>,
) -> Vec<Option<ModelName>> {
    let mut taken = HashSet::new();
    let name = |tag: &str| ModelName::from_parts(["hf.co", user, repo, tag]);
    files
        .map(|path| {
            let path = path.to_str()?;
            let stem = remote::file_stem(path);
            let stem = parts::split_stem(stem).map_or(stem, |(name, _)| name);
            let label = name(&remote::file_label(path)).filter(|name| !taken.contains(name));
            let name = label.or_else(|| name(stem))?;
            taken.insert(name.clone());
            Some(name)
        })
        .collect()
}

/// The file's name without its ending, letters that a name cannot have replaced.
fn name_of_file(path: &Path) -> Option<ModelName> {
    let stem = remote::file_stem(path.to_str()?);
    let stem = parts::split_stem(stem).map_or(stem, |(name, _)| name);
    let model = crate::reference::as_model(stem);
    model.parse().ok()
}
