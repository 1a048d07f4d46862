//! How much the files of all models take together, and which of them go.

use super::page_file::{UNFINISHED, link_of};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Files that are looked at, at most: a folder with more has others in it than ours.
const MAX_FILES: usize = 1 << 20;
/// Unfinished files that are older were left by a process that is gone.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A page's file.
struct Found {
    used_at: SystemTime,
    size: u64,
    path: PathBuf,
}

/// Removes those files below `dir` that were of no use for longest, until all take at most `most` bytes. Returns how many
/// bytes they take.
pub(super) fn shrink(dir: &Path, most: u64) -> u64 {
    let mut files = find(dir);
    files.sort_by_key(|file| file.used_at);
    let mut total: u64 = files.iter().map(|file| file.size).sum();
    for file in files {
        if total <= most {
            break;
        }
        if fs::remove_file(&file.path).is_ok() {
            total -= file.size;
        }
    }
    total
}

fn find(dir: &Path) -> Vec<Found> {
    let folders = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
    let found = files.flatten().take(MAX_FILES).filter_map(|entry| {
        let (path, about) = (entry.path(), entry.metadata().ok()?);
        let used_at = about.modified().ok()?;
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            let age = used_at.elapsed().unwrap_or_default();
            if age > ABANDONED {
                let _somebody_else_may_have = fs::remove_file(&path);
            }
            return None;
        }
        link_of(&path)?;
        Some(Found {
            used_at,
            size: about.len(),
            path,
        })
    });
    found.collect()
}
