//! Rows in a sled database. sled can panic on damaged files, so every call into it is caught.
use super::{Backend, Change, KeyValue};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

/// sled's own default is 1 GiB.
const CACHE_BYTES: u64 = 16 << 20;
/// sled lets go of its lock a moment after a database is dropped.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// An open database.
pub(super) struct SledBackend(sled::Db);

impl SledBackend {
    /// Opens or creates the database in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(1000));
        for _ in 0..LOCK_ATTEMPTS {
            match guarded(|| Ok(config.open()))? {
                Ok(db) => return Ok(Self(db)),
                Err(error) if error.to_string().contains("could not acquire lock") => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("another process has the index open".to_owned())
    }
}

impl Backend for SledBackend {
    fn rows(&self) -> Result<Vec<KeyValue>, String> {
        guarded(|| {
            let rows = self.0.iter();
            rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    fn apply(&self, changes: Vec<Change>, durable: bool) -> Result<(), String> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            self.0.apply_batch(batch)?;
            if durable {
                self.0.flush()?;
            }
            Ok(())
        })
    }

    fn size_bytes(&self) -> Result<u64, String> {
        guarded(|| self.0.size_on_disk())
    }
}

/// Runs `call`; an error or a panic becomes text.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
    }
}
