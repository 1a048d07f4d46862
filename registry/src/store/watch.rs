//! Whether files and folders have changed since somebody looked, as the kernel tells it.
//!
//! Linux puts an event on a queue before the call that changes a file returns, so a queue that is empty now says that
//! nothing had changed. It does so for what goes through this machine's files, which is all there is on the filesystems
//! named here. (Memory that is mapped and written to is passed over; nobody edits manifests so.) Elsewhere there is none.
use std::path::Path;

/// Files and folders that are watched.
pub(super) struct Watch(system::Watch);

impl Watch {
    /// A watch that also tells when `folders` are no longer what they were, whoever moved what is above them.
    pub(super) fn new(folders: &[&Path]) -> Option<Self> {
        system::Watch::new(folders).map(Self)
    }

    /// Tells from now on when something in the folder comes, goes or changes.
    pub(super) fn folder(&self, path: &Path) -> Option<()> {
        self.0.folder(path)
    }

    /// Tells from now on when the file changes.
    pub(super) fn file(&self, path: &Path) -> Option<()> {
        self.0.file(path)
    }

    /// Whether nothing has changed.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::{
        fd::OwnedFd,
        fs::{
            inotify::{self, CreateFlags, WatchFlags},
            statfs,
        },
        io::{self, Errno},
    };
    use std::{
        fs,
        os::unix::fs::MetadataExt,
        path::{Path, PathBuf},
    };

    /// Ext, XFS, Btrfs, ZFS, F2FS, bcachefs, tmpfs and what containers lie on: written to through this kernel alone.
    const LOCAL: [u64; 8] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x2FC1_2FC1,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x0102_1994,
        0x794C_7630,
    ];

    pub(super) struct Watch {
        queue: OwnedFd,
        /// Folders with their device and number.
        folders: Vec<(PathBuf, (u64, u64))>,
    }

    impl Watch {
        pub(super) fn new(folders: &[&Path]) -> Option<Self> {
            for folder in folders {
                let kind = statfs(*folder).ok()?.f_type;
                if !LOCAL.contains(&(kind as u64)) {
                    return None;
                }
            }
            let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            let folders = folders.iter();
            let folders = folders.map(|path| Some(((*path).to_owned(), number(path)?)));
            let watch = Self {
                queue,
                folders: folders.collect::<Option<_>>()?,
            };
            let comes_or_goes = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            for (path, _) in &watch.folders {
                watch.add(path, comes_or_goes | WatchFlags::ONLYDIR)?;
            }
            Some(watch)
        }

        pub(super) fn folder(&self, path: &Path) -> Option<()> {
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            self.add(path, flags | WatchFlags::ONLYDIR)
        }

        pub(super) fn file(&self, path: &Path) -> Option<()> {
            let flags = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            self.add(path, flags | WatchFlags::DONT_FOLLOW)
        }

        fn add(&self, path: &Path, flags: WatchFlags) -> Option<()> {
            let added = inotify::add_watch(&self.queue, path, flags | WatchFlags::MASK_ADD);
            added.ok().map(drop)
        }

        pub(super) fn is_quiet(&self) -> bool {
            // any event ends the watch, one that the queue was too short for as well
            let mut event = [0; 4096];
            matches!(io::read(&self.queue, &mut event), Err(Errno::AGAIN))
                && self
                    .folders
                    .iter()
                    .all(|(path, known)| number(path) == Some(*known))
        }
    }

    fn number(path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    pub(super) enum Watch {}

    impl Watch {
        pub(super) fn new(_: &[&Path]) -> Option<Self> {
            None
        }

        pub(super) fn folder(&self, _: &Path) -> Option<()> {
            match *self {}
        }

        pub(super) fn file(&self, _: &Path) -> Option<()> {
            match *self {}
        }

        pub(super) fn is_quiet(&self) -> bool {
            match *self {}
        }
    }
}
