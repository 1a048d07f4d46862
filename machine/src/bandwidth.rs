//! How many bytes of memory per second all CPUs of this process read together.
//!
//! An answer's speed is bounded by that: each token needs all weights once. Measured in about 0.2 seconds, with a buffer
//! larger than the caches, and kept in a file, since it hardly changes. Other programs that compute meanwhile make it
//! less; so the best measurement stays.

use std::{
    fs,
    hint::black_box,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Bytes that are read again and again, where there is memory for it.
const BUFFER_BYTES: u64 = 128 << 20;
/// Below this the caches would be measured.
const LEAST_BUFFER_BYTES: u64 = 16 << 20;
/// How long is read.
const DURATION: Duration = Duration::from_millis(150);
/// How many bytes are read between two looks at the clock.
const SLICE_WORDS: usize = (1 << 20) / 8;
/// How long a measurement counts.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// The longest file that is read back.
const MAX_FILE_BYTES: u64 = 256;

/// Bytes per second, from `cache` where that has a measurement of today, else measured; the best so far is written there.
/// `None` where there is too little memory to measure.
pub fn cached(cache: Option<&Path>) -> Option<u64> {
    let n_threads = n_threads();
    let known = cache.and_then(|path| read(path, n_threads));
    if let Some(Known {
        rate,
        is_old: false,
    }) = known
    {
        return Some(rate);
    }
    let best = measure().max(known.map(|known| known.rate))?;
    if let Some(path) = cache {
        // without the file it is measured again, nothing else
        let _ = write(path, n_threads, best);
    }
    Some(best)
}

/// Measures bytes per second. `None` where there is too little memory for it.
pub fn measure() -> Option<u64> {
    let left = crate::memory::available_bytes().unwrap_or(u64::MAX);
    let n_bytes = BUFFER_BYTES.min(left / 8);
    if n_bytes < LEAST_BUFFER_BYTES {
        return None;
    }
    let n_threads = n_threads();
    let n_words = (n_bytes / 8) as usize / n_threads;
    let workers: Vec<_> = (0..n_threads)
        .map(|_| thread::Builder::new().spawn(move || read_for(n_words, DURATION)))
        .collect();
    let rates = workers
        .into_iter()
        .filter_map(|worker| worker.ok()?.join().ok());
    let sum = rates.fold(0.0, |sum, rate| sum + rate);
    (sum >= 1.0).then_some(sum as u64)
}

/// Bytes per second of one thread, which reads a buffer of its own.
fn read_for(n_words: usize, duration: Duration) -> f64 {
    let buffer = vec![1u64; n_words.max(SLICE_WORDS)];
    let started = Instant::now();
    let mut n_bytes = 0u64;
    loop {
        for slice in buffer.chunks(SLICE_WORDS) {
            let sum = slice.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
            black_box(sum);
            n_bytes += size_of_val(slice) as u64;
            let passed = started.elapsed();
            if passed >= duration {
                return n_bytes as f64 / passed.as_secs_f64();
            }
        }
    }
}

fn n_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Bytes per second.
    rate: u64,
    /// Whether it is time to measure again.
    is_old: bool,
}

/// The file is `THREADS BYTES_PER_SECOND`.
fn read(path: &Path, n_threads: usize) -> Option<Known> {
    let meta = fs::metadata(path).ok()?;
    if meta.len() > MAX_FILE_BYTES {
        return None;
    }
    // a time in the future is as good as an old one
    let age = SystemTime::now().duration_since(meta.modified().ok()?);
    let is_old = age.map_or(true, |age| age > MAX_AGE);
    let text = fs::read_to_string(path).ok()?;
    let (threads, rate) = text.trim().split_once(' ')?;
    let is_same = threads.parse() == Ok(n_threads);
    let rate = rate.parse().ok().filter(|rate| is_same && *rate > 0)?;
    Some(Known { rate, is_old })
}

fn write(path: &Path, n_threads: usize, rate: u64) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{n_threads} {rate}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_kept_for_as_many_threads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/bandwidth");
        assert_eq!(read(&path, 2), None);
        write(&path, 2, 1000).unwrap();
        let fresh = Known {
            rate: 1000,
            is_old: false,
        };
        assert_eq!((read(&path, 2), read(&path, 3)), (Some(fresh), None));
        for damaged in ["", "2", "2 x", "2 0", "2 -5"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path, 2), None, "{damaged:?}");
        }
        fs::write(&path, format!("2 1{}", " ".repeat(300))).unwrap();
        assert_eq!(read(&path, 2), None, "too long");
    }

    #[test]
    fn a_machine_reads_more_than_a_disk() {
        // no machine that runs this reads less than 100 MB or more than 10 TB in a second
        let rate = read_for(4 << 20, Duration::from_millis(30));
        assert!((1e8..1e13).contains(&rate), "{rate}");
    }

    #[test]
    fn the_file_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bandwidth");
        write(&path, n_threads(), 12_345).unwrap();
        assert_eq!(cached(Some(&path)), Some(12_345));
        // of last week, and better than anything that can be measured
        write(&path, n_threads(), u64::MAX).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let last_week = SystemTime::now() - 7 * MAX_AGE;
        file.set_modified(last_week).unwrap();
        assert!(read(&path, n_threads()).is_some_and(|known| known.is_old));
        assert_eq!(cached(Some(&path)), Some(u64::MAX));
        assert!(read(&path, n_threads()).is_some_and(|known| !known.is_old));
    }
}
