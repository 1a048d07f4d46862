//! Files that are being written: hidden names, locked while their process lives, gone when they are dropped.
use super::steps;
use crate::Error;
use std::{
    fs::{self, File},
    io,
    path::Path,
};
use tempfile::{NamedTempFile, TempPath};

/// How the name of every unfinished file begins.
pub(super) const PREFIX: &str = ".slm-tmp-";

/// Creates an unfinished file in `folder`. The caller holds the store's lock, so that [`remove_stale`] cannot come
/// between its creation and its own lock.
pub(super) fn create(folder: &Path) -> Result<NamedTempFile, Error> {
    let file = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempfile_in(folder)
        .map_err(Error::write(folder))?;
    steps::between();
    // Where locks do not work the file merely looks stale to other processes.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Makes `source` a second name in `folder`, under the same rules; `None` where the filesystem refuses.
pub(super) fn link(source: &Path, folder: &Path) -> Option<(File, TempPath)> {
    let path = folder.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
    fs::hard_link(source, &path).ok()?;
    steps::between();
    let path = TempPath::try_from_path(path).ok()?;
    let file = File::open(&path).ok()?;
    let _ = file.try_lock();
    Some((file, path))
}

/// Removes the unfinished files of dead processes. The caller holds the store's lock.
pub(super) fn remove_stale(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if is_ours && File::open(entry.path())?.try_lock().is_ok() {
            fs::remove_file(entry.path())?;
            steps::between();
        }
    }
    Ok(())
}

/// Makes the names in `folder` last.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        let opened = File::open(folder);
        opened
            .and_then(|folder| folder.sync_all())
            .map_err(Error::write(folder))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// The permissions of `file`, as [`set_mode`] takes them.
pub(crate) fn mode(file: &File) -> u32 {
    let Ok(metadata) = file.metadata() else {
        return 0o444;
    };
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    #[cfg(not(unix))]
    let mode = if metadata.permissions().readonly() {
        0o444
    } else {
        0o644
    };
    mode
}

/// Sets the Unix permissions of `file`; elsewhere makes it read-only where `mode` has no write bit.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    #[cfg(not(unix))]
    let permissions = {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(mode & 0o222 == 0);
        permissions
    };
    let set = file.set_permissions(permissions);
    steps::between();
    set
}
