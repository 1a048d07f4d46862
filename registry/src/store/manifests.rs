//! The manifest files: finding, reading, writing, removing. Who may, and what follows, is the store's matter.
use super::{steps, temporary};
use crate::{Error, ModelName, index::Stamp, manifest::MAX_MANIFEST_BYTES};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A store with more models is not walked to the end.
const MAX_MANIFESTS: usize = 100_000;

/// One manifest file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Name with the spelling of the path.
    pub(crate) name: ModelName,
    /// The file.
    pub(crate) path: PathBuf,
    /// Which version of it.
    pub(crate) stamp: Stamp,
    /// When it was written.
    pub(crate) modified: SystemTime,
    /// Whether it is in a store that is only read.
    pub(crate) is_shared: bool,
}

impl Found {
    /// The same, from a store that is only read.
    pub(super) fn shared(self) -> Self {
        Self {
            is_shared: true,
            ..self
        }
    }
}

/// All manifest files under `folder`; what is no valid name is passed over.
pub(crate) fn walk(folder: &Path) -> Result<Vec<Found>, Error> {
    walk_matching(folder, fs::Metadata::is_file, |_, _| true, &mut Err)
}

/// As [`walk`], for a store of somebody else: `passed_over` hears of folders in it that cannot be read.
pub(crate) fn walk_readable(
    folder: &Path,
    mut passed_over: impl FnMut(Error),
) -> Result<Vec<Found>, Error> {
    let mut failed = |error: Error| match &error {
        Error::Read { path, .. } if path != folder => {
            passed_over(error);
            Ok(())
        }
        _ => Err(error),
    };
    walk_matching(folder, fs::Metadata::is_file, |_, _| true, &mut failed)
}

/// The names of which there is a folder under `folder`, in place of a manifest.
pub(super) fn walk_folders(folder: &Path) -> Result<Vec<ModelName>, Error> {
    let found = walk_matching(folder, fs::Metadata::is_dir, |_, _| true, &mut Err)?;
    Ok(found.into_iter().map(|found| found.name).collect())
}

/// The manifest that `name` means: the one spelled like it, else one that differs in case only.
pub(super) fn resolve(folder: &Path, name: &ModelName) -> Result<Option<Found>, Error> {
    let parts = name.parts();
    let is_part = |depth: usize, part: &str| part.eq_ignore_ascii_case(parts[depth]);
    let mut found = walk_matching(folder, fs::Metadata::is_file, is_part, &mut Err)?;
    let exact = found.iter().position(|found| found.name == *name);
    Ok(match exact {
        Some(at) => Some(found.swap_remove(at)),
        None => found.into_iter().min_by(|a, b| a.name.cmp(&b.name)),
    })
}

/// Everything that is where a manifest would be, is one by `is_it`, and whose every part passes `matches(depth, part)`.
/// `failed` hears of folders that cannot be read, and whether that ends it is what it says.
fn walk_matching(
    folder: &Path,
    is_it: impl Fn(&fs::Metadata) -> bool,
    matches: impl Fn(usize, &str) -> bool,
    failed: &mut dyn FnMut(Error) -> Result<(), Error>,
) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, Vec<String>)> = vec![(folder.to_owned(), Vec::new())];
    while let Some((path, parts)) = open.pop() {
        if let [host, namespace, model, tag] = parts.as_slice() {
            let Some(name) = ModelName::from_parts([host, namespace, model, tag]) else {
                continue;
            };
            // Gone in the meantime, or something else: no manifest.
            let metadata = fs::metadata(&path).ok().filter(&is_it);
            let Some(metadata) = metadata else { continue };
            found.push(Found {
                name,
                path,
                stamp: Stamp::of(&metadata),
                modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_shared: false,
            });
            if found.len() >= MAX_MANIFESTS {
                tracing::warn!(MAX_MANIFESTS, "too many models: not all are seen");
                break;
            }
            continue;
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_no_folder(&error) => continue,
            Err(error) => {
                failed(Error::read(&path)(error))?;
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    failed(Error::read(&path)(error))?;
                    break;
                }
            };
            let Ok(part) = entry.file_name().into_string() else {
                continue;
            };
            if !part.starts_with('.') && matches(parts.len(), &part) {
                let mut parts = parts.clone();
                parts.push(part);
                open.push((entry.path(), parts));
            }
        }
    }
    Ok(found)
}

fn is_no_folder(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
}

/// The bytes of a manifest file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::read(path))?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the parser sees that it is too much.
    let mut limited = file.take(MAX_MANIFEST_BYTES as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(Error::read(path))?;
    Ok(bytes)
}

/// Writes `bytes` to `path` below `folder`: all or nothing. The caller holds the store's lock.
pub(super) fn write(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = temporary::create(folder)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| temporary::set_mode(file.as_file(), 0o644))
        .and_then(|()| file.as_file().sync_all());
    written.map_err(Error::write(path))?;
    steps::between();
    let parent = path.parent().expect("a manifest is in a folder");
    fs::create_dir_all(parent).map_err(Error::write(parent))?;
    steps::between();
    if let Err(error) = file.persist(path) {
        remove_empty_parents(folder, path);
        return Err(Error::write(path)(error.error));
    }
    steps::between();
    for parent in parent.ancestors() {
        temporary::sync_folder(parent)?;
        if parent == folder {
            break;
        }
    }
    Ok(())
}

/// Removes the manifest at `path` below `folder`, and the folders that it leaves empty.
pub(super) fn remove(folder: &Path, path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::write(path))?;
    steps::between();
    let parent = path.parent().expect("a manifest is in a folder");
    temporary::sync_folder(parent)?;
    remove_empty_parents(folder, path);
    Ok(())
}

/// Removes the folders above `path`, up to `folder`, that have nothing in them.
pub(super) fn remove_empty_parents(folder: &Path, path: &Path) {
    for parent in path.ancestors().skip(1) {
        // `remove_dir` refuses a folder with something in it.
        if parent == folder || fs::remove_dir(parent).is_err() {
            return;
        }
        steps::between();
    }
}
