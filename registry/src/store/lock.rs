//! Who may change the store, and which blobs must stay.
//!
//! Changes that remove or reveal something happen under the [`Guard`]: a mutex for this process and an advisory file lock
//! for others. It is held for moments. What takes long (a pull, a model that is being created) holds *pins* instead: the
//! digests that it needs. Pins stand in a file of this process, under a file lock that lives as long as the process, so
//! that another process sees them and a killed process leaves none behind that counts.
use super::steps;
use crate::{Digest, Error};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long another process may hold the lock before we give up.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(10);
/// How long an ingested blob waits for the manifest that will refer to it.
const FRESH_TIME: Duration = Duration::from_secs(3600);
/// No honest pins file is larger; each digest takes 72 bytes.
const MAX_PINS_BYTES: u64 = 16 << 20;

/// The locks of one open store.
pub(super) struct Locks {
    lock_file: PathBuf,
    pins_folder: PathBuf,
    process: Mutex<()>,
    pins: Mutex<Pins>,
}

/// The right to change the store.
pub(crate) struct Guard<'a> {
    _process: MutexGuard<'a, ()>,
    _file: File,
}

#[derive(Default)]
struct Pins {
    /// Digests with the number of [`Pin`]s on each.
    held: HashMap<Digest, usize>,
    /// Ingested blobs that wait for their manifest: how many ingests each, and when the last one was.
    fresh: HashMap<Digest, (usize, Instant)>,
    /// Blobs that would be gone if nobody had pinned them.
    deferred: HashSet<Digest>,
    file: Option<(PathBuf, File)>,
    /// Whether the file has more than is pinned, or a line that is none.
    is_stale: bool,
}

impl Pins {
    fn digests(&mut self) -> HashSet<Digest> {
        self.fresh
            .retain(|_, (_, since)| since.elapsed() < FRESH_TIME);
        self.held.keys().chain(self.fresh.keys()).copied().collect()
    }
}

/// Keeps blobs from being removed until it is dropped.
pub struct Pin {
    locks: Arc<Locks>,
    digests: Vec<Digest>,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pin").field(&self.digests).finish()
    }
}

impl Locks {
    /// The locks whose files are in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            lock_file: folder.join("lock"),
            pins_folder: folder.join("pins"),
            process: Mutex::new(()),
            pins: Mutex::default(),
        }
    }

    /// The file of the lock. Its folder may be missing where the store could not be written when it was opened; why it
    /// still cannot is said then, and not that there is no such file.
    fn open_file(&self) -> Result<File, Error> {
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            options.open(&self.lock_file)
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = self.lock_file.parent() {
                    fs::create_dir_all(folder).map_err(Error::write(folder))?;
                }
                open().map_err(Error::write(&self.lock_file))
            }
            opened => opened.map_err(Error::write(&self.lock_file)),
        }
    }

    /// Waits for the right to change the store.
    pub(crate) fn lock(&self) -> Result<Guard<'_>, Error> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.open_file()?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                }
                Err(TryLockError::WouldBlock) => {
                    let timeout = io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another process changes the models directory for too long",
                    );
                    return Err(Error::write(&self.lock_file)(timeout));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Error::write(&self.lock_file)(error));
                }
            }
        }
        Ok(Guard {
            _process: process,
            _file: file,
        })
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `digests` from being removed while the pin lives.
    pub(super) fn pin(
        self: &Arc<Self>,
        guard: &Guard<'_>,
        digests: Vec<Digest>,
    ) -> Result<Pin, Error> {
        for digest in &digests {
            *self.pins().held.entry(*digest).or_default() += 1;
        }
        let pin = Pin {
            locks: Arc::clone(self),
            digests,
        };
        self.add_pins(guard, &pin.digests)?;
        Ok(pin)
    }

    /// Keeps an ingested blob for an hour, or until a manifest refers to it.
    pub(super) fn pin_fresh(&self, guard: &Guard<'_>, digest: Digest) -> Result<(), Error> {
        let mut pins = self.pins();
        let (count, since) = pins.fresh.entry(digest).or_insert((0, Instant::now()));
        (*count, *since) = (*count + 1, Instant::now());
        drop(pins);
        self.add_pins(guard, &[digest])
    }

    /// A manifest refers to `digests` now: one ingest of each has what it waited for.
    pub(super) fn unpin_fresh(
        &self,
        guard: &Guard<'_>,
        digests: &HashSet<Digest>,
    ) -> Result<(), Error> {
        let mut pins = self.pins();
        let n_before = pins.fresh.len();
        for digest in digests {
            if let Some((count, _)) = pins.fresh.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.fresh.remove(digest);
                }
            }
        }
        let changed = pins.fresh.len() != n_before;
        drop(pins);
        if changed {
            self.write_pins(guard)?;
        }
        Ok(())
    }

    /// Remembers blobs that were kept for a pin alone.
    pub(super) fn defer(&self, digests: HashSet<Digest>) {
        self.pins().deferred = digests;
    }

    /// The blobs that were kept for a pin alone, to be tried again.
    pub(super) fn take_deferred(&self) -> HashSet<Digest> {
        std::mem::take(&mut self.pins().deferred)
    }

    /// Everything that this process or another living one needs.
    pub(super) fn pinned(&self, _guard: &Guard<'_>) -> Result<HashSet<Digest>, Error> {
        let (mut pinned, own_file) = {
            let mut pins = self.pins();
            let own = pins.file.as_ref().map(|(path, _)| path.clone());
            (pins.digests(), own)
        };
        let entries = match fs::read_dir(&self.pins_folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pinned),
            Err(error) => return Err(Error::read(&self.pins_folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(Error::read(&self.pins_folder))?.path();
            if own_file.as_ref() == Some(&path) {
                continue;
            }
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::read(&path)(error)),
            };
            match file.try_lock() {
                // Its process is dead.
                Ok(()) => fs::remove_file(&path).map_err(Error::write(&path))?,
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let mut limited = file.take(MAX_PINS_BYTES);
                    limited
                        .read_to_string(&mut text)
                        .map_err(Error::read(&path))?;
                    pinned.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
                }
                Err(TryLockError::Error(error)) => return Err(Error::read(&path)(error)),
            }
        }
        Ok(pinned)
    }

    /// Adds `digests`, which are pinned, to the file of this process: what thousands of blobs that come one after the other
    /// cost does not grow with each.
    fn add_pins(&self, guard: &Guard<'_>, digests: &[Digest]) -> Result<(), Error> {
        let mut pins = self.pins();
        let is_stale = pins.is_stale;
        let (path, file) = match &mut pins.file {
            Some(open) if !is_stale => open,
            _ => {
                drop(pins);
                return self.write_pins(guard);
            }
        };
        let written = file.write_all(lines(digests.iter()).as_bytes());
        steps::between();
        let written = written.map_err(Error::write(path));
        // Half a line would spoil the next.
        pins.is_stale = written.is_err();
        written
    }

    /// Brings the file of this process up to date. Other processes read it under the guard only.
    fn write_pins(&self, _guard: &Guard<'_>) -> Result<(), Error> {
        let mut pins = self.pins();
        let digests = pins.digests();
        pins.is_stale = true;
        if pins.file.is_none() {
            let name = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
            let path = self.pins_folder.join(name);
            let file = File::create_new(&path).map_err(Error::write(&path))?;
            let locked = file.try_lock().map_err(io::Error::from);
            locked.map_err(Error::write(&path))?;
            pins.file = Some((path, file));
        }
        let (path, file) = pins.file.as_mut().expect("made above");
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(lines(digests.iter()).as_bytes()));
        steps::between();
        written.map_err(Error::write(path))?;
        pins.is_stale = false;
        Ok(())
    }
}

fn lines<'a>(digests: impl Iterator<Item = &'a Digest>) -> String {
    digests.map(|digest| format!("{digest}\n")).collect()
}

impl Drop for Locks {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.pins().file {
            let _ = fs::remove_file(path);
        }
    }
}

impl Pin {
    /// Lets go, and tells other processes.
    ///
    /// # Errors
    /// When other processes cannot be told.
    pub(crate) fn release(self) -> Result<(), Error> {
        let locks = Arc::clone(&self.locks);
        drop(self);
        let guard = locks.lock()?;
        locks.write_pins(&guard)
    }
}

impl Drop for Pin {
    /// In this process the blobs are free at once; others see it with the next change.
    fn drop(&mut self) {
        let mut pins = self.locks.pins();
        for digest in &self.digests {
            if let Some(count) = pins.held.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.held.remove(digest);
                    pins.is_stale = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_made_and_one_that_cannot_be_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("store/.slm");
        drop(Locks::new(&folder).lock().unwrap());
        assert!(folder.join("lock").exists());
        let file = home.path().join("file");
        fs::write(&file, "no folder").unwrap();
        let Err(Error::Write { path, source }) = Locks::new(&file.join(".slm")).lock() else {
            panic!("a folder in a file");
        };
        assert_eq!(
            (path, source.kind()),
            (file.join(".slm/lock"), io::ErrorKind::NotADirectory)
        );
        // where the folder is what fails, its own reason is said
        let Err(Error::Write { source, .. }) = Locks::new(Path::new("/dev/null/x/y")).lock() else {
            panic!("a folder in a device");
        };
        assert_eq!(source.kind(), io::ErrorKind::NotADirectory);
    }
}
